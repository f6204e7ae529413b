"""Arguments like the given ones: what `check` tries around the given point, per framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..frameworks.registry import of_functions

SPREAD = 0.25
"""Other values are x·(1 + SPREAD·ε) with ε standard normal: the same signs mostly, so that a domain is rarely left, and
far enough that a formula which holds at one point only is found out."""


ROWS = 256 + 17
"""A batch that does not fit: beyond 128 and 256, where int8 and uint8 indices wrap and where blocks of 256 threads end; an
odd number, and a multiple of no power of two, so that tiles have tails."""

MOST = 300_000
"""The array entries, over all nodes of the graph, up to which what nobody asked for is asked: a batch of ROWS, other
points, and the second order, whose graph is some three times as large. About half a second."""

Mapper = Callable[[Callable[[np.ndarray], "np.ndarray | None"], tuple[Any, ...]], tuple[Any, ...]]


TAILS = "values 64 times as large"
"""Beyond where exp overflows float64, for values of order ten; of a gradient there it is only asked that it be finite."""


def variations(
    framework: str, args: tuple[Any, ...], seed: int, times: int, elements: int = 0, branches: bool = False
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(what was changed, the new arguments); nothing where `times` is 0. `elements` is the size of the graph, in array
    entries: it decides how far a batch is enlarged. `branches` says that the function decides on its values in Python.

    Arguments are not known to be legal: values stay within the hull of the given ones, or near them, except for zeros.
    Negated and much larger values are only tried on arguments that have both signs, or where the function itself
    decides on the values and may take its other branch.
    """
    if not times:
        return
    adapter = of_functions(framework)
    mapped: Mapper = adapter.replace
    for k in range(times):
        rng = np.random.default_rng([seed, k, 3])
        yield f"other values {k + 1}" if times > 1 else "other values", mapped(partial(_other, rng), args)
    changes: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
        "zeros among the values": _Zeros(),
        "negated values": lambda x: -x if _signed(x) or (branches and x.dtype.kind == "f") else None,
        TAILS: lambda x: _scaled(x, 64.0) if _signed(x) else None,
        "conjugated values": lambda x: np.conj(x) if x.dtype.kind == "c" and _signed(x.imag) else None,
        "equal arguments": _Equal(),
        "repeated integers": _repeated,
    }
    for name, change in changes.items():
        changed = _changed(mapped, change, args)
        if changed is not None:
            yield name, changed
    yield "a larger batch", _batched(mapped, args, lambda x: np.concatenate([x, _scaled(x[:1], 0.75)]))
    # An index beyond a shorter axis must be refused: else it gives something, and its gradient is dropped.
    if not adapter.clamps_indices:
        yield "a batch of one", _batched(mapped, args, lambda x: x[:1])
        yield "an empty batch", _batched(mapped, args, lambda x: x[:0])
    rows = _rows(mapped, args)
    if rows and rows < ROWS and elements * ROWS / rows <= MOST and not adapter.compiles_each_shape:
        grow = partial(_grown, np.random.default_rng([seed, 4]))
        yield f"a batch of {ROWS}", _batched(mapped, args, grow)
    scalars = _changed(mapped, lambda x: x.reshape(-1)[0] if x.ndim and x.size and x.dtype.kind in "fc" else None, args)
    if scalars is not None:
        yield "0-d arguments", scalars
    narrower = {np.dtype(np.float64): np.float32, np.dtype(np.complex128): np.complex64}
    narrow = _changed(mapped, lambda x: x.astype(narrower[x.dtype]) if x.dtype in narrower else None, args)
    if narrow is not None:
        yield "float32", narrow


def sharing(framework: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any] | None:
    """The function called with one and the same array where `args` have two of one shape and dtype, if the one is likely
    to be legal as the other (by its range, or by its signs); None where no two are, or the framework's arrays have no
    identity."""
    return of_functions(framework).shared(fn, args, _fits)


def cotangents(given: Sequence[np.ndarray]) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """Other cotangents for the same point, each with its own truth and budget: what normalises, divides by, takes a short
    cut around, or misreads a cotangent is right for most and wrong for one of these. (Large, tiny, zero and one-hot ones
    are asked at every point, by the laws.)

    The constant one is expanded in memory (stride 0), as the backward pass of a sum sends it.
    """
    if any(g.size > 1 for g in given):
        yield "a cotangent that is half zeros", tuple(_halved(g) for g in given)
        yield "a constant, expanded cotangent", tuple(np.broadcast_to(g.dtype.type(1.0), g.shape) for g in given)


