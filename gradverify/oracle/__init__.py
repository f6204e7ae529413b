"""The truth and its bound: what the gradient is, to tens of digits, from the forward definitions only.

Imports ops and namespaces; never the engine.
"""

from ..namespaces.kernels import load_registered

load_registered()
