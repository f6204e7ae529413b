"""Elementwise ops and broadcasting binaries that every array library has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core.interval import NONZERO, POSITIVE, REAL, Interval
from ..core.op import OpSpec
from .shapes import broadcast, same


def pointwise(name: str, vjp: Any, image: Callable[[Interval], Interval], doc: str, **fields: Any) -> OpSpec:
    """An elementwise primitive of one argument; `vjp` and `image` take just that argument."""
    return OpSpec(
        name=name,
        define=lambda xp, x: getattr(xp, name)(x),
        vjp=(vjp,),
        image=lambda x, **_: image(x),
        doc=doc,
        shape=same,
        primitive=True,
        example=fields.pop("example", f"{name}(x)"),
        **fields,
    )


def binary(name: str, vjp: tuple[Any, Any], image: Callable[[Interval, Interval], Interval], doc: str, **fields: Any):
    """A broadcasting primitive of two arguments; the VJPs need not sum back to the arguments' shapes."""
    return OpSpec(
        name=name,
        arity=2,
        define=lambda xp, x, y: getattr(xp, name)(x, y),
        vjp=vjp,
        image=lambda x, y, **_: image(x, y),
        doc=doc,
        shape=broadcast,
        primitive=True,
        broadcasts=True,
        example=fields.pop("example", f"{name}(x, y)"),
        **fields,
    )


DECLARATIONS: tuple[OpSpec, ...] = (
    binary("add", (lambda xp, g, out, x, y: g, lambda xp, g, out, x, y: g), lambda x, y: x + y, "x + y"),
    binary("multiply", (lambda xp, g, out, x, y: g * y, lambda xp, g, out, x, y: g * x), lambda x, y: x * y, "x * y",
           aliases=("mul",)),
    pointwise("exp", lambda xp, g, out, x: g * out, lambda x: x.increasing(math.exp), "e**x", ulps=1),
    pointwise("log", lambda xp, g, out, x: g / x, lambda x: x.increasing(math.log), "natural logarithm",
              domain=(POSITIVE,), ulps=1),
    pointwise("tanh", lambda xp, g, out, x: g / xp.square(xp.cosh(x)), lambda x: x.increasing(math.tanh),
              "hyperbolic tangent; 1/cosh(x)**2 keeps the digits in the tail that 1 - out**2 loses", ulps=2),
)  # fmt: skip
