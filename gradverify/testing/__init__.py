"""One call for the author of an addition: proves an op (or a framework) sound, with what it would have caught."""

from .frameworks import FrameworkReport, check_framework
from .ops import check_op

__all__ = ["FrameworkReport", "check_framework", "check_op"]
