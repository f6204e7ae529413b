"""A term that a projection takes off, dropped or altered, is excused in no dtype: norms, softmax, reflections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradverify import FailKind, Outcome
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")


def dot(a: Any, b: Any) -> Any:
    return (a * b).sum(-1, keepdim=True)


def length(x: Any) -> Any:
    return dot(x, x).sqrt()


def weight_norm(g: Any, v: Any, m: Any, c: float) -> Any:
    along = dot(v, g)
    return m / length(v) * (g - c * v * along / dot(v, v)), along / length(v)


def layer_norm(g: Any, x: Any, c: float) -> Any:
    d = x - x.mean(-1, keepdim=True)
    s = (d * d).mean(-1, keepdim=True).add(1e-5).sqrt()
    return (g - g.mean(-1, keepdim=True) - c * d / s * (g * d / s).mean(-1, keepdim=True)) / s


def normed(x: Any) -> Any:
    d = x - x.mean(-1, keepdim=True)
    return d / (d * d).mean(-1, keepdim=True).add(1e-5).sqrt()


def softmax(g: Any, x: Any, c: float) -> Any:
    p = torch.softmax(x, -1)
    return p * (g - c * dot(p, g))


def householder(g: Any, v: Any, x: Any, c: float) -> Any:
    n, a, d = dot(v, v), dot(v, x), dot(v, g)
    return -2 * (g * a + x * d) / n + c * 4 * v * a * d / (n * n), g - 2 * v * d / n


CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "weight norm": (lambda v, m: m * v / length(v), weight_norm, ((4, 6), (4, 1))),
    "unit sphere": (
        lambda x: x / length(x),
        lambda g, x, c: (g - c * x * dot(x, g) / dot(x, x)) / length(x),
        ((3, 6),),
    ),
    "layer norm": (normed, layer_norm, ((4, 6),)),
    "softmax": (lambda x: torch.softmax(x, -1), softmax, ((3, 5),)),
    "householder": (lambda v, x: x - 2 * v * dot(v, x) / dot(v, v), householder, ((3, 5), (3, 5))),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_a_term_that_is_dropped_or_altered(name: str, dtype: str) -> None:
    run, back, shapes = CASES[name]
    draw = torch.Generator().manual_seed(1)
    args = [torch.randn(s, generator=draw, dtype=torch.float64).to(getattr(torch, dtype)) for s in shapes]

    def verdict(c: float) -> Any:
        return judge(custom(run, lambda g, *given: back(g, *given, c)), *(a.clone().requires_grad_() for a in args))

    assert verdict(1.0).outcome is Outcome.PASS
    for c in (0.0, -1.0):
        assert verdict(c).kind is FailKind.WRONG
    # In bfloat16 throughout, 0.999 is within what the arithmetic resolves: WEAK, and no PASS.
    expected = (Outcome.WEAK, Outcome.FAIL) if dtype == "bfloat16" else (Outcome.FAIL,)
    assert verdict(0.999).outcome in expected
