"""How each kind of parameter is drawn, given the shape of the op's first argument.

A rule lists what is worth trying, simplest first; the op's own shape rule has the last word on what is valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import Any

from ..core.op import OpSpec, Param, Shape
from .digits import Digits

FLOATS = (1.0, 0.5, 2.0, -1.0, 0.25, 1.5, 3.0, -0.5, 0.0, -2.0, 0.125)
INTS = (1, 2, 0, -1, 3, -2)
SLICES: list[Any] = [
    (None, None, None), (None, None, 2), (None, None, -1), (1, None, None), (None, -1, None), (0, 1, None)
]  # fmt: skip


class Undrawable(Exception):
    """No value of a parameter suits this shape."""


def _pick(options: list[Any], digits: Digits) -> Any:
    if not options:
        raise Undrawable
    return options[digits.take(len(options))]


def _axis_options(param: Param, ndim: int) -> list[Any]:
    none = [None] if param.optional or param.default is None else []
    # A 0-d array has no axis, but a new one can be made at 0 (stack, expand_dims): the shape rule decides.
    return none + list(range(max(ndim, 1))) + list(range(-1, -max(ndim, 1) - 1, -1))


def _axis(param: Param, shape: Shape, digits: Digits) -> Any:
    return _pick(_axis_options(param, len(shape)), digits)


def _axes(param: Param, shape: Shape, digits: Digits) -> Any:
    options = _axis_options(param, len(shape))
    if len(shape) >= 2:
        options += [(0, 1), (-1, 0), tuple(range(len(shape))), (len(shape) - 1,), ()]
    return _pick(options, digits)


def _bool(param: Param, shape: Shape, digits: Digits) -> Any:
    return bool(digits.take(2)) != bool(param.default is True)


def _within(param: Param, candidates: tuple[Any, ...]) -> list[Any]:
    lo = -math.inf if param.lo is None else param.lo
    hi = math.inf if param.hi is None else param.hi
    first = [] if param.required else [param.default]
    if param.optional and None not in first:
        first.append(None)
    return first + [c for c in candidates if lo <= c <= hi and c not in first]


def _int(param: Param, shape: Shape, digits: Digits) -> Any:
    options = _within(param, INTS)
    if not any(o in INTS for o in options) and param.lo is not None:
        options += _within(param, tuple(range(int(param.lo), int(param.lo) + 4)))
    return _pick(options, digits)


def _float(param: Param, shape: Shape, digits: Digits) -> Any:
    options = _within(param, FLOATS)
    if len(options) == 1 and param.lo is not None and param.hi is not None:
        options.append(float(param.lo + param.hi) / 2)
    return _pick(options, digits)


def shapes_from(shape: Shape) -> list[Shape]:
    """Shapes that `shape` may be reshaped or broadcast to, as a person would write them."""
    size = math.prod(shape)
    out: list[Shape] = [(size,), shape, (1, *shape), (2, *shape), (*shape, 1)]
    out += [p for p in permutations(shape) if len(shape) <= 3]
    out += [(d, size // d) for d in (2, 3) if size and size % d == 0]
    out += [tuple(3 if n == 1 else n for n in shape), (3, *(2 if n == 1 else n for n in shape))]
    if size == 1:
        out.append(())
    return list(dict.fromkeys(out))


def _shape(param: Param, shape: Shape, digits: Digits) -> Any:
    return _pick(shapes_from(shape), digits)


def _perm(param: Param, shape: Shape, digits: Digits) -> Any:
    # Reversal first: it is what a bare transpose does, and never the identity for two axes or more.
    left = list(range(len(shape) - 1, -1, -1))
    return tuple(left.pop(digits.take(len(left))) for _ in shape)


def _ints(param: Param, shape: Shape, digits: Digits) -> Any:
    lengths = list(dict.fromkeys((len(shape), 1, 2)))
    return tuple(_pick(list(INTS), digits) for _ in range(_pick(lengths, digits)))


def _choice(param: Param, shape: Shape, digits: Digits) -> Any:
    return _pick(list(param.choices), digits)


def _pads(param: Param, shape: Shape, digits: Digits) -> Any:
    return tuple(_pick([(1, 0), (0, 0), (0, 1), (1, 2)], digits) for _ in shape)


def _index(param: Param, shape: Shape, digits: Digits) -> Any:
    """Per axis an int, or a slice as a (start, stop, step) triple; now and then a new axis or an ellipsis."""
    entries: list[Any] = []
    style = digits.take(8)
    if style == 6:
        entries.append(None)
    for n in shape if style != 7 else shape[:1]:
        entries.append(_pick(([0, -1] if n else []) + SLICES, digits))
    if style == 7:
        entries.insert(digits.take(2), "...")
    return tuple(entries)


def _string(param: Param, shape: Shape, digits: Digits) -> Any:
    if param.required:
        raise Undrawable
    return param.default


RULES: Mapping[str, Callable[[Param, Shape, Digits], Any]] = {
    "axis": _axis,
    "axes": _axes,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "shape": _shape,
    "perm": _perm,
    "ints": _ints,
    "choice": _choice,
    "pads": _pads,
    "index": _index,
    "string": _string,
}


def draws(spec: OpSpec, shape: Shape, digits: Digits, tries: int = 4) -> Iterator[dict[str, Any]]:
    """Yield up to `tries` sets of parameters, each from the next digits (so the later ones tend to the simplest)."""
    if not spec.params:
        yield {}
        return
    seen: list[dict[str, Any]] = []
    for _ in range(tries):
        try:
            drawn = {name: RULES[p.kind](p, shape, digits) for name, p in spec.params.items()}
        except Undrawable:
            return
        if drawn not in seen:
            seen.append(drawn)
            yield drawn
