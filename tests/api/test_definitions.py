"""What a function is held against besides its own forward: `surrogate_of=`, `reference=`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify
from gradverify import BadInput, check
from gradverify.core.verdict import FailKind, Outcome, Reason

from ..helpers import custom

torch = pytest.importorskip("torch")

X = torch.tensor([[0.4, -1.1, 0.7], [1.2, 0.3, -0.6]], dtype=torch.float64)


def spike(x: Any) -> Any:
    return (x > 0).to(x.dtype)


IDENTITY = lambda x: x

SURROGATES: dict[str, tuple[Any, Any, Any, Any]] = {
    "straight through": (torch.round, lambda g, x: g, lambda g, x: 2 * g, IDENTITY),
    "clipped straight through": (torch.sign, lambda g, x: g * (x.abs() <= 1), lambda g, x: g, lambda x: x.clamp(-1, 1)),
    "a spiking neuron": (spike, lambda g, x: g / (1 + x**2), lambda g, x: g / (1 + x.abs()), torch.atan),
}


@pytest.mark.parametrize("what", SURROGATES)
def test_surrogates(what: str) -> None:
    forward, right, wrong, surrogate = SURROGATES[what]
    assert check(custom(forward, right), X, effort="quick").outcome is Outcome.FAIL  # held against its own forward
    verdict = check(custom(forward, right), X, surrogate_of=surrogate)
    assert verdict, verdict.text()
    assert any("surrogate" in n for n in verdict.notes)
    assert "other values" in verdict.facts["tried"]
    assert verdict.power < 1e-13
    assert check(custom(forward, wrong), X, surrogate_of=surrogate).kind is FailKind.WRONG


def test_the_value_is_that_of_the_function() -> None:
    """Of a reference, where there is one: a kernel that rounds the wrong way has the right surrogate gradient."""
    kernel = custom(torch.floor, lambda g, x: g)
    assert check(kernel, X, surrogate_of=IDENTITY, effort="quick")
    verdict = check(kernel, X, surrogate_of=IDENTITY, reference=torch.round, effort="quick")
    assert verdict.kind is FailKind.WRONG
    assert "out[" in verdict.message


def test_several_arguments_and_a_module() -> None:
    class Quantised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor([0.4, -1.6, 0.9], dtype=torch.float64))

        def forward(self, x: Any) -> Any:
            return x * (self.w + (self.w.round() - self.w).detach())

    verdict = check(Quantised(), X, surrogate_of=lambda x, parameters: x * parameters["w"], wrt="w", effort="quick")
    # d/dw is x in both; d/dx is round(w) in the function and w in the surrogate
    assert verdict, verdict.text()
    assert check(Quantised(), X, surrogate_of=lambda x, parameters: x * parameters["w"], wrt="x").kind is FailKind.WRONG


def test_a_surrogate_that_does_not_fit() -> None:
    f = custom(torch.round, lambda g, x: g)
    with pytest.raises(BadInput, match="the surrogate's outputs have shapes"):
        check(f, X, surrogate_of=lambda x: x.sum())
    with pytest.raises(BadInput, match="raised ZeroDivisionError"):
        check(f, X, surrogate_of=lambda x: 1 / 0)
    verdict = check(f, X, surrogate_of=lambda x: torch.from_numpy(np.sin(x.detach().numpy())) + x)
    assert verdict.reason is Reason.UNTRACED
    assert "sight" in verdict.message


def test_a_surrogate_in_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    f = jax.custom_vjp(lambda x: jnp.round(x))
    f.defvjp(lambda x: (jnp.round(x), x), lambda x, g: (g * (jnp.abs(x) <= 1),))
    with jax.enable_x64(True):
        x = jnp.asarray(X.numpy())
        assert check(f, x, surrogate_of=lambda x: jnp.clip(x, -1, 1), effort="quick")
        assert check(f, x, surrogate_of=lambda x: x, effort="quick").kind is FailKind.WRONG


# ---- references -----------------------------------------------------------------------------------------------------

LINEAR = torch.nn.Linear(3, 2).double()


def affine(x: Any, parameters: Any) -> Any:
    return x @ parameters["weight"].T + parameters["bias"]


def test_a_reference_for_a_module() -> None:
    for reference in (affine, torch.nn.Linear(3, 2).double()):  # with other values of its own, which do not count
        verdict = check(LINEAR, X, reference=reference, effort="quick")
        assert verdict, verdict.text()
        assert {c.of for c in verdict.comparisons} == {"out", "dinput", "dweight", "dbias"}
    forgot = check(LINEAR, X, reference=lambda x, parameters: x @ parameters["weight"].T, effort="quick")
    assert forgot.kind is FailKind.WRONG


def test_a_reference_for_a_module_within_a_module() -> None:
    net = torch.nn.Sequential(LINEAR, torch.nn.Tanh())
    by_hand = lambda x, parameters: torch.tanh(x @ parameters["0.weight"].T + parameters["0.bias"])
    verdict = check(net, X, reference=by_hand, effort="quick")
    assert verdict, verdict.text()


def test_a_reference_for_a_module_that_does_not_know_its_parameters() -> None:
    verdict = check(LINEAR, X, reference=torch.sin, effort="quick")
    assert verdict.reason is Reason.UNTRACED
    assert "argument `parameters`" in verdict.message
    with pytest.raises(BadInput, match="has a parameter 'weight' of shape"):
        check(LINEAR, X, reference=torch.nn.Linear(3, 4).double(), effort="quick")


def test_a_function_and_a_reference_that_close_over_arrays() -> None:
    w, other = torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64), torch.arange(30.0, dtype=torch.float64)
    verdict = check(
        lambda x: x @ w + other[3], X, reference=lambda x: (x * w).sum(-1) + other.sum() / 145, effort="quick"
    )
    assert verdict, verdict.text()
    wrong = check(lambda x: x @ w, X, reference=lambda x: x @ (w + other[:3]), effort="quick")
    assert wrong.kind is FailKind.WRONG


def test_a_reference_for_a_jax_pytree() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    with jax.enable_x64(True):
        layer = jax.tree_util.Partial(lambda w, x: x @ w, jnp.asarray([0.5, -0.2, 0.9]))
        x = jnp.asarray(X.numpy())
        verdict = check(layer, x, reference=lambda x, parameters: (x * next(iter(parameters.values()))).sum(-1))
    assert verdict, verdict.text()
    assert len(verdict.comparisons) == 3


def test_an_opaque_module_by_its_reference() -> None:
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return torch.from_numpy(x.detach().numpy() @ w.detach().numpy())

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, w = ctx.saved_tensors
            return g @ w.T, x.T @ g

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor([[0.5], [-0.2], [0.9]], dtype=torch.float64))

        def forward(self, x: Any) -> Any:
            return Hidden.apply(x, self.w)

    verdict = check(Layer(), X, reference=lambda x, parameters: x @ parameters["w"], effort="quick")
    assert verdict, verdict.text()
    assert verdict.power < 1e-13
    assert isinstance(verdict, gradverify.Verdict)
