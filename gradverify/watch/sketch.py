"""A sketch of a call's values: the features by which one call of a custom gradient may take another branch than another.

Branches compare: a value with a number (its sign and its size decide), two arrays with each other (their difference does),
and neighbours (a tie). So a sketch is the set of signs and binary exponents of each array and of the difference of each
pair, and whether there are zeros, ties, infinities, NaN, empty rows of masks, repeated or negative integers.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np

from ..frameworks.watching import MOST_ENTRIES

TIES = 256
"""Entries among which ties are looked for."""

PAIRS = 3
"""Pairs of floating-point arrays whose difference is looked at."""

NEAR = 8
"""Each power of two from 2^-NEAR to 2^NEAR is a feature of its own, where thresholds of programs lie (0.01, 1, 20, 88, 127);
beyond, each of the 2^COARSE wide spans is."""

COARSE = 16

Features = frozenset[Hashable]


def sketch(arrays: Mapping[str, np.ndarray]) -> Features:
    """The features of a call with these arrays."""
    found: set[Hashable] = set()
    floats: list[tuple[str, np.ndarray]] = []
    with np.errstate(all="ignore"):
        for name, given in arrays.items():
            x = np.asarray(given)
            found.add((name, "in order", x.flags.c_contiguous))
            if not x.size:
                found.add((name, "empty"))
            elif x.dtype.kind in "biu":
                found.update((name, feature) for feature in _of_countable(x))
            else:
                for part, of in _parts(name, x):
                    few = _few(of)
                    found.update((part, feature) for feature in _of_floats(few))
                    floats.append((part, of))
        for (a, x), (b, y) in _pairs(floats):
            size = max(x.size, y.size)
            gap = _spread(x, size) - _spread(y, size)
            found.update((a, b, feature) for feature in _codes(gap))
    return frozenset(found)


def _parts(name: str, x: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The array as floating-point numbers that NumPy computes with; of a complex one both parts."""
    names = (f"{name}.real", f"{name}.imag") if x.dtype.kind == "c" else (name,)
    return list(zip(names, _halves(x)))


