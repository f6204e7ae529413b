"""At effort quick the drop-ins keep the memory layout of their inputs, as the originals do."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import FailKind, Outcome, check
from tests.helpers import custom

torch = pytest.importorskip("torch")

from gradverify.torch import GradcheckError, gradcheck, gradgradcheck  # noqa: E402


def read_in_memory(x: Any) -> Any:
    """The entries of x as a kernel reads them that takes its memory for contiguous."""
    return torch.as_strided(x, x.shape, x.new_empty(x.shape).stride(), x.storage_offset())


def misreads_input() -> Any:
    """x² whose rule is right for contiguous x alone."""
    return custom(lambda x: x.detach() ** 2, lambda g, x: 2 * g * read_in_memory(x.detach()))


def misreads_cotangent() -> Any:
    """x² whose rule is right for contiguous cotangents alone."""
    return custom(lambda x: x.detach() ** 2, lambda g, x: 2 * read_in_memory(g.detach()) * x.detach())


def by_rows() -> Any:
    return torch.linspace(0.5, 2, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()


def by_columns() -> Any:
    return by_rows().detach().mT.contiguous().mT.requires_grad_()


def test_another_layout_is_asked_from_effort_normal_on() -> None:
    assert gradcheck(misreads_input(), by_rows(), effort="quick")
    with pytest.raises(GradcheckError, match="input_layout"):
        gradcheck(misreads_input(), by_rows(), effort="normal")


def test_the_given_layout_is_asked_at_any_effort() -> None:
    with pytest.raises(GradcheckError):
        gradcheck(misreads_input(), by_columns(), effort="quick")
    assert torch.autograd.gradcheck(misreads_input(), by_rows())
    assert not torch.autograd.gradcheck(misreads_input(), by_columns(), raise_exception=False)


def test_strided_and_offset_views_are_layouts_that_are_given() -> None:
    base = torch.linspace(0.5, 2, 12, dtype=torch.float64)
    for view in (base[::2], base.reshape(3, 4)[:, 1:3], base.reshape(2, 3, 2).transpose(0, 2)):
        assert not gradcheck(misreads_input(), view.requires_grad_(), effort="quick", raise_exception=False)


def test_cotangents_are_laid_out_otherwise_at_any_effort() -> None:
    with pytest.raises(GradcheckError, match="layout"):
        gradcheck(misreads_cotangent(), by_rows(), effort="quick")


class Doubly(torch.autograd.Function):
    """x² whose second rule takes `misread`, "x" or "cotangent", for contiguous."""

    @staticmethod
    def forward(ctx: Any, x: Any, misread: str) -> Any:
        ctx.save_for_backward(x)
        ctx.misread = misread
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return SecondOfDoubly.apply(ctx.saved_tensors[0], g, ctx.misread), None


class SecondOfDoubly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, g: Any, misread: str) -> Any:
        ctx.save_for_backward(x, g)
        ctx.misread = misread
        return 2 * x * g

    @staticmethod
    def backward(ctx: Any, h: Any) -> Any:
        x, g = ctx.saved_tensors
        read = lambda name, a: read_in_memory(a) if ctx.misread == name else a
        return 2 * h * read("cotangent", g), 2 * h * read("x", x), None


def test_second_order_keeps_inputs_and_lays_out_cotangents() -> None:
    x = by_rows()
    assert gradgradcheck(lambda x: Doubly.apply(x, ""), x, effort="quick")
    assert gradgradcheck(lambda x: Doubly.apply(x, "x"), x, effort="quick")
    assert not gradgradcheck(lambda x: Doubly.apply(x, "x"), x, effort="normal", raise_exception=False)
    assert not gradgradcheck(lambda x: Doubly.apply(x, "x"), by_columns(), effort="quick", raise_exception=False)
    assert not gradgradcheck(lambda x: Doubly.apply(x, "cotangent"), x, effort="quick", raise_exception=False)


def test_several_and_complex_inputs_are_all_kept() -> None:
    rule = misreads_input()
    both = lambda x, z: (rule(x) * z).abs().sum() + (z * z.conj()).real.sum()
    z = torch.complex(by_rows().detach(), by_rows().detach() + 1).requires_grad_()
    assert gradcheck(both, (by_rows(), z), effort="quick")
    assert not gradcheck(both, (by_columns(), z), effort="quick", raise_exception=False)


def test_check_asks_all_layouts_at_any_effort() -> None:
    verdict = check(misreads_input(), by_rows(), effort="quick", order=1)
    assert (verdict.outcome, verdict.kind) == (Outcome.FAIL, FailKind.LAW)


def test_hips_arrays_keep_their_layout() -> None:
    np = pytest.importorskip("autograd.numpy")
    extend = pytest.importorskip("autograd.extend")
    from gradverify.autograd import check_grads

    @extend.primitive  # type: ignore[untyped-decorator]
    def square(x: Any) -> Any:
        return x * x

    def rule(ans: Any, x: Any) -> Any:
        # A buffer of the array, read as if it were stored by rows.
        return lambda g: 2 * g * np.reshape(np.ravel(x, order="K"), x.shape)

    extend.defvjp(square, rule)
    by_rows = np.linspace(0.5, 2.0, 6).reshape(2, 3)
    check_grads(square, modes=["rev"], order=1, effort="quick")(by_rows)
    with pytest.raises(AssertionError, match="input_layout"):
        check_grads(square, modes=["rev"], order=1, effort="normal")(by_rows)
    with pytest.raises(AssertionError):
        check_grads(square, modes=["rev"], order=1, effort="quick")(np.asfortranarray(by_rows))
