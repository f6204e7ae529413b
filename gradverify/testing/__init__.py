"""One call for the author of an addition: proves an op (or a framework) sound, with what it would have caught."""

from .frameworks import Failure, FrameworkReport, UnsoundFramework, check_framework
from .ops import check_op

__all__ = ["Failure", "FrameworkReport", "UnsoundFramework", "check_framework", "check_op"]
