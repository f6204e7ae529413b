"""One call for the author of an addition: proves an op (or a subject) sound, with what it would have caught."""

from .ops import check_op
from .subjects import SubjectReport, check_subject

__all__ = ["SubjectReport", "check_op", "check_subject"]
