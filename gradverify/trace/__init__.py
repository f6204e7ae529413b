"""A callable of PyTorch, JAX, … → a graph over the op table, so that the oracle can evaluate the user's own forward."""

from .base import Argument, Output, Traced
from .handwritten import HandWritten
from .recognise import FRAMEWORKS, asking, framework_of, recompiled, trace, tracer

__all__ = [
    "FRAMEWORKS", "Argument", "HandWritten", "Output", "Traced", "asking", "framework_of", "recompiled", "trace", "tracer"
]  # fmt: skip
