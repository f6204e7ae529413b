"""A node of a spec file as plain data; a node of the wrong form is a SpecError at its place.

Used as a namespace: `read.as_integer(node, "seed")`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

import numpy as np

from ..core.errors import did_you_mean
from ..core.interval import Interval
from ..core.op import Kind, Shape
from ..ops.build import too_large
from . import nodes
from .expression import MAX_ELEMENTS, shortened
from .keys import Key
from .nodes import Node, Scalar, Sequence
from .values import DOMAINS, Domain, complex_number

T = TypeVar("T")

"""NumPy's own limit before 2.0; PyTorch and JAX set none below it that matters here."""


class Keys:
    """The entries of a mapping, once its keys are known to be legal and complete."""

    def __init__(self, node: nodes.Mapping | None, known: Mapping[str, Key], what: str) -> None:
        self.values: dict[str, Node] = {}
        for key, value in node.entries if node else ():
            if key.text not in known:
                guess = did_you_mean(key.text, known) or f" (it has: {', '.join(known)})"
                raise key.error(f"{what} has no key {shortened(key.text)!r}{guess}")
            self.values[key.text] = value
        for name, declared in known.items():
            if declared.required and name not in self.values and node is not None:
                raise node.error(f"{what} needs the key {name!r}")

    def __getitem__(self, name: str) -> Node:
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> Node | None:
        return self.values.get(name)


def _wrong(node: Node, what: str, wanted: str) -> NoReturn:
    raise node.error(f"{what} must be {wanted}, not {node.kind}")


def as_mapping(node: Node | None, what: str) -> nodes.Mapping | None:
    """The node as a mapping; None stays None."""
    if node is not None and not isinstance(node, nodes.Mapping):
        _wrong(node, what, "a mapping")
    return node


def as_sequence(node: Node, what: str) -> tuple[Node, ...]:
    """The items of a list."""
    if not isinstance(node, Sequence):
        _wrong(node, what, "a list")
    return node.items


def as_text(node: Node, what: str) -> str:
    """The text of a node that is not empty."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        _wrong(node, what, "text")
    if not node.text.strip():
        raise node.error(f"{what} is empty")
    return node.text


def as_texts(node: Node, what: str, nonempty: bool = False) -> tuple[str, ...]:
    """The texts of a list, none of them twice."""
    found: list[str] = []
    for item in as_sequence(node, what):
        text = as_text(item, f"an entry of {what}")
        if text in found:
            raise item.error(f"{what} names {shortened(text)!r} twice")
        found.append(text)
    if nonempty and not found:
        raise node.error(f"{what} is an empty list")
    return tuple(found)


def as_integer(node: Node, what: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """An integer in [least, most]."""
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(node, what, "an integer")
    if not least <= value <= most:
        raise node.error(f"{what} must lie in [{least}, {most}]")
    return value


def as_real(node: Node, what: str) -> float:
    """A number as a float; one beyond the doubles must be written `.inf`."""
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        _wrong(node, what, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    assert isinstance(node, Scalar)
    if math.isinf(number) and "inf" not in node.text.lower():
        raise node.error(f"{shortened(node.text)} is larger than any double; write .inf")
    return number


def as_complex(node: Node, what: str) -> complex:
    """A number, real or as 1+2j."""
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, str):
        return complex(as_real(node, what), 0.0)
    number = complex_number(value)
    if number is None:
        raise node.error(f"{what} must be a number such as 1+2j (no blanks), not {shortened(value)!r}")
    return number


def as_choice(node: Node, what: str, choices: Iterable[str]) -> str:
    """A text out of `choices`."""
    text = as_text(node, what)
    if text not in choices:
        guess = did_you_mean(text, choices) or f" (there are: {', '.join(choices)})"
        raise node.error(f"unknown {what} {shortened(text)!r}{guess}")
    return text


def as_expressions(node: Node) -> list[Scalar]:
    """One expression, or those of a list."""
    items = node.items if isinstance(node, Sequence) else (node,)
    if not items:
        raise node.error("expr is an empty list")
    return [as_expression(item, "expr") for item in items]


def as_expression(node: Node, what: str) -> Scalar:
    """An expression that is not empty, still to be parsed."""
    if not isinstance(node, Scalar):
        _wrong(node, what, "an expression")
    if not node.text.strip():
        raise node.error(f"{what} is empty")
    return node


def as_domain(node: Node) -> Domain:
    """A domain: the name of a usual one, or [lo, hi]."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return DOMAINS[as_choice(node, "domain", DOMAINS)]
    lo, hi = as_bounds(node, as_real)
    if not math.isfinite(lo) or not math.isfinite(hi):
        raise node.error("the ends of a domain must be finite")
    if not lo <= hi:
        raise node.error(f"a domain is [lo, hi] with lo <= hi, not [{lo:g}, {hi:g}]")
    if not math.isfinite(hi - lo):
        raise node.error("a domain wider than any double")
    return Domain((Interval(lo, hi),))


