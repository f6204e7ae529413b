"""A sketch of a call's values: the features by which one call of a custom gradient may take another branch than another.

Branches compare: a value with a number (its sign and its size decide), two arrays with each other (their difference does),
and neighbours (a tie). So a sketch is the set of signs and binary exponents of each array and of the difference of each
pair, and whether there are zeros, ties, infinities, NaN, empty rows of masks, repeated or negative integers.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
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
            found.add((name, x.flags.c_contiguous))
            if not x.size:
                found.add((name, "empty"))
            elif x.dtype.kind == "b":
                found.update((name, feature) for feature in _of_mask(x))
            elif x.dtype.kind in "iu":
                found.update((name, feature) for feature in _of_integers(_few(x)))
            else:
                for part, of in _parts(name, x):
                    few = _few(of)
                    found.update((part, feature) for feature in _of_floats(few))
                    floats.append((part, of))
        pairs = [(a, b) for a, b in combinations(floats, 2) if a[1].shape == b[1].shape or 1 in (a[1].size, b[1].size)]
        for (a, x), (b, y) in islice(pairs, PAIRS):
            gap = _spread(x, y.size) - _spread(y, x.size)
            found.update((a, b, feature) for feature in _codes(gap))
    return frozenset(found)


def _parts(name: str, x: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The array as floating-point numbers that NumPy computes with; of a complex one both parts."""
    if x.dtype.kind == "c":
        return [(f"{name}.real", x.real), (f"{name}.imag", x.imag)]
    return [(name, x)]


def _few(x: np.ndarray) -> np.ndarray:
    """All entries; of many only some, and the smallest and the largest."""
    flat = x.reshape(-1)
    if flat.size <= MOST_ENTRIES:
        return flat
    return np.concatenate([flat[:: -(-flat.size // MOST_ENTRIES)], [flat.min(), flat.max()]])


def _spread(x: np.ndarray, other: int) -> np.ndarray:
    """The entries that are held against those of an array of size `other`."""
    flat = x.reshape(-1)
    return flat if flat.size <= MOST_ENTRIES else flat[:: -(-max(flat.size, other) // MOST_ENTRIES)]


def _codes(x: np.ndarray) -> list[int]:
    """The signs and exponents that entries have, each as an integer: of zeros (and subnormal numbers) that of 2^-bias."""
    if x.dtype.name not in _LAYOUTS:
        x = x.astype(np.float64)
    word, bits, table = _LAYOUTS[x.dtype.name]
    tops = np.ascontiguousarray(x).view(word) >> bits
    found: list[int] = table[np.flatnonzero(np.bincount(tops.astype(np.intp), minlength=table.size))].tolist()
    return found


def _layout(word: type[np.unsignedinteger[Any]], mantissa: int, exponent: int) -> tuple[Any, int, np.ndarray]:
    """Of a floating-point format: the integer of its width, the bits behind its exponent, and a feature for each of those
    before: sign and exponent."""
    powers = np.arange(2**exponent) - (2 ** (exponent - 1) - 1)
    code = np.where(abs(powers) <= NEAR, powers, np.sign(powers) * (NEAR + 1 + (abs(powers) - NEAR) // COARSE)) + SHIFT
    code[-1] = 2 * SHIFT  # infinities and NaN
    return word, mantissa, np.concatenate([code, [code[0]], -code[1:]])


SHIFT = 1000
"""Makes every exponent positive, so that the sign is left for that of the number."""

_LAYOUTS = {
    "float16": _layout(np.uint16, 10, 5),
    "bfloat16": _layout(np.uint16, 7, 8),
    "float32": _layout(np.uint32, 23, 8),
    "float64": _layout(np.uint64, 52, 11),
}


def _of_floats(x: np.ndarray) -> set[Hashable]:
    found: set[Hashable] = set(_codes(x))
    first = x[:TIES].tolist()
    distinct = len(set(first))
    if distinct < len(first):
        found.add("constant" if distinct == 1 else "ties")
    return found


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
