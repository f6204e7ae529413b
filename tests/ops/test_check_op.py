"""check_op must notice: each unsound declaration below differs from a sound one in a single place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradverify.core.interval import Interval
from gradverify.core.op import OpSpec, Param
from gradverify.ops import OPS
from gradverify.ops.shapes import same
from gradverify.testing import check_op


def rule(name, vjp):
    return replace(OPS[name], vjp=(vjp,) if callable(vjp) else vjp)


UNSOUND = {
    # rules
    "scaled by 1 + 1e-12": (rule("sin", lambda xp, g, out, x: g * xp.cos(x) * (1 + 1e-12)), "the rule of argument 1"),
    "scaled by 1 + 1e-24": (rule("exp", lambda xp, g, out, x: g * out + g * out * 1e-24), "the rule of argument 1"),
    "wrong sign": (rule("cos", lambda xp, g, out, x: g * xp.sin(x)), "the rule of argument 1"),
    "deaf to the cotangent": (rule("exp", lambda xp, g, out, x: out), "the rule of argument 1"),
    "wrong in the tail only": (
        rule("tanh", lambda xp, g, out, x: xp.where(xp.less(x, 20.0), g / xp.square(xp.cosh(x)), xp.zeros_like(x))),
        "the rule of argument 1",
    ),
    "one argument's for the other's": (
        rule("divide", (OPS["divide"].vjp[0], lambda xp, g, out, x, y: g * out / x)),
        "the rule of argument 2",
    ),
    "not summed over what broadcast": (replace(OPS["multiply"], broadcasts=False), "shape"),
    "a corner's slope taken for smooth": (rule("relu", lambda xp, g, out, x: g), "the rule of argument 1"),
    "straight through a step": (rule("floor", lambda xp, g, out, x: g), "the rule of argument 1"),
    # forms that lose digits or overflow, though the mathematics is right
    "out (1 - out)": (rule("sigmoid", lambda xp, g, out, x: g * out * (1.0 - out)), "a stable rule loses"),
    "1 - out**2": (rule("tanh", lambda xp, g, out, x: g * (1.0 - out * out)), "a stable rule loses"),
    "out + 1": (rule("expm1", lambda xp, g, out, x: g * (out + 1.0)), "a stable rule loses"),
    "0 * inf": (
        rule("softplus", lambda xp, g, out, x: g * xp.exp(x) * xp.sigmoid(-x)),
        "the cotangent of argument 1 is",
    ),
    # definitions
    "a value off by 1e-6": (
        replace(OPS["softsign"], define=lambda xp, x: x / (1.0 + xp.abs(x)) * 1.000001),
        "outside the image|the rule of argument 1",
    ),
    "a kernel that cancels": (
        replace(OPS["expm1"], define=lambda xp, x: xp.exp(x) - 1.0, ulps=1),
        "declared accuracy allows",
    ),
    "more accurate than any libm": (replace(OPS["exp"], ulps=0.1), "declared accuracy allows"),
    "NaN inside the domain": (replace(OPS["log"], domain=((Interval(-1.0, 1.0),),)), "in balls|NaN|finite"),
    # what stands around
    "kink not declared": (replace(OPS["abs"], kinks=None), "no kink is declared|the rule of argument 1"),
    "kink declared elsewhere": (
        replace(OPS["abs"], kinks=lambda xp, x: xp.abs(x - 1.0)),
        "no kink is declared|the rule of argument 1",
    ),
    "a jump not declared": (replace(OPS["ceil"], kinks=None), "no kink is declared|not|the rule"),
    "a negative distance": (replace(OPS["abs"], kinks=lambda xp, x: x), "a negative distance"),
    "image too small": (replace(OPS["sin"], image=lambda x, **_: Interval(-0.9, 0.9)), "outside the image"),
    "image of another function": (
        replace(OPS["exp"], image=lambda x, **_: Interval(0.0, 1.0 + max(x.hi, 0.0))),
        "outside the image",
    ),
    "shape rule": (replace(OPS["exp"], shape=lambda shape, **_: (*shape, 1)), "the shape rule says"),
    "rules do not fit the arity": (replace(OPS["add"], vjp=(OPS["add"].vjp[0],)), "1 rules for 2 arguments"),
    "example is no expression": (replace(OPS["exp"], example="exp(x"), "is no expression"),
    "its own alias": (replace(OPS["exp"], aliases=("exp",)), "own alias"),
    "no doc": (replace(OPS["exp"], doc=""), "no doc"),
    "empty domain": (replace(OPS["exp"], domain=((Interval(1e300, 1e301),),)), "no point of its domain"),
    "only kinks": (
        replace(OPS["exp"], kinks=lambda xp, x: 0.0 * x),
        "was never tested",
    ),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_an_unsound_declaration_is_refused(what):
    spec, message = UNSOUND[what]
    with pytest.raises(AssertionError, match=message):
        check_op(spec)


def cube(**changes) -> OpSpec:
    """An op as a third party would declare it."""
    fields = {
        "name": "cube",
        "define": lambda xp, x, scale: scale * (x * x * x),
        "vjp": (lambda xp, g, out, x, scale: 3.0 * (scale * (g * x * x)),),
        "doc": "scale x**3",
        "example": "cube(x)",
        "shape": same,
        "ulps": 1.5,
        "params": {"scale": Param("float", 1.0)},
    }
    return OpSpec(**(fields | changes))


def test_a_third_partys_op_in_a_dozen_lines():
    check_op(cube())
    with pytest.raises(AssertionError, match="the rule of argument 1"):
        check_op(cube(vjp=(lambda xp, g, out, x, scale: 3.0 * g * x * x,)))


def test_a_composition_needs_no_rule():
    check_op(cube(vjp=None))


def test_the_points_can_be_given():
    seen = []

    def draw(rng):
        x = rng.uniform(1.0, 2.0, size=(2, 2))
        seen.append(x)
        return (x,), {"scale": 2.0}

    check_op(cube(), draw=draw, samples=3)
    assert len(seen) == 6  # three in either dtype


def test_the_same_seed_makes_the_same_points():
    points: list[list[bytes]] = []

    def spying(xp, x, scale):
        points[-1].append(np.asarray(x).astype(float).tobytes())
        return scale * (x * x * x)

    for seed in (3, 3, 4):
        points.append([])
        check_op(cube(define=spying), seed=seed, samples=4)
    assert points[0] == points[1]
    assert points[0] != points[2]


def test_the_message_names_the_point_and_both_numbers():
    with pytest.raises(AssertionError) as caught:
        check_op(UNSOUND["wrong sign"][0])
    text = str(caught.value)
    assert text.startswith("cos(")
    assert "the difference of the definition" in text