def as_bounds(node: Node, read: Callable[[Node, str], T]) -> tuple[T, T]:
    """Both ends of [lo, hi], each as `read` reads it."""
    if not isinstance(node, Sequence) or len(node.items) != 2:
        raise node.error(f"a domain is [lo, hi] or one of: {', '.join(DOMAINS)}")
    lo, hi = (read(item, "an end of a domain") for item in node.items)
    return lo, hi


def as_shape(node: Node) -> Shape:
    """A list of dimensions, of a size that is allowed."""
    items = as_sequence(node, "shape")
    shape = tuple(as_integer(item, "a dimension") for item in items)
    _check_size(node, shape)
    return shape


def _check_size(node: Node, shape: Shape) -> None:
    why_not = too_large(shape, MAX_ELEMENTS)
    if why_not:
        raise node.error(why_not)


def _literal(node: Node, what: str) -> tuple[Shape, list[Scalar]]:
    """Shape and entries of a number or of nested lists."""
    if isinstance(node, Scalar):
        return (), [node]
    if not isinstance(node, Sequence):
        _wrong(node, what, "a number or nested lists of numbers")
    shape: Shape | None = None
    entries: list[Scalar] = []
    for item in node.items:
        inner, found = _literal(item, what)
        if shape is not None and inner != shape:
            raise item.error(f"the rows of {what} differ in shape: {list(inner)} after {list(shape)}")
        shape = inner
        entries += found
    return (len(node.items), *(shape or ())), entries


def as_array(node: Node, what: str, kind: Kind | None) -> np.ndarray:
    """The values of a literal, as float64, complex128, int64 or bool.

    Without `kind` the entries tell: booleans make a mask, numbers make floats, or complex numbers if one of them is
    complex.
    """
    shape, entries = _literal(node, what)
    _check_size(node, shape)
    if kind is None:
        kind = "bool" if entries and isinstance(entries[0].value, bool) else "float"
        if any(isinstance(e.value, str) and complex_number(e.text) is not None for e in entries):
            kind = "complex"
    if kind == "complex":
        return np.array([as_complex(e, f"an entry of {what}") for e in entries], dtype=np.complex128).reshape(shape)
    if kind == "bool":
        for e in entries:
            if not isinstance(e.value, bool):
                _wrong(e, f"an entry of {what}", "a boolean")
        return np.array([e.value for e in entries], dtype=np.bool_).reshape(shape)
    if kind == "int":
        least = -(2**63)
        return np.array([as_integer(e, f"an entry of {what}", least) for e in entries], dtype=np.int64).reshape(shape)
    return np.array([as_real(e, f"an entry of {what}") for e in entries], dtype=np.float64).reshape(shape)


def kind_of(values: np.ndarray) -> Kind:
    """The kind of an array from a literal."""
    return {"b": "bool", "c": "complex"}.get(values.dtype.kind, "float")  # type: ignore[return-value]


def fit(node: Node, values: np.ndarray, shape: Shape, what: str) -> np.ndarray:
    """Values in `shape`; one number fills it, and an empty list fits every empty shape."""
    if values.shape == shape:
        return values
    if values.ndim == 0 or (values.size == 0 and math.prod(shape) == 0):
        return np.full(shape, values if values.ndim == 0 else 0, dtype=values.dtype)
    raise node.error(f"{what} has the shape {list(values.shape)}, not {list(shape)}")
