"""`check(..., dtype=)`: the same function judged in another dtype."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from gradverify import BadInput, check
from gradverify.core.verdict import FailKind

torch = pytest.importorskip("torch")

X = torch.tensor([[0.4, -1.1, 0.7], [1.2, 0.3, -0.6]], dtype=torch.float64)
W = torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64)
DTYPES = ("float16", "bfloat16", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_function_and_a_module_in_each_dtype(dtype: str) -> None:
    seen = []

    def f(x: Any, *, w: Any) -> Any:
        seen.append((str(x.dtype), str(w.dtype)))
        return torch.tanh(x * w)

    verdict = check(f, X, kwargs={"w": W}, dtype=dtype, effort="quick")
    assert verdict, verdict.text()
    assert verdict.dtype == dtype
    assert set(seen) == {(f"torch.{dtype}",) * 2}
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    assert check(net, X, dtype=dtype, effort="quick").dtype == dtype
    assert net[0].weight.dtype == torch.float32  # the caller's is left alone


def test_framework_names_of_dtypes() -> None:
    for dtype in (torch.bfloat16, np.float32, np.dtype("float32")):
        assert check(torch.sin, X, dtype=dtype, effort="quick").dtype in ("bfloat16", "float32")


def test_no_other_dtype_is_tried() -> None:
    verdict = check(torch.sin, X, dtype="float64")
    assert "float32" not in verdict.facts["tried"]
    assert "other values" in verdict.facts["tried"]


def test_other_values_are_tried_in_half_precision_as_well() -> None:
    seen = set()

    def f(x: Any) -> Any:
        seen.add(tuple(x.detach().float().flatten().tolist()))
        return x.sin()

    verdict = check(f, X, dtype="bfloat16")
    assert verdict, verdict.text()
    assert len({v for v in seen if len(v) == 6}) > 3


class Coarse(torch.autograd.Function):
    """Right in float16 alone: it computes in it."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return (g.half() * ctx.saved_tensors[0].half().cos()).to(g.dtype)


def test_what_one_dtype_hides_another_one_shows() -> None:
    assert check(Coarse.apply, X, dtype="float16", effort="quick")
    verdict = check(Coarse.apply, X, effort="quick", order=1)
    assert verdict.kind is FailKind.PRECISION


def test_partials_methods_integers_and_references() -> None:
    net = torch.nn.Linear(3, 2)
    pick = lambda w, x, i: (x * w)[i]
    assert check(partial(pick, W), X, torch.tensor([1, 0]), dtype="float32", effort="quick").dtype == "float32"
    assert check(net.forward, X, dtype="float64", effort="quick").dtype == "float64"
    assert check(net, X, reference=torch.nn.Linear(3, 2), dtype="float64", effort="quick").dtype == "float64"


@pytest.mark.parametrize("dtype", ["int32", "float8", torch.int64, 3])
def test_no_dtype(dtype: Any) -> None:
    with pytest.raises(BadInput, match="dtype must be one of float16"):
        check(torch.sin, X, dtype=dtype)


def test_complex_numbers_take_the_dtype_of_that_precision() -> None:
    z = torch.complex(X, X.flip(0))
    assert check(lambda z: (z * z.conj()).real, z, dtype="float32", effort="quick")
    with pytest.raises(BadInput, match="no complex numbers of bfloat16"):
        check(torch.abs, z, dtype="bfloat16")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_jax(dtype: str) -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    verdict = check(lambda p: jnp.tanh(p["x"] * p["w"]), {"x": X.numpy(), "w": jnp.asarray([0.5, -0.2, 0.9])},
                    dtype=dtype, effort="quick")  # fmt: skip
    assert verdict, verdict.text()
    assert verdict.dtype == dtype
    assert not jax.config.jax_enable_x64


def test_numpy() -> None:
    square = partial(check, lambda x: x * x, X.numpy(), vjp=lambda g, x: 2 * g * x, effort="quick")
    assert square(dtype="float32").dtype == "float32"
    with pytest.raises(BadInput, match="not to bfloat16"):
        square(dtype="bfloat16")
