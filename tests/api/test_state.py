"""What is kept from one call to the next; and outputs that nobody uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradverify import check
from gradverify.core.outcome import Outcome
from gradverify.core.verdict import FailKind

torch = pytest.importorskip("torch")


def tensor(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


class Gate(torch.nn.Module):
    """x times a gate made of the weight; `how` says what is kept of it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.5, -1.0], dtype=torch.float64))
        self.how, self.cache = how, None

    def forward(self, x: Any) -> Any:
        if self.how == "new":
            return x * self.weight.tanh()
        if self.how == "by version":
            if self.cache is None or self.cache[0] is not self.weight or self.cache[1] != self.weight._version:
                self.cache = (self.weight, self.weight._version, self.weight.tanh())
            return x * self.cache[2]
        if self.cache is None:
            self.cache = self.weight.tanh().detach() if self.how == "detached" else self.weight.tanh()
        return x * self.cache


@pytest.mark.parametrize("how", ["kept", "detached"])
def test_what_is_made_of_a_parameter_once_is_a_broken_law(how: str) -> None:
    verdict = check(Gate(how), tensor(1.0, 2.0))
    assert (verdict.outcome, verdict.kind) == (Outcome.FAIL, FailKind.LAW)
    assert "keeps what it made of weight" in verdict.message


@pytest.mark.parametrize("how", ["new", "by version"])
def test_a_cache_that_knows_its_parameter_is_right(how: str) -> None:
    assert check(Gate(how), tensor(1.0, 2.0))


def test_in_evaluation_parameters_stand_still() -> None:
    assert check(Gate("kept").eval(), tensor(1.0, 2.0)).outcome is Outcome.INCONCLUSIVE


def test_masks_and_tables_of_shapes_may_be_kept() -> None:
    kept: dict[Any, Any] = {}

    def f(x: Any, w: Any) -> Any:
        mask = kept.setdefault(x.shape, torch.ones_like(x).tril())
        return x * mask * w

    assert check(f, torch.ones(2, 2, dtype=torch.float64).requires_grad_(), tensor(0.5, 2.0))


def _both(materialised: bool) -> Callable[..., Any]:
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.set_materialize_grads(materialised)
            return x.cos(), x.cosh()

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            (x,) = ctx.saved_tensors
            return (0 if g is None else -g * x.sin()) + (0 if h is None else h * x.sinh())

    return Both.apply


@pytest.mark.parametrize("materialised", [True, False])
def test_nobody_climbs_beyond_an_output_that_is_not_used(materialised: bool) -> None:
    """0·inf of an output that has overflowed is where the function ends, though the other output goes on."""
    both = _both(materialised)
    assert check(lambda x: both(x)[0], tensor(-0.5, 1.5))
    assert check(both, tensor(-0.5, 1.5))


def test_nobody_climbs_beyond_an_output_that_is_not_used_in_jax() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    both = jax.custom_vjp(lambda x: (jnp.cos(x), jnp.cosh(x)))
    both.defvjp(lambda x: (both(x), x), lambda x, g: (-g[0] * jnp.sin(x) + g[1] * jnp.sinh(x),))
    assert check(lambda x: both(x)[0], jnp.array([-0.5, 1.5]))


def test_an_overflow_of_the_backward_pass_alone_is_found() -> None:
    class Softplus(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.nn.functional.softplus(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * x.exp() / (1 + x.exp())

    verdict = check(Softplus.apply, tensor(-2.0, 1.0, 8.0))
    assert verdict.kind is FailKind.NON_FINITE


def test_what_a_surrogate_detaches_is_held_fixed() -> None:
    def forward(x: Any) -> Any:
        return x.sign()

    class Step(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: (ctx.save_for_backward(x), x.sign())[1])
        backward = staticmethod(lambda ctx, g: g * (ctx.saved_tensors[0].abs() < 1))

    class Through(Step):
        backward = staticmethod(lambda ctx, g: g)

    def surrogate(x: Any) -> Any:
        return x.clamp(-1, 1) + (x.sign() - x.clamp(-1, 1)).detach()

    x = tensor(0.3, -1.7, -0.2, 2.5)
    assert check(Step.apply, x, surrogate_of=surrogate)
    assert check(Through.apply, x, surrogate_of=surrogate).outcome is Outcome.FAIL


COARSE = {
    "float64": lambda x: (x + 2.0**30) - 2.0**30,
    "stairs": lambda x: (x + 2.0**54) - 2.0**54,
    "wave": lambda x: _wave(x),
}


def _wave(x: Any) -> Any:
    import numpy as np

    return np.sin(x.dtype.type(5e5) * x)


@pytest.mark.parametrize("name", COARSE)
def test_what_rounding_hides_from_differences_does_not_fail(name: str) -> None:
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.from_numpy(COARSE[name](x.detach().numpy()))

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * (5e5 * (5e5 * x).cos() if name == "wave" else 1)

    assert check(Hidden.apply, tensor(0.7, -1.3)).outcome is not Outcome.FAIL


def test_a_constant_of_numpys_has_no_gradient() -> None:
    class Hidden(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: torch.from_numpy(0 * x.detach().numpy() + 2))
        backward = staticmethod(lambda ctx, g: g)

    assert check(Hidden.apply, tensor(0.7, -1.3)).outcome is Outcome.FAIL
