"""A packed integer as a stream of small choices.

One integer per node is what Hypothesis draws fastest and shrinks best. Its low `OP_BITS` bits say which op, so that
Hypothesis's "drop the high bits" pass takes a node to its simplest form in one step and keeps the op.
"""

from __future__ import annotations

INT_BITS = 24
"""Hypothesis draws bounded integers of up to 24 bits uniformly; wider ones it makes small 7 times in 8."""

OP_BITS = 10

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: Fibonacci hashing (Knuth, TAOCP vol. 3, §6.4)


class Digits:
    """`take(n)` gives a number below `n`; an integer without high bits gives zeros, the simplest choice of everything.

    The first digits are the integer's own bits. Past these, hashed bits follow, so that a node with many parameters
    is no poorer than one without.
    """

    __slots__ = ("op_bits", "rest")

    def __init__(self, packed: int) -> None:
        self.op_bits = packed & ((1 << OP_BITS) - 1)
        own = packed >> OP_BITS
        spread = own * _GOLDEN
        self.rest = own | ((spread ^ (spread >> 29)) << (INT_BITS - OP_BITS)) if own else 0

    def op(self, n: int) -> int:
        """Which of `n` ops, all about equally likely; small integers are the first ones."""
        return self.op_bits % n

    def take(self, n: int) -> int:
        if n <= 1:
            return 0
        self.rest, digit = divmod(self.rest, n)
        return digit
