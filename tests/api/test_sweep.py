"""The sweep over PyTorch, by its quickest and most common functions; and what it found in gradverify."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import gradverify
from gradverify import Reason, Status, check

F64 = torch.float64


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=F64)


def judge(fn, *args, **options) -> gradverify.Verdict:
    return check(fn, *args, **{"effort": "quick", **options})


def test_a_gradient_without_memory_is_zero() -> None:
    """PyTorch's gradient of sgn is a ZeroTensor, which has no storage to read."""
    assert judge(torch.sgn, randn(4))


def test_arguments_that_autograd_refuses_are_held() -> None:
    """Class weights may not require grad: the loss is judged with respect to its other arguments."""
    loss = lambda x, w: torch.nn.functional.nll_loss(x, torch.tensor([0, 2, 1]), weight=w)
    verdict = judge(loss, randn(3, 4), randn(4).abs())
    assert verdict
    assert {c.of for c in verdict.comparisons} == {"out", "dx"}


def test_asking_for_what_autograd_refuses_is_still_answered_with_its_message() -> None:
    loss = lambda x, w: torch.nn.functional.nll_loss(x, torch.tensor([0, 2, 1]), weight=w)
    verdict = judge(loss, randn(3, 4), randn(4).abs(), wrt="w")
    assert verdict.status is Status.FAIL
    assert "not differentiable with respect to argument" in verdict.message


@pytest.mark.parametrize("fn", [lambda x: torch.heaviside(x, x), lambda x: torch.linalg.qr(x, mode="complete")])
def test_a_derivative_that_pytorch_says_it_lacks_is_no_wrong_one(fn) -> None:
    verdict = judge(fn, randn(4, 3))
    assert verdict.reason is Reason.UNSUPPORTED


def test_a_function_that_refuses_strided_inputs_is_in_its_right() -> None:
    assert judge(lambda x: x.view(-1), randn(2, 3))
