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


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: torch.kthvalue(x, 2).values,
        lambda x: torch.mode(x).values,
        lambda x: torch.cummax(x, 0).values,
        lambda x: torch.median(x, 0).values,
    ],
)
def test_which_of_equal_entries_is_taken_is_pytorchs_choice(fn) -> None:
    assert judge(fn, torch.tensor([3.0, 3.0, 3.0, 1.0], dtype=F64))


@pytest.mark.parametrize("reduce", ["prod", "amax", "amin"])
@pytest.mark.parametrize("own", [True, False])
def test_scatter_reduce_is_traced(reduce: str, own: bool) -> None:
    k = torch.tensor([0, 0, 2, 2, 0])
    verdict = judge(lambda x, y: x.scatter_reduce(0, k, y, reduce, include_self=own), randn(4), randn(5, 1)[:, 0])
    assert verdict
    assert not any("cannot be traced" in n for n in verdict.notes)


def test_pow_in_place() -> None:
    assert judge(lambda x: (x * 1).pow_(3), randn(4))


def test_the_padding_row_of_an_embedding_passes_no_gradient() -> None:
    k = torch.tensor([0, 2, 2])
    assert judge(lambda w: torch.nn.functional.embedding(k, w, padding_idx=2), randn(4, 3))
