"""Several floating-point dtypes in one function: each gradient in its argument's, the budget by the narrowest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify import check
from gradverify.core.verdict import FailKind, Outcome, Reason

from ..helpers import custom

torch = pytest.importorskip("torch")

G = torch.Generator().manual_seed(0)
X, W = torch.randn(4, 5, generator=G), torch.randn(5, 3, generator=G)


def autocast(x: Any, w: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.relu(x @ w)


MIXED: dict[str, tuple[Any, tuple[Any, ...], str]] = {
    "half inside float32": (lambda x, w: (x.half() @ w.half()).float(), (X, W), "float16"),
    "bfloat16 inside float32": (lambda x, w: torch.tanh((x.bfloat16() @ w.bfloat16()).float()), (X, W), "bfloat16"),
    "autocast": (autocast, (X, W), "bfloat16"),
    "bfloat16 weights": (lambda x, w: x @ w.float(), (X, W.bfloat16()), "bfloat16"),
    "a float64 accumulator": (lambda x, w: x.double() @ w, (X, W.double()), "float32"),
    "float32 inside bfloat16": (lambda x: torch.softmax(x.float(), -1).to(x.dtype), (X.bfloat16(),), "bfloat16"),
    "a float64 output": (lambda x: (x.sin(), x.double().sum()), (X,), "float32"),
    "a float32 module on the way": (lambda x: torch.sin(x.float()).double(), (X.double(),), "float32"),
}


@pytest.mark.parametrize("what", MIXED)
def test_right(what: str) -> None:
    fn, args, narrowest = MIXED[what]
    verdict = check(fn, *args)
    assert verdict, verdict.text()
    assert verdict.dtype == narrowest
    assert "other values" in verdict.facts["tried"]


def test_wrong_by_more_than_the_narrowest_excuses() -> None:
    half = lambda x, w: (x.half() @ w.half()).float()
    assert check(custom(half, lambda g, x, w: (g @ w.T, x.T @ g)), X, W, order=1, effort="quick")
    verdict = check(custom(half, lambda g, x, w: (g @ w.T, 1.05 * x.T @ g)), X, W, order=1, effort="quick")
    assert verdict.kind is FailKind.WRONG
    assert "dargs[1]" in verdict.message


def test_a_backward_that_is_less_precise_than_the_forward_still_fails() -> None:
    """Nothing in the forward pass is float32: the budget is that of float64."""
    coarse = custom(torch.mul, lambda g, x, w: ((g.float() * w.float()).double(), g * x))
    verdict = check(coarse, X.double(), X.double() + 1, effort="quick")
    assert verdict.kind is FailKind.PRECISION
    assert verdict.dtype == "float64"
    between = custom(
        lambda x, w: x * w, lambda g, x, w: ((g.bfloat16() * w.bfloat16()).to(x.dtype), (g * x).to(w.dtype))
    )
    verdict = check(between, X, X.double() + 1, effort="quick")
    assert verdict.outcome is Outcome.FAIL
    assert verdict.dtype == "float32"


def test_the_power_is_that_of_the_narrowest() -> None:
    wide = check(lambda x: torch.sin(x), X.double(), effort="quick")
    narrow = check(lambda x: torch.sin(x.float()).double(), X.double(), effort="quick")
    assert wide.power_of_values < 1e-12 < 1e-7 < narrow.power_of_values < 1e-3


def test_two_formats_of_which_neither_is_narrower() -> None:
    verdict = check(lambda x, w: x.half().float() @ w.bfloat16().float(), X, W)
    assert verdict.reason is Reason.UNTRACED
    assert "bfloat16, float16" in verdict.message


def test_cotangents_orders_modes_and_references() -> None:
    double = lambda x, w: x.double() * w
    w = X.double() + 1
    assert check(double, X, w, cotangent=np.ones((4, 5)), effort="quick")
    assert check(double, X, w, order=2, modes=("rev", "fwd"), effort="quick")
    assert check(double, X, w, reference=lambda x, w: w * x, effort="quick")
    net = torch.nn.Linear(5, 3)
    assert check(lambda x: net(x.float()).double(), X.double(), effort="quick")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_orders_and_modes_in_half_precision(dtype: Any) -> None:
    verdict = check(lambda x: x.sin() * x, X.to(dtype), order=2, modes=("rev", "fwd"), effort="quick")
    assert verdict, verdict.text()
    assert verdict.facts["judged"][-1] == "order 2, fwd over fwd"
    cube = custom(lambda x, w: x * w, lambda g, x, w: (g * w, g * x))
    verdict = check(cube, X.to(dtype), X.to(dtype) + 1)
    assert verdict, verdict.text()
    assert "the second order" in verdict.facts["tried"]


def test_jax() -> None:
    pytest.importorskip("jax")
    import jax.numpy as jnp

    x, w = jnp.asarray(X.numpy()), jnp.asarray(W.numpy())
    cast = lambda x, w: (x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)).astype(jnp.float32)
    assert check(cast, x, w, effort="quick").dtype == "bfloat16"
    verdict = check(lambda x, w: x @ w.astype(jnp.float32), x, w.astype(jnp.bfloat16), effort="quick")
    assert verdict, verdict.text()
    assert verdict.dtype == "bfloat16"
