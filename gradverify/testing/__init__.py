"""One call for the author of an addition: proves an op (or a subject) sound, with what it would have caught."""

from .ops import check_op

__all__ = ["check_op"]
