"""The exceptions of gradverify.torch are those of torch.autograd.gradcheck: each case is asked of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gradverify.core.errors import Unsupported  # noqa: E402
from gradverify.torch import GradcheckError, gradcheck, gradgradcheck  # noqa: E402


def tensor(*shape: int) -> Any:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()


def answer(check: Callable[..., bool], f: Any, inputs: Any, **options: Any) -> Any:
    """What the check returns, or the type of what it raises."""
    try:
        return check(f, inputs, **options)
    except Exception as e:
        return type(e)


def custom(forward: Any, backward: Any, jvp: Any = None) -> Any:
    """A custom Function of one tensor."""
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    if jvp is not None:
        members["jvp"] = staticmethod(jvp)
    return type("Custom", (torch.autograd.Function,), members).apply


def kept(ctx: Any, x: Any) -> Any:
    ctx.save_for_backward(x)
    return x**2


def right(ctx: Any, g: Any) -> Any:
    return 2 * ctx.saved_tensors[0] * g


def raising(error: type[Exception]) -> Any:
    def fail(ctx: Any, g: Any) -> Any:
        raise error("on purpose")

    return fail


def jittered(scale: float) -> Any:
    return lambda ctx, g: right(ctx, g) * (1 + scale * torch.rand_like(g))


def sparse_gradient(ctx: Any, g: Any) -> Any:
    return (g + 1).to_sparse()


def view_with_a_copy_for_tangent(ctx: Any, t: Any) -> Any:
    return t.clone()


ONES = torch.ones(2).double().requires_grad_()
INTEGERS = lambda x: (x > 0.5).int()

CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "right": (custom(kept, right), tensor(3), {}),
    "wrong": (custom(kept, lambda ctx, g: 3 * g), tensor(3), {}),
    "no input requires grad": (torch.sin, torch.ones(3, dtype=torch.float64), {}),
    "a backward that raises ValueError": (custom(kept, raising(ValueError)), tensor(3), {}),
    "a backward that raises KeyError": (custom(kept, raising(KeyError)), tensor(3), {}),
    "a backward of another shape": (custom(kept, lambda ctx, g: g[:1]), tensor(3), {}),
    "a gradient that is sparse": (custom(lambda ctx, x: x + 0, sparse_gradient), tensor(3), {"check_batched_grad": False}),
    "stride 0": (torch.sin, torch.rand(1, dtype=torch.float64).expand(4).requires_grad_(), {}),
    "stride 0 where the size is 1": (torch.sin, torch.ones(1).double().as_strided((1,), (0,)).requires_grad_(), {}),
    "returns nothing": (lambda x: (), tensor(3), {}),
    "returns integers": (INTEGERS, tensor(3), {}),
    "returns integers, in forward mode": (INTEGERS, tensor(3), {"check_forward_ad": True}),
    "returns constants": (lambda x: torch.ones(2, dtype=torch.float64), tensor(3), {}),
    "returns what has left its sight": (
        lambda x: torch.tensor([2 * v for v in x.tolist()], dtype=torch.float64), tensor(3), {}),
    "returns what it detached": (lambda x: x.detach() * 2, tensor(3), {}),
    "not reentrant": (custom(kept, jittered(1e-6)), tensor(3), {}),
    "not reentrant, within nondet_tol": (custom(kept, jittered(1e-7)), tensor(3), {"nondet_tol": 1e-5}),
    "not reentrant, beyond nondet_tol": (custom(kept, jittered(1e-3)), tensor(3), {"nondet_tol": 1e-8}),
    "wrong by more than nondet_tol": (custom(kept, lambda ctx, g: 3 * g), tensor(3), {"nondet_tol": 1e-5}),
    "a shape that depends on the values": (lambda x: torch.cat([x, x]) if (x >= 1).all() else x, ONES, {}),
    "a dtype that depends on the values": (lambda x: x.float() if (x >= 1).all() else x, ONES, {}),
    "a function that raises": (lambda x: x.nonsense(), tensor(3), {}),
    "no mode at all": (torch.sin, tensor(3), {"check_backward_ad": False}),
    "a JVP rule that raises": (
        custom(kept, right, raising(OSError)), tensor(3), {"check_forward_ad": True}),
    "a view whose tangent is no view": (
        custom(lambda ctx, x: x.view_as(x), lambda ctx, g: g, view_with_a_copy_for_tangent), tensor(3),
        {"check_forward_ad": True}),
    "a right JVP rule without setup_context, in batches": (
        custom(lambda ctx, x: x * 2, lambda ctx, g: g * 2, lambda ctx, t: t * 2), tensor(3),
        {"check_forward_ad": True, "check_batched_forward_grad": True}),
    "an mkldnn output": (lambda x: x.float().to_mkldnn(), tensor(3), {}),
    "sparse, all entries": (lambda s: torch.sparse.mm(s, torch.eye(2).double()),
        torch.eye(2).double().to_sparse().requires_grad_(), {"check_undefined_grad": False}),
    "sparse, masked backward": (lambda s: s.to_dense() * 2,
        torch.eye(2).double().to_sparse().requires_grad_(), {"check_undefined_grad": False}),
    "sparse, backward of all entries": (lambda s: s.to_dense(masked_grad=False) * 2,
        torch.eye(2).double().to_sparse().requires_grad_(), {"check_undefined_grad": False}),
    "mkldnn": (lambda x: x.to_dense() * 2, torch.rand(3).to_mkldnn().requires_grad_(), {"atol": 1e-1, "rtol": 1e-1}),
    "sparse, in compressed columns": (lambda s: s.to_dense() * 2,
        torch.eye(3).double()[:, :2].to_sparse_csc().requires_grad_(), {"check_undefined_grad": False}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_both_answer_the_same(name: str) -> None:
    f, inputs, options = CASES[name]
    theirs = answer(torch.autograd.gradcheck, f, inputs, **options)
    ours = answer(gradcheck, f, inputs, **options, effort="quick")
    assert ours == theirs or (theirs is GradcheckError and issubclass(ours, GradcheckError))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["right", "wrong", "not reentrant", "a backward that raises ValueError", "stride 0"])
def test_both_answer_the_same_without_exceptions(name: str) -> None:
    f, inputs, options = CASES[name]
    theirs = answer(torch.autograd.gradcheck, f, inputs, **options, raise_exception=False)
    assert answer(gradcheck, f, inputs, **options, effort="quick", raise_exception=False) == theirs


def test_what_is_unsupported_is_false_without_exceptions() -> None:
    batch = torch.eye(4).double().expand(2, 4, 4).to_sparse_csr().requires_grad_()
    dense = lambda s: s.to_dense()
    with pytest.raises(Unsupported):
        gradcheck(dense, (batch,))
    assert gradcheck(dense, (batch,), raise_exception=False) is False
    coo = torch.eye(2).double().to_sparse().requires_grad_()
    assert gradgradcheck(dense, (coo,), raise_exception=False) is False


def test_the_gradient_at_entries_that_are_not_stored_is_judged() -> None:
    """A backward that is right where something is stored, and 0 elsewhere."""

    class Masked(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, s: Any) -> Any:
            ctx.save_for_backward(s)
            return s.to_dense() * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (s,) = ctx.saved_tensors
            stored = s.to_dense() != 0
            return (2 * g * stored).to_sparse()

    s = torch.eye(2).double().to_sparse().requires_grad_()
    for check, options in ((torch.autograd.gradcheck, {}), (gradcheck, {"effort": "quick"})):
        assert check(Masked.apply, (s,), masked=True, check_undefined_grad=False, **options)
        with pytest.raises(GradcheckError):
            check(Masked.apply, (s,), check_undefined_grad=False, **options)
