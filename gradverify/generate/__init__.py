"""Random graphs and cases: `structure` (which ops, wired how), `values` (which numbers), and two drivers of both.

`decode(ints, seed)` is the one decoding function. `strategies` drives it from Hypothesis, `campaign` from NumPy's RNG.
Import the public names from `gradverify.strategies`.
"""

from ..namespaces.kernels import load_registered

load_registered()
