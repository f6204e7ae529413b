"""Array namespaces (`xp`) with Array API names: what an op's `define` and `vjp` are read with.

`base` states the vocabulary; `kernels` has a record for each of its primitives; `numpy` reads it over NumPy and CuPy,
`nudged` over arrays that show what rounding does. Balls and mpmath live with the oracle, tensors with the engine: each is
a small subclass.
"""

from .base import Namespace
from .kernels import Kernel, Nudge, register_op, unregister_op
from .numpy import NUMPY, NumpyNamespace

__all__ = ["NUMPY", "Kernel", "Namespace", "Nudge", "NumpyNamespace", "register_op", "unregister_op"]
