"""What stands in memory that nobody has written: NaNs of our own, which moves of entries keep."""

from __future__ import annotations

PAYLOAD = {2: 0x7FD5, 4: 0x7FC5EAD1, 8: 0x7FF85EAD5EAD5EAD}
"""Bits by the size of a number in bytes."""
PAYLOAD_HALF = 0x7ED5
"""In float16, whose exponent is shorter."""


def payload_of(size: int, half: bool) -> int:
    """The bits of unwritten memory, of numbers of so many bytes (`half`: of float16); 0 for other sizes."""
    return PAYLOAD_HALF if half else PAYLOAD.get(size, 0)


def never_written(n: int, of: int, name: str) -> str:
    """The fault of a result that is not written everywhere."""
    return f"{n} of {of} entries of {name} are never written"
