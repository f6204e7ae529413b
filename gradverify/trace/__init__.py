"""A callable of PyTorch or JAX → a graph over the op table, so that the oracle can evaluate the user's own forward."""

from .base import Argument, Output, Traced, trace

__all__ = ["Argument", "Output", "Traced", "trace"]
