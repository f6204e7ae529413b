"""The frameworks whose gradients are judged: one package each. Nothing is imported before it is asked for.

An adapter of one's own derives from Framework (`docs/frameworks.md`).
"""

from ..trace import Argument, Output, Traced
from .base import Call, Form, Framework, Observation
from .graphs import compiled, lookup
from .over_numpy import trace_over_numpy
from .registry import find, names, register
from .tape import Tape
from .wrapped import Wrapped

__all__ = [
    "Argument",
    "Call",
    "Form",
    "Framework",
    "Observation",
    "Output",
    "Tape",
    "Traced",
    "Wrapped",
    "compiled",
    "find",
    "lookup",
    "names",
    "register",
    "trace_over_numpy",
]
