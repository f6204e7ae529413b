"""Working precision, in one place: flint's and mpmath's are process-global and not thread-safe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import flint
import mpmath

DEFAULT_BITS = 200


@contextmanager
def working(bits: int = DEFAULT_BITS) -> Iterator[None]:
    """Both libraries work with `bits` bits inside the block. Parallelise by process, never by thread."""
    before_flint, before_mpmath = flint.ctx.prec, mpmath.mp.prec
    flint.ctx.prec = mpmath.mp.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec, mpmath.mp.prec = before_flint, before_mpmath


def step_exponent(bits: int) -> int:
    """k of the step h = 2**-k, relative to each entry's length scale.

    A central difference errs by h²·f'''/6 and by rounding of 2**-bits/h. With k = bits/3 both are 2**(-2·bits/3).
    """
    return bits // 3