def _halves(x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (x.real, x.imag) if x.dtype.kind == "c" else (x,)


def _pairs(floats: Sequence[tuple[Any, np.ndarray]]) -> list[tuple[tuple[Any, np.ndarray], tuple[Any, np.ndarray]]]:
    """The first pairs of arrays that can be subtracted entry by entry."""
    pairs = ((a, b) for a, b in combinations(floats, 2) if a[1].shape == b[1].shape or 1 in (a[1].size, b[1].size))
    return list(islice(pairs, PAIRS))


def _few(x: np.ndarray) -> np.ndarray:
    """All entries; of many only some, and the smallest and the largest."""
    flat = x.reshape(-1)
    if flat.size <= MOST_ENTRIES:
        return flat
    return np.concatenate([flat[:: -(-flat.size // MOST_ENTRIES)], [flat.min(), flat.max()]])


def _spread(x: np.ndarray, size: int) -> np.ndarray:
    """The entries that are held against those of another array; `size` is that of the larger of both."""
    flat = x.reshape(-1)
    return flat if flat.size <= MOST_ENTRIES else flat[:: -(-size // MOST_ENTRIES)]


def _codes(x: np.ndarray) -> list[int]:
    """The signs and exponents that entries have, each as an integer: of zeros (and subnormal numbers) that of 2^-bias."""
    layout = _layout_of(x.dtype)
    tops = _tops(x, layout).astype(np.intp)
    found: list[int] = layout.table[np.flatnonzero(np.bincount(tops, minlength=layout.table.size))].tolist()
    return found


def _layout_of(dtype: np.dtype[Any]) -> _Layout:
    """The layout in which numbers of a format are looked at."""
    return _LAYOUTS.get(dtype.name) or _LAYOUTS["float64"]


def _tops(x: np.ndarray, layout: _Layout) -> np.ndarray:
    """Sign and exponent of each entry as an index into the layout's tables."""
    if x.itemsize != layout.word.itemsize:
        x = x.astype(np.float64)
    tops: np.ndarray = np.ascontiguousarray(x).view(layout.word) >> layout.bits
    return tops


@dataclass(frozen=True, eq=False)
class _Layout:
    """Of a floating-point format: the integer of its width, the bits behind its exponent, a feature for each of those before
    (sign and exponent), the number of each in the order of features, and
    how many of these there are."""

    word: np.dtype[Any]
    bits: int
    table: np.ndarray
    order: np.ndarray
    count: int


def _layout(mantissa: int, exponent: int) -> _Layout:
    word = np.dtype(f"u{(1 + exponent + mantissa) // 8}")
    powers = np.arange(2**exponent) - (2 ** (exponent - 1) - 1)
    code = np.where(abs(powers) <= NEAR, powers, np.sign(powers) * (NEAR + 1 + (abs(powers) - NEAR) // COARSE)) + SHIFT
    code[-1] = 2 * SHIFT  # infinities and NaN
    table = np.concatenate([code, [code[0]], -code[1:]])
    features, order = np.unique(table, return_inverse=True)
    return _Layout(word, mantissa, table, order, features.size)


SHIFT = 1000
"""Makes every exponent positive, so that the sign is left for that of the number."""

_LAYOUTS = {
    "float16": _layout(10, 5),
    "bfloat16": _layout(7, 8),
    "float32": _layout(23, 8),
    "float64": _layout(52, 11),
}


def _of_floats(x: np.ndarray) -> set[Hashable]:
    return {*_codes(x), *_ties(x)}


TIE = ("ties", "constant")


def _ties(x: np.ndarray) -> set[Hashable]:
    """Are some of the first entries equal, or all?"""
    first = x[:TIES].tolist()
    distinct = len(set(first))
    return set() if distinct == len(first) else {TIE[distinct == 1]}


def _of_countable(x: np.ndarray) -> set[Hashable]:
    """The features of truths or integers."""
    return _of_mask(x) if x.dtype.kind == "b" else _of_integers(_few(x))


def _of_integers(x: np.ndarray) -> set[Hashable]:
    """Small numbers each (classes, ids that are ignored), larger ones by their bits; repeated ones; negative ones."""
    values = x.tolist()
    found: set[Hashable] = {v if abs(v) <= NEAR else ("bits", v < 0, v.bit_length()) for v in values}
    if len(set(values)) < len(values):
        found.add("repeated")
    return found


def _of_mask(x: np.ndarray) -> set[Hashable]:
    rows = x.reshape(-1, x.shape[-1] if x.ndim and x.shape[-1] else 1)
    every, some = rows.all(-1), rows.any(-1)
    return {("all", bool(every.any())), ("none", bool((~some).any())), ("mixed", bool((some & ~every).any()))}


class Seen:
    """The features of all calls so far whose arrays have the same dtypes and shapes.

    A call without a feature of its own, as nearly all are, is told by one look-up in a table: cheaper than its sketch.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._countable: dict[int, set[Hashable]] = {
            k: set() for k, x in enumerate(arrays) if x.size and x.dtype.kind in "biu"
        }
        self._places = [
            (k, part)
            for k, x in enumerate(arrays)
            if x.size and k not in self._countable
            for part in range(len(_halves(x)))
        ]
        self._ties: list[set[Hashable]] = [set() for _ in self._places]
        found = [_halves(arrays[k])[part] for k, part in self._places]
        pairs = _pairs(list(enumerate(found)))
        self._gaps = [(i, j, max(x.size, y.size)) for (i, x), (j, y) in pairs]
        by_layout: dict[int, tuple[_Layout, list[int], list[int]]] = {}
        with np.errstate(all="ignore"):
            for k, few in enumerate(self._columns(found)):
                layout = _layout_of(few.dtype)
                _, columns, sizes = by_layout.setdefault(id(layout), (layout, [], []))
                columns.append(k)
                sizes.append(few.size)
        self._exponents = [(columns, _Exponents(layout, sizes)) for layout, columns, sizes in by_layout.values()]
        self.add(arrays)

    def has_new(self, arrays: Sequence[np.ndarray]) -> bool:
        """Does a call with these arrays have a feature that none so far had?"""
        with np.errstate(all="ignore"):
            found = [_halves(arrays[k])[part] for k, part in self._places]
            columns = self._columns(found)
            for which, exponents in self._exponents:
                if exponents.has_new([columns[k] for k in which]):
                    return True
        for few, ties in zip(columns, self._ties):
            if len(ties) < len(TIE) and not _ties(few) <= ties:
                return True
        return any(not _of_countable(arrays[k]) <= known for k, known in self._countable.items())

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Count a call's features from now on."""
        with np.errstate(all="ignore"):
            columns = self._columns([_halves(arrays[k])[part] for k, part in self._places])
            for which, exponents in self._exponents:
                exponents.add([columns[k] for k in which])
        for few, ties in zip(columns, self._ties):
            ties |= _ties(few)
        for k, known in self._countable.items():
            known |= _of_countable(arrays[k])

    def _columns(self, found: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The numbers of each array, and of the difference of each pair, as `sketch` has them."""
        gaps = [_spread(found[i], size) - _spread(found[j], size) for i, j, size in self._gaps]
        return [*map(_few, found), *gaps]


class _Exponents:
    """The signs and exponents that the numbers of some columns had. `sizes`: of the columns, in one layout."""

    def __init__(self, layout: _Layout, sizes: Sequence[int]) -> None:
        self._layout = layout
        column = np.repeat(np.arange(len(sizes)), sizes)
        self._first_top, self._first_code = column * layout.table.size, column * layout.count
        self._met = np.zeros((len(sizes), layout.count), bool)
        self._met_tops = self._met[:, layout.order].reshape(-1)

    def has_new(self, columns: Sequence[np.ndarray]) -> bool:
        return not self._met_tops[self._tops(columns) + self._first_top].all()

    def add(self, columns: Sequence[np.ndarray]) -> None:
        self._met.reshape(-1)[self._layout.order[self._tops(columns)] + self._first_code] = True
        self._met_tops = self._met[:, self._layout.order].reshape(-1)

    def _tops(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """Of all numbers, in integers that are as wide as an index."""
        parts = [x if x.itemsize == self._layout.word.itemsize else x.astype(np.float64) for x in columns]
        bits: np.ndarray = (np.concatenate(parts) if len(parts) > 1 else parts[0]).view(self._layout.word)
        return (bits >> self._layout.bits).astype(np.intp)


def sketch_of_cotangents(cotangents: tuple[np.ndarray | None, ...]) -> Features:
    """The features of what arrived at a backward pass: coarse, since rules are meant to be linear in it."""
    found: set[Hashable] = set()
    for k, g in enumerate(cotangents):
        if g is None or not g.size:
            found.add((k, "none" if g is None else "empty"))
            continue
        few = np.asarray(_few(g))
        size = np.abs(few.astype(np.complex128 if g.dtype.kind == "c" else np.float64))
        found |= {
            (k, "some zero", bool((size == 0).any())), (k, "constant", bool((few == few[0]).all())),
            (k, "finite", bool(np.isfinite(size).all())), (k, "size", _class_of(float(size.max()))),
        }  # fmt: skip
    return frozenset(found)


def _class_of(size: float) -> int:
    """The order of magnitude, in thirds of that of float32's range near 1: 2^-20, 2^-10, 1, 2^10, 2^20."""
    return int(np.clip(np.floor(np.log2(size) / 10), -4, 4)) if 0 < size < np.inf else 9
