"""Array namespaces (`xp`) with Array API names: what an op's `define` and `vjp` are read with.

`base` states the vocabulary; `numpy` reads it over NumPy and CuPy. Balls and mpmath live with the oracle, tensors with
the engine, nudged arrays with the budget: each is a small subclass.
"""

from .base import Namespace
from .numpy import NUMPY, NumpyNamespace

__all__ = ["NUMPY", "Namespace", "NumpyNamespace"]
