"""Tensors whose class has a `__torch_dispatch__`: PyTorch makes no NumPy array of them, and its own checks judge them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils import _pytree as pytree  # noqa: E402

import gradverify  # noqa: E402
from gradverify.core.outcome import Outcome  # noqa: E402
from gradverify.torch import GradcheckError, gradcheck, gradgradcheck  # noqa: E402


class Wrapped(torch.Tensor):
    """A tensor around another one, of which every operation makes a Wrapped one."""

    @staticmethod
    def __new__(cls, inner: Any, requires_grad: bool = False) -> Any:
        made = torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, requires_grad=requires_grad)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inner = lambda t: t.inner if isinstance(t, Wrapped) else t
        out = func(*pytree.tree_map(inner, args), **pytree.tree_map(inner, kwargs or {}))
        return pytree.tree_map(lambda t: Wrapped(t) if isinstance(t, torch.Tensor) else t, out)


def values(*shape: int) -> Any:
    return torch.rand(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(3))


class Off(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 2.5


CONSTANT = Wrapped(values(3))


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("f", [lambda x: x * CONSTANT, lambda x: (x * x, x.sum() * CONSTANT), lambda x: torch.sin(x)])
@pytest.mark.parametrize("wrap", [lambda t: t, Wrapped])
def test_both_checkers_pass(check: Any, f: Any, wrap: Any) -> None:
    x = wrap(values(3)).requires_grad_()
    assert getattr(torch.autograd, check.__name__)(f, (x,))
    assert check(f, (x,), effort="quick")


def test_a_wrong_rule_beside_one_is_found() -> None:
    x = values(3).requires_grad_()
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: Off.apply(x) * CONSTANT, (x,), effort="quick")
    assert gradverify.check(lambda x: Off.apply(x) * CONSTANT, x, effort="quick").outcome is Outcome.FAIL


def test_a_function_that_goes_back_to_the_given_tensors() -> None:
    """Asked of others it has one differentiable output less."""
    x, v = values(2, 2).requires_grad_(), torch.ones(2, dtype=torch.double, requires_grad=True)
    f = lambda _, v: torch.autograd.functional.vjp(lambda x: x.sum(dim=1), x, v, create_graph=True)
    for ours, theirs in ((gradcheck, torch.autograd.gradcheck), (gradgradcheck, torch.autograd.gradgradcheck)):
        assert theirs(f, (x, v))
        assert ours(f, (x, v), effort="quick")
