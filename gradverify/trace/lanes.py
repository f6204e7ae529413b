"""Blocks of recorded values: a lane is a code, which says what entry of what recorded value it is.

Moving lanes about (a broadcast, a transpose, a select by a known mask, a store, a load of what was stored) moves codes, and
records nothing. An operation is recorded once for each set of codes that it meets, not once a lane: lanes that a mask
leaves out, and those that a broadcast repeats, are no entries of the graph. A lane that does not depend on the inputs has
the code KNOWN; what it holds the interpreter knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..core.errors import Unsupported
from .base import Tracer
from .value import Value

KNOWN = -1
SHIFT = 32
WITHIN = (1 << SHIFT) - 1

Codes = np.ndarray
Operand = tuple[Codes | None, np.ndarray]
"""The codes of a block, None where all lanes are known, and its numbers."""


class Lanes:
    """The recorded values that lanes are entries of, and the operations on them."""

    def __init__(self, xp: Tracer) -> None:
        self.xp = xp
        self.values: list[Value | str] = []
        self.flats: dict[int, Value] = {}
        self.made: dict[bytes, Value] = {}  # by codes: a block is gathered once

    def enter(self, value: Value, dtype: str = "") -> Codes:
        """The codes of a value's entries, in its shape; `dtype` is the format that it is computed in."""
        if dtype:
            self.xp.seen_in(value, dtype)
        self.values.append(value)
        return self._codes(value.shape)

    def refuse(self, why: str, shape: Sequence[int]) -> Codes:
        """Codes of what cannot be recorded, with the reason."""
        self.values.append(why)
        return self._codes(tuple(shape))

    def _codes(self, shape: tuple[int, ...]) -> Codes:
        n = int(np.prod(shape, dtype=np.int64))
        return ((len(self.values) - 1) << SHIFT | np.arange(n, dtype=np.int64)).reshape(shape)

    def _whole(self, k: int) -> Value:
        value = self.values[k]
        if isinstance(value, str):
            raise Unsupported(value)
        if k not in self.flats:
            self.flats[k] = self.xp.flat(value)
        return self.flats[k]

    def gathered(self, codes: Codes, dtype: str = "") -> Value:
        """The entries of these codes (none KNOWN), as one axis."""
        key = codes.tobytes()
        if key not in self.made:
            self.made[key] = self._gather(codes)
        out = self.made[key]
        if dtype and out.kind == "float":
            self.xp.seen_in(out, dtype)
        return out

    def _gather(self, codes: Codes) -> Value:
        of, at = codes >> SHIFT, codes & WITHIN
        first = np.sort(np.unique(of, return_index=True)[1])
        wholes = [(int(of[k]), self._whole(int(of[k]))) for k in first]
        where = np.zeros(len(codes), dtype=np.int64)
        parts: list[Value] = []
        start = 0
        for k, whole in wholes:
            mine = of == k
            size = whole.shape[0]
            used, places = np.unique(at[mine], return_inverse=True)
            if 2 * len(used) < size:
                part = self.xp.call("take", whole, self.xp.concrete(used), axis=0)
                where[mine] = start + places
            else:
                part = whole
                where[mine] = start + at[mine]
            parts.append(part)
            start += part.shape[0]
        out = parts[0] if len(parts) == 1 else self.xp.call("concat", *parts, axis=0)
        if start != len(codes) or not np.array_equal(where, np.arange(start)):
            out = self.xp.call("take", out, self.xp.concrete(where), axis=0)
        return out

    def mixed(self, codes: Codes, numbers: np.ndarray, dtype: str = "") -> Value:
        """The entries of these codes, as one axis; those that are KNOWN are literals."""
        known = codes == KNOWN
        if known.all():
            return self.xp.concrete(numbers)
        if not known.any():
            return self.gathered(codes, dtype)
        live = self.gathered(codes[~known], dtype)
        distinct, places = _distinct(numbers[known])
        both = self.xp.call("concat", live, self.xp.matching(self.xp.concrete(distinct), live), axis=0)
        where = np.zeros(len(codes), dtype=np.int64)
        where[~known] = np.arange(live.shape[0])
        where[known] = live.shape[0] + places
        return self.xp.call("take", both, self.xp.concrete(where), axis=0)

    def block(self, codes: Codes, numbers: np.ndarray, dtype: str = "") -> Value:
        """A block as one value, in its shape."""
        flat = codes.ravel()
        if flat.size and flat[0] != KNOWN:
            value = self.values[int(flat[0] >> SHIFT)]
            if (
                isinstance(value, Value)
                and value.shape == codes.shape
                and np.array_equal(flat, flat[0] + np.arange(flat.size))
            ):
                return value
        return self.xp.shaped(self.mixed(flat, np.asarray(numbers).ravel(), dtype), codes.shape)

    def elementwise(
        self,
        make: Callable[..., Value],
        operands: Sequence[Operand],
        shape: tuple[int, ...],
        dtype: str = "",
        only: np.ndarray | None = None,
    ) -> Codes | None:
        """The codes of `make` applied lane by lane, where some operand is recorded (and `only` holds)."""
        every = [(None if c is None else np.broadcast_to(c, shape).ravel(), _spread(d, shape)) for c, d in operands]
        live = np.zeros(int(np.prod(shape, dtype=np.int64)), dtype=bool)
        for c, _ in every:
            live |= False if c is None else c != KNOWN
        if only is not None:
            live &= np.broadcast_to(only, shape).ravel()
        lanes = np.nonzero(live)[0]
        if not lanes.size:
            return None
        rows = [(np.full(lanes.size, KNOWN) if c is None else c[lanes], d[lanes]) for c, d in every]
        first, group = _groups([_keys(c, d) for c, d in rows])
        count = len(first)
        out = np.full(live.size, KNOWN, dtype=np.int64)
        try:
            made = make(*(self._argument(c[first], d[first]) for c, d in rows))
            made = made if made.shape == (count,) else self.xp.spread(made, (count,))
            codes = self.enter(made, dtype if made.kind == "float" else "")
        except Unsupported as e:
            codes = self.refuse(str(e), (count,))
        out[lanes] = codes[group]
        return out.reshape(shape)

    def _argument(self, codes: Codes, numbers: np.ndarray) -> Value:
        """One operand: a single entry where all are the same, so that it is broadcast."""
        if codes[0] != KNOWN and (codes == codes[0]).all():
            return self.gathered(codes[:1])
        if (codes == KNOWN).all() and len(_distinct(numbers)[0]) == 1:
            return self.xp.concrete(numbers[0])
        return self.mixed(codes, numbers)


def _spread(numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.asarray(numbers), shape).ravel()


def _bits(numbers: np.ndarray) -> np.ndarray:
    """Numbers as integers, so that NaNs and signed zeros are told apart."""
    numbers = np.ascontiguousarray(numbers)
    return numbers if numbers.dtype.kind != "f" else numbers.view(f"i{numbers.itemsize}")


def _distinct(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct numbers, and which of them each is."""
    _, first, places = np.unique(_bits(numbers), return_index=True, return_inverse=True)
    return numbers[first], places


def _keys(codes: Codes, numbers: np.ndarray) -> np.ndarray:
    """One key for lanes that hold the same entry, or the same known number."""
    keys = codes.copy()
    known = codes == KNOWN
    if known.any():
        keys[known] = -1 - _distinct(numbers[known])[1]
    return keys


def _groups(keys: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first lane of each set of keys, and the set of each lane; in the order of the lanes."""
    whole = np.zeros(len(keys[0]), dtype=np.int64)
    for key in keys:
        rank = np.unique(key, return_inverse=True)[1]
        whole = np.unique(whole * (int(rank.max()) + 1) + rank, return_inverse=True)[1]
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[group]
