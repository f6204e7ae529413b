"""A function's run as a graph over the op table: what the tracers of all frameworks share."""

from .value import Argument, Output, Traced

__all__ = ["Argument", "Output", "Traced"]
