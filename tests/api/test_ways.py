"""One point asked otherwise: subsets of inputs, one tensor twice, undefined cotangents, batches, views, layouts."""

from __future__ import annotations

from typing import Any

import pytest

import gradverify
from gradverify import check
from gradverify.core.verdict import FailKind, Outcome

torch = pytest.importorskip("torch")

X = torch.tensor([[0.4, -1.1, 0.7], [1.2, 0.3, -0.6]], dtype=torch.float64)
Y = torch.tensor([[-0.5, 0.8, 1.7], [0.2, -0.9, 0.6]], dtype=torch.float64)


def product(backward: Any) -> Any:
    """x·y with the given backward(ctx, x, y, g)."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(ctx, *ctx.saved_tensors, g)

    return Product.apply


def right(ctx: Any, x: Any, y: Any, g: Any) -> Any:
    return g * y, g * x


def by_identity(ctx: Any, x: Any, y: Any, g: Any) -> Any:
    return g * y, None if x.data_ptr() == y.data_ptr() else g * x


def one_needed(ctx: Any, x: Any, y: Any, g: Any) -> Any:
    """Wrong where only y requires grad."""
    return g * y, g * x if ctx.needs_input_grad[0] else g * y


def batched(ctx: Any, x: Any, y: Any, g: Any) -> Any:
    """Wrong under vmap: a sum over all there is would be too, but this can be seen by no single cotangent."""
    return g * y * (2 if torch._C._functorch.is_legacy_batchedtensor(g) else 1), g * x


def of_leaves(ctx: Any, x: Any, y: Any, g: Any) -> Any:
    """Wrong where an input is no leaf."""
    return g * y * (1 if x.is_leaf else 2), g * x


def test_a_right_one_passes_them_all() -> None:
    verdict = check(product(right), X, Y)
    assert verdict, verdict.text()
    tried = set(verdict.facts["tried"])
    assert {"other ways of asking", "one tensor as two arguments"} <= tried
    assert sum("grad" in t for t in tried) == 2


@pytest.mark.parametrize(
    ("backward", "name"),
    [
        (by_identity, "one tensor as two arguments"),
        (one_needed, "requires grad"),
        (batched, "is_grads_batched"),
        (of_leaves, "views of tensors"),
    ],
    ids=["by identity", "which input requires grad", "batched", "views"],
)
def test_wrong_in_one_way_of_asking(backward: Any, name: str) -> None:
    assert check(product(backward), X, Y, effort="quick")
    verdict = check(product(backward), X, Y)
    assert verdict.outcome is Outcome.FAIL
    assert name in verdict.message


def test_every_subset_of_three_inputs() -> None:
    verdict = check(lambda x, y, z: x * y * z, X, Y, X + 2)
    assert verdict, verdict.text()
    assert sum("grad" in t for t in verdict.facts["tried"]) == 6


def test_a_backward_that_cannot_be_batched_is_in_its_right() -> None:
    def by_value(ctx: Any, x: Any, y: Any, g: Any) -> Any:
        return (g * y, g * x) if g.abs().sum().item() else (g, g)

    verdict = check(product(by_value), X, Y)
    assert verdict, verdict.text()


class Two(torch.autograd.Function):
    """sin and exp; `undefined` says what the backward pass makes of a cotangent that is None."""

    undefined: Any = None

    @staticmethod
    def forward(ctx: Any, x: Any, undefined: str) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        ctx.undefined = undefined
        return x.sin(), x.exp()

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        (x,) = ctx.saved_tensors
        if ctx.undefined == "wrong" and h is None:
            return 2 * g * x.cos(), None
        if ctx.undefined == "raises":
            return g * x.cos() + h * x.exp(), None
        first = 0 if g is None else g * x.cos()
        return first + (0 if h is None else h * x.exp()), None


def test_undefined_cotangents() -> None:
    assert check(lambda x: Two.apply(x, "right"), X)
    wrong = check(lambda x: Two.apply(x, "wrong"), X)
    assert wrong.kind is FailKind.WRONG
    assert "output 0 alone" in wrong.message
    raises = check(lambda x: Two.apply(x, "raises"), X)
    assert raises.kind is FailKind.RAISED
    assert "TypeError" in raises.message


# ---- memory as it is given ------------------------------------------------------------------------------------------


def of_strides(seen: list[Any]) -> Any:
    class Seen(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            seen.append(tuple(x.stride()))
            return g * x.cos() * (2 if x.stride() == (0, 1) else 1)  # wrong for expanded rows

    return Seen.apply


def test_an_expanded_input_stays_expanded() -> None:
    seen: list[Any] = []
    row = torch.tensor([0.3, -0.4, 1.1], dtype=torch.float64)
    assert check(of_strides(seen), X, effort="quick")
    assert (0, 1) not in seen
    assert check(of_strides(seen), row.expand(2, 3), effort="quick").kind is FailKind.WRONG


@pytest.mark.parametrize(
    "x",
    [X.T, torch.cat([X, X])[1:3], torch.stack([X, X], -1)[..., 1], X[0].unfold(0, 2, 1), X[:, :0], X[0, 1]],
    ids=["transposed", "sliced", "strided", "overlapping windows", "empty", "0-d"],
)
def test_layouts_of_correct_functions(x: Any) -> None:
    verdict = check(lambda x: torch.sin(x) * x, x)
    assert verdict, verdict.text()


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    def sine(wrong: bool) -> Any:
        f = jax.custom_vjp(lambda x: jnp.sin(x))
        back = lambda x, g: (g * jnp.cos(x) * (2 if wrong and type(g).__name__ == "BatchTracer" else 1),)
        f.defvjp(lambda x: (jnp.sin(x), x), back)
        return f

    with jax.enable_x64(True):
        x = jnp.asarray(X.numpy())
        assert check(sine(False), x)
        verdict = check(sine(True), x)
    assert isinstance(verdict, gradverify.Verdict)
    assert verdict.kind is FailKind.LAW
    assert "jax.vmap" in verdict.message