def _scaled(x: np.ndarray, factor: float) -> np.ndarray:
    return x * x.dtype.type(factor) if x.dtype.kind in "fc" else x


def _halved(g: np.ndarray) -> np.ndarray:
    """Zeros in the first half of the entries: whole rows, where there are several."""
    return np.where(np.arange(g.size).reshape(g.shape) < g.size // 2, g.dtype.type(0), g)


def _signed(x: np.ndarray) -> bool:
    """Has it both signs? A complex array, in either part?"""
    if x.dtype.kind == "c":
        return _signed(x.real) and _signed(x.imag)
    return bool(x.dtype.kind == "f" and x.size and x.min() < 0 < x.max())


class _Zeros:
    """Every third entry is 0: from the second on in the first array, from the third on in the second one, and so on, so
    that two arrays are not 0 together (hypot and x**y have their singularities there)."""

    def __init__(self) -> None:
        self.first = 0

    def __call__(self, x: np.ndarray) -> np.ndarray | None:
        if x.dtype.kind not in "fc":
            return None
        self.first += 1
        return np.where(np.arange(x.size).reshape(x.shape) % 3 == self.first % 3, x.dtype.type(0), x)


class _Equal:
    """Every array gets the values of the first one of its shape, if they are likely to be legal there."""

    def __init__(self) -> None:
        self.first: dict[Any, np.ndarray] = {}

    def __call__(self, x: np.ndarray) -> np.ndarray | None:
        if x.dtype.kind not in "fc":
            return None
        first = self.first.setdefault((x.shape, x.dtype), x)
        return first if first is not x and x.size and _fits(first, x) else None


def _fits(a: Any, b: Any) -> bool:
    """Are the values of `a` likely to be legal where those of `b` are? They are in its hull, or of its signs."""
    if str(a.dtype).rpartition(".")[2].startswith("complex"):
        return _fits(a.real, b.real) and _fits(a.imag, b.imag)
    within = b.min() <= a.min() and a.max() <= b.max()
    return bool(within or (b.min() < 0 < b.max()) or (a.min() > 0 and b.min() > 0) or (a.max() < 0 and b.max() < 0))


def _repeated(x: np.ndarray) -> np.ndarray | None:
    """The second integer equals the first one."""
    if x.dtype.kind != "i" or x.size < 2 or np.unique(x).size < x.size:
        return None
    new = x.copy().reshape(-1)
    new[1] = new[0]
    return new.reshape(x.shape)


def _grown(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """ROWS of the given rows; floating-point ones each at a distance, so that no two are equal."""
    rows = x[np.arange(ROWS) % len(x)]
    moved = _other(rng, rows)
    return rows if moved is None else moved


def _changed(mapped: Mapper, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> Any:
    """The changed arguments, or None where nothing changes."""
    seen = []

    def noticed(x: np.ndarray) -> np.ndarray | None:
        new = change(x)
        seen.append(new is not None)
        return new

    new = mapped(noticed, args)
    return new if any(seen) else None


def _rows(mapped: Mapper, args: tuple[Any, ...]) -> int:
    """The length of the first array's leading axis."""
    found: list[int] = []

    def look(x: np.ndarray) -> None:
        if x.ndim and not found:
            found.append(x.shape[0])

    mapped(look, args)
    return found[0] if found else 0


def _other(rng: np.random.Generator, x: np.ndarray) -> np.ndarray | None:
    if x.dtype.kind not in "fc":
        return None
    step = rng.standard_normal(x.shape)
    if x.dtype.kind == "c":  # turned as well
        step = (step + 1j * rng.standard_normal(x.shape)) / np.sqrt(2)
    if x.ndim >= 2 and np.array_equal(x, np.swapaxes(x, -1, -2)):
        # A function of symmetric matrices may read one triangle, and give the gradient of the symmetric part (eigh).
        step = np.tril(step) + np.swapaxes(np.tril(step, -1), -1, -2)
    return np.asarray(x * (1 + SPREAD * step)).astype(x.dtype)


def _batched(mapped: Callable[..., Any], args: tuple[Any, ...], change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Change the leading axis of every array argument whose leading axis is as long as the first one's."""
    sizes: list[int] = []

    def leading(x: np.ndarray) -> np.ndarray | None:
        if x.ndim and not sizes and x.shape[0]:
            sizes.append(x.shape[0])
        if not x.ndim or not sizes or x.shape[0] != sizes[0]:
            return None
        return change(x)

    return mapped(leading, args)
