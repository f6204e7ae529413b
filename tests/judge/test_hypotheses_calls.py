"""Hypotheses that only a further call can tell: each is named where its mistake is made, and not where another one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradverify import Outcome, check
from tests.helpers import custom

torch = pytest.importorskip("torch")

X = torch.tensor([[0.5, -1.5, 0.3], [1.2, 0.7, -0.2]], dtype=torch.float64, requires_grad=True)


def named(fn: Callable[..., Any], *args: Any) -> tuple[str, str]:
    verdict = check(fn, *(args or (X,)))
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    return verdict.facts.get("hypothesis", {}).get("name", ""), verdict.message


def hooked(hook: Callable[[Any], Any]) -> Callable[..., Any]:
    def fn(x: Any) -> Any:
        y = x.sin()
        if y.requires_grad:
            y.register_hook(hook)
        return y * x

    return fn


class Hooked(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Tanh()
        self.inner.register_full_backward_hook(lambda m, gi, go: (gi[0] * 0.5,))

    def forward(self, x: Any) -> Any:
        return self.inner(x) * x


def saved_narrow(x: Any) -> Any:
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.half(), lambda t: t.double()):
        return x.sin() * x.exp()


def test_a_hook_on_a_tensor_is_named_with_its_line() -> None:
    name, message = named(hooked(lambda g: g.clamp(min=0.1)))
    assert name == "hook active"
    assert f"tests/judge/test_hypotheses_calls.py:{hooked.__code__.co_firstlineno + 4}" in message


@pytest.mark.parametrize(
    ("fn", "says"), [(Hooked(), "backward hook of a Tanh"), (saved_narrow, "hooks on saved tensors")]
)
def test_hooks_on_modules_and_on_saved_tensors(fn: Any, says: str) -> None:
    name, message = named(fn)
    assert name == "hook active"
    assert says in message


def test_a_hook_that_only_looks_on_is_not_named() -> None:
    wrong = custom(torch.sin, lambda g, x: 3 * g * x.cos())
    name, _ = named(lambda x: hooked(lambda g: None)(x) + wrong(x))
    assert name != "hook active"


def test_a_hook_beside_another_mistake_is_not_named() -> None:
    wrong = custom(torch.sin, lambda g, x: 3 * g * x.cos())
    name, _ = named(lambda x: hooked(lambda g: 2 * g)(x) + wrong(x))
    assert name != "hook active"


def test_hooks_are_back_after_the_experiment() -> None:
    before = torch.Tensor.register_hook, torch.nn.Module._get_backward_hooks
    named(hooked(lambda g: 2 * g))
    assert (torch.Tensor.register_hook, torch.nn.Module._get_backward_hooks) == before


def mean_that_keeps(which: str) -> Callable[..., Any]:
    """A mean whose backward pass divides by the length of the first call, or of the one before."""

    class Mean(torch.autograd.Function):
        rows: int | None = None

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.rows = Mean.rows or len(x)
            if Mean.rows is None or which == "the call before":
                Mean.rows = len(x)
            ctx.save_for_backward(x)
            return (x * x).mean(0)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 2 * x * g / ctx.rows

    return Mean.apply


@pytest.mark.parametrize("which", ["the first call", "the call before"])
def test_the_shape_of_an_earlier_call_is_named(which: str) -> None:
    name, message = named(mean_that_keeps(which))
    assert name == "stale shape", message
    assert ("wrong after one of other shapes" in message) == (which == "the call before")


def test_a_constant_factor_is_no_stale_shape() -> None:
    """Right for two rows, and not for three: by a factor that is none of the lengths."""
    wrong = custom(torch.sin, lambda g, x: (1.0 if len(x) == 2 else 1.7) * g * x.cos())
    assert named(wrong)[0] != "stale shape"


def test_a_missing_term_at_another_shape_is_no_stale_shape() -> None:
    wrong = custom(lambda x: x * x.sin(), lambda g, x: g * (x.sin() + (x * x.cos() if len(x) == 2 else 0)))
    assert named(wrong)[0] != "stale shape"
