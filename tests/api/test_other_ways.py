"""One VJP, asked for in several ways: by create_graph=True, after an edit of the inputs, under jit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify import check
from gradverify.core.errors import BadInput
from gradverify.judge.laws.vjp import to_strided

torch = pytest.importorskip("torch")


def sine(backward: Any, keep: Any = lambda ctx, x: ctx.save_for_backward(x)) -> Any:
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            keep(ctx, x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(ctx, g)

    return Sine.apply


def leaf() -> Any:
    return torch.tensor([[0.3, -1.2], [0.7, 2.1]], dtype=torch.float64, requires_grad=True)


def keeps(ctx: Any, x: Any) -> None:
    ctx.x = x


def keeps_a_copy(ctx: Any, x: Any) -> None:
    ctx.x = x.clone()


def test_an_input_kept_outside_of_save_for_backward_is_read_anew_after_an_edit() -> None:
    verdict = check(sine(lambda ctx, g: g * ctx.x.cos(), keeps), leaf())
    assert "the inputs edited in place before the backward pass" in verdict.message
    once = torch.autograd.function.once_differentiable
    assert check(sine(once(lambda ctx, g: g * ctx.x.cos()), keeps_a_copy), leaf())
    # Here autograd itself raises, which is right.
    assert check(sine(lambda ctx, g: g * ctx.saved_tensors[0].cos()), leaf())


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_another_formula_under_create_graph(factor: float) -> None:
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0].cos() * (factor if torch.is_grad_enabled() else 1.0)

    verdict = check(sine(backward), leaf())
    assert bool(verdict) == (factor == 1.0)
    assert ("create_graph=True" in verdict.message) == (factor != 1.0)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_another_rule_under_jit(factor: float) -> None:
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jax.numpy.sin(x)

    def backward(x: Any, g: Any) -> Any:
        return (g * jax.numpy.cos(x) * (factor if isinstance(g, jax.core.Tracer) else 1.0),)

    f.defvjp(lambda x: (jax.numpy.sin(x), x), backward)
    with jax.enable_x64(True):
        verdict = check(f, jax.numpy.array([0.3, -0.7, 1.1]))
    assert bool(verdict) == (factor == 1.0)


def test_a_slice_keeps_its_offset_and_its_gaps_are_nan() -> None:
    from gradverify.frameworks.torch.adapter import TorchFramework

    x = np.arange(6.0).reshape(2, 3)
    tensor = TorchFramework().put(to_strided(x))
    assert tensor.storage_offset() == 1
    assert torch.equal(tensor, torch.from_numpy(x))
    assert torch.as_strided(tensor, (1,), (1,), 0).isnan().all()


@pytest.mark.parametrize("what", ["cotangent", "input"])
def test_a_kernel_that_takes_memory_from_its_start(what: str) -> None:
    def backward(ctx: Any, g: Any) -> Any:
        x = ctx.saved_tensors[0]
        read = g if what == "cotangent" else x
        flat = read.as_strided((read.untyped_storage().nbytes() // 8,), (1,), 0)[: read.numel()].reshape(read.shape)
        return flat * x.cos() if what == "cotangent" else g * flat.cos()

    assert not check(sine(backward), leaf())


def test_a_result_that_is_detached_behind_what_cannot_be_traced_is_one() -> None:
    """airy_ai has no counterpart in the op table; that its result is cut off is seen all the same."""
    with pytest.raises(BadInput, match="detached result"):
        check(lambda x: torch.special.airy_ai(x).detach(), torch.ones(3, dtype=torch.float64, requires_grad=True))
