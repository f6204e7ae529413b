"""Forward mode through views, `out=`, hooks on one saved tensor, callbacks, old names: the engine beside PyTorch.

Each test runs under both modules; PyTorch is right.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import gradverify.engine

torch_real = pytest.importorskip("torch")

BOTH = pytest.mark.parametrize("torch", [gradverify.engine, torch_real], ids=["engine", "torch"])


# ---- forward mode -------------------------------------------------------------------------------------------------------


def tangent(torch: Any, x: Any) -> Any:
    d = torch.autograd.forward_ad.unpack_dual(x).tangent
    return None if d is None else d.tolist()


@BOTH
def test_a_write_to_a_dual_leaves_the_tangents_of_its_primal_alone(torch: Any) -> None:
    fw, x, d = torch.autograd.forward_ad, torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0])
    with fw.dual_level():
        dual = fw.make_dual(x, d)
        view = dual[:1]
        view *= 2
        assert (tangent(torch, x), tangent(torch, dual), tangent(torch, view)) == (None, [2.0, 10.0], [2.0])
        dual *= 3
        assert (tangent(torch, x), d.tolist(), x.tolist()) == (None, [6.0, 30.0], [6.0, 6.0])
        again = dual.view(2, 1)[1:]
        again.zero_()
        assert (tangent(torch, dual), tangent(torch, again)) == ([6.0, 0.0], [[0.0]])


@BOTH
def test_a_write_to_a_view_of_what_has_a_tangent(torch: Any) -> None:
    """The view is one of the tensor itself: its value, its tangent and its history follow."""
    fw, leaf = torch.autograd.forward_ad, torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with fw.dual_level():
        y = fw.make_dual(leaf * 1, torch.tensor([1.0, 10.0, 100.0])) * 1
        part = y[:2]
        part.mul_(3.0)
        part[0] = 5.0
        assert (y.tolist(), tangent(torch, y), tangent(torch, part)) == (
            [5.0, 6.0, 3.0],
            [0.0, 30.0, 100.0],
            [0.0, 30.0],
        )
        y.sum().backward()
        assert leaf.grad.tolist() == [0.0, 3.0, 1.0]


@BOTH
def test_a_write_to_a_view_of_what_got_a_tangent_by_a_write(torch: Any) -> None:
    fw, x = torch.autograd.forward_ad, torch.ones(3)
    with fw.dual_level():
        x += fw.make_dual(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]))
        column = x.view(3, 1)
        column *= 2
        assert tangent(torch, x) == [2.0, 4.0, 6.0]
        x[1:].neg_()
        assert tangent(torch, x) == [2.0, -4.0, -6.0]


@BOTH
def test_the_level_that_is_open(torch: Any) -> None:
    fw = torch.autograd.forward_ad
    assert fw._current_level == -1
    with fw.dual_level():
        assert fw._current_level == 0
    assert fw._current_level == -1


# ---- out= ---------------------------------------------------------------------------------------------------------------


@BOTH
def test_out_is_written_to_and_returned(torch: Any) -> None:
    x, out = torch.tensor([1.0, 4.0]), torch.zeros(2)
    version = out._version
    assert torch.sqrt(x, out=out) is out
    assert out.tolist() == [1.0, 2.0]
    assert out._version > version
    empty = torch.empty(0, dtype=torch.float64)
    torch.sum(torch.ones(2, 3), 1, out=empty)
    assert (empty.tolist(), empty.dtype) == ([3.0, 3.0], torch.float64)
    with torch.no_grad():
        torch.mul(x.requires_grad_(), 3.0, out=out)
    assert (out.tolist(), out.requires_grad) == ([3.0, 12.0], False)
    assert torch.matmul(torch.eye(2), torch.eye(2), out=torch.zeros(2, 2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@BOTH
def test_what_out_is_refused_for(torch: Any) -> None:
    x, leaf, fw = torch.ones(2), torch.ones(2, requires_grad=True), torch.autograd.forward_ad
    for a, out in (leaf, torch.zeros(2)), (x, torch.zeros(2, requires_grad=True)):
        with pytest.raises(RuntimeError, match=r"^mul\(\): functions with out=\.\.\. arguments don't support"):
            torch.mul(a, a, out=out)
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        torch.add(x, x, out=torch.zeros(2, dtype=torch.int64))
    with fw.dual_level(), pytest.raises(NotImplementedError, match="it is an out= function"):
        torch.add(fw.make_dual(x, x), x, out=torch.zeros(2))
    three = torch.zeros(3)
    with pytest.warns(UserWarning, match="was resized since it had shape"):
        torch.exp(x, out=three)
    assert tuple(three.shape) == (2,)


# ---- what is saved ------------------------------------------------------------------------------------------------------


@BOTH
def test_hooks_on_one_saved_tensor(torch: Any) -> None:
    a = torch.tensor([2.0, 3.0], requires_grad=True)
    y = a * a
    y.grad_fn._raw_saved_self.register_hooks(lambda x: x * 10, lambda x: x)
    assert y.grad_fn._saved_self.tolist() == [20.0, 30.0]
    y.sum().backward()
    assert a.grad.tolist() == [22.0, 33.0]

    z = torch.tensor([1.0], requires_grad=True).exp()
    z.grad_fn._raw_saved_result.register_hooks(lambda x: x, lambda x: x)
    assert z.grad_fn._saved_result.grad_fn is z.grad_fn
    z.mul_(3.0).sum().backward()  # what the hook gives counts as it is


@BOTH
def test_what_hooks_on_a_saved_tensor_may_not_do(torch: Any) -> None:
    node = (torch.ones(2, requires_grad=True) ** 2).grad_fn
    place = node._raw_saved_self
    for hooks in ((lambda x: x,), (1, 1)):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            place.register_hooks(*hooks)
    with pytest.raises(RuntimeError, match="modifying its input in place"):
        place.register_hooks(lambda x: x.add_(1.0), lambda x: x)
    with pytest.raises(RuntimeError, match="SavedTensor object from Python is forbidden"):
        torch.autograd.SavedTensor()
    kept = torch.ones(2, requires_grad=True) ** 2  # PyTorch's place is one in its node's memory
    other = kept.grad_fn._raw_saved_self
    other.register_hooks(lambda x: x, lambda x: x)
    with pytest.raises(RuntimeError, match="already been set"):
        other.register_hooks(lambda x: x, lambda x: x)


@BOTH
def test_hooks_on_what_a_function_saved(torch: Any) -> None:
    class Cube(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x, None)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 3 * ctx.saved_tensors[0] ** 2 * g

    x = torch.tensor([2.0], requires_grad=True)
    y = Cube.apply(x)
    saved, nothing = y.grad_fn._raw_saved_tensors
    with pytest.raises(RuntimeError, match="None is forbidden"):
        nothing.register_hooks(lambda x: x, lambda x: x)
    saved.register_hooks(lambda x: 2 * x, lambda x: x)
    y.sum().backward()
    assert x.grad.tolist() == [48.0]
    with pytest.raises(RuntimeError, match="already been freed"):
        _ = y.grad_fn._raw_saved_tensors


@BOTH
@pytest.mark.parametrize("before", [True, False])
def test_what_hooks_give_counts_whatever_was_written_to_it(torch: Any, before: bool) -> None:
    a = torch.tensor([2.0, 3.0], requires_grad=True)
    y = a * 1
    if before:
        y.add_(1)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        z = y * y
    if not before:
        y.add_(1)
    z.sum().backward()
    assert a.grad.tolist() == [6.0, 8.0]


# ---- the walk -----------------------------------------------------------------------------------------------------------


@BOTH
def test_callbacks_at_the_end_of_a_backward_pass(torch: Any) -> None:
    queue, seen = torch.autograd.Variable._execution_engine.queue_callback, list[str]()
    x = torch.ones(2, requires_grad=True)

    def last() -> None:
        seen.append("last")

    def first() -> None:
        seen.append("first " + str(x.grad is not None))
        queue(last)

    def inner(g: Any) -> None:
        seen.append("hook")
        queue(first)
        with torch.enable_grad():
            leaf = torch.ones(1, requires_grad=True)
            y = leaf * 2
            y.register_hook(lambda _: queue(lambda: seen.append("inner")))
            y.sum().backward()

    y = x * 3
    y.register_hook(inner)
    y.sum().backward()
    assert seen == ["hook", "inner", "first True", "last"]
    with pytest.raises(RuntimeError, match="only be installed during backward pass"):
        queue(last)
    (x * 3).sum().backward()
    assert len(seen) == 4


@BOTH
def test_batched_gradients_that_do_not_fit(torch: Any) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    for y, g in (x.clone(), torch.ones(2, 2)), (x.sum(), torch.ones(2, 1)):
        with pytest.raises(RuntimeError, match="If `is_grads_batched=True`, we interpret the first"):
            torch.autograd.grad(y, x, (g,), is_grads_batched=True)


# ---- old names ----------------------------------------------------------------------------------------------------------


@BOTH
def test_a_class_is_not_to_be_decorated(torch: Any) -> None:
    with pytest.warns(FutureWarning, match="Decorating classes is deprecated"):

        @torch.no_grad()
        class Made:
            def __init__(self) -> None:
                self.recording = torch.is_grad_enabled()

    assert not Made().recording  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.no_grad()(lambda: None)
    assert torch.autograd.grad_mode.no_grad is torch.no_grad


@BOTH
def test_old_names_of_tensors(torch: Any) -> None:
    x = torch.ones(2)
    assert tuple(x.new(3).shape) == (3,)
    assert tuple(x.new(2, 3).shape) == tuple(x.new(torch.Size([2, 3])).shape) == (2, 3)
    assert x.new([1, 2]).tolist() == [1.0, 2.0]
    assert torch.ones(1, dtype=torch.int64).new(1).dtype is torch.int64
    assert torch.DoubleTensor.dtype is torch.float64
    assert isinstance(x.type(torch.DoubleTensor), torch.DoubleTensor)
    assert x.to_dense() is x
    assert set(torch.full((50,), 0.5).bernoulli().tolist()) == {0.0, 1.0}
    with pytest.raises(RuntimeError, match="Deleting tensor data is not allowed"):
        del x.data
    with pytest.raises(RuntimeError, match="must be a bool"):
        del x.requires_grad
    with pytest.raises(TypeError, match="has to be a tensor, but got NoneType"):
        x.data = None


@BOTH
@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_in_place(torch: Any, name: str) -> None:
    leaf = torch.tensor([1.0, 2.0, float("inf")], requires_grad=True)
    x, other = leaf * 1, torch.tensor([1.0, 3.0, 0.0])
    wanted = [float(b) for b in getattr(x, name)(other).tolist()]
    assert getattr(x, f"{name}_")(other) is x
    assert x.tolist() == wanted
    x.sum().backward()
    assert leaf.grad.tolist() == [0.0, 0.0, 0.0]


@BOTH
def test_parts_that_may_be_written_to(torch: Any) -> None:
    for split in (
        lambda x: x.unsafe_split(1),
        lambda x: x.unsafe_chunk(2),
        lambda x: x.unsafe_split_with_sizes((1, 1)),
    ):
        leaf = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        first, second = split(leaf * 1)
        first.mul_(second)
        first.sum().backward()
        assert leaf.grad.tolist() == [[3.0, 4.0], [1.0, 2.0]]


class WrongConjugate:
    """A holomorphic function whose backward forgets to conjugate: right for real numbers, wrong for others."""

    @staticmethod
    def of(torch: Any) -> Any:
        class Square(torch.autograd.Function):  # type: ignore[misc, name-defined]
            @staticmethod
            def forward(ctx: Any, z: Any) -> Any:
                ctx.save_for_backward(z)
                return z * z

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return 2 * ctx.saved_tensors[0] * g

        return Square.apply


@BOTH
def test_gradcheck_of_complex_numbers(torch: Any) -> None:
    z = torch.tensor([0.3 + 0.7j, -1.2 + 0.4j], dtype=torch.complex128, requires_grad=True)
    x = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda z: torch.pow(torch.tensor([-1.0, -2.5], dtype=torch.float64), z), (z,))
    assert check(lambda z: z * z.conj(), (z,))
    assert check(lambda z: z.abs(), (z,))
    assert check(lambda x: torch.complex(x, x * x), (x,))
    assert check(lambda x, z: x * z, (x, z))
    wrong = WrongConjugate.of(torch)
    assert check(wrong, (x,))
    assert not check(wrong, (z,), raise_exception=False)


@BOTH
def test_medians_of_what_is_a_number(torch: Any) -> None:
    nan = float("nan")
    x = torch.tensor([[3.0, nan, 1.0, 2.0], [nan, nan, nan, nan], [4.0, 7.0, 5.0, 6.0]], requires_grad=True)
    values, at = torch.nanmedian(x, 1)
    assert (values[0].item(), values[2].item(), at[0].item(), at[2].item()) == (2.0, 5.0, 3, 2)
    assert values[1] != values[1]
    assert torch.nanmedian(x).item() == 4.0
    torch.nanmedian(x, 0, keepdim=True).values.sum().backward()
    assert x.grad[2].tolist() == [0.0, 1.0, 0.0, 0.0]
    for f in (torch.median, torch.nanmedian):
        for entries in ([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [nan] * 3):
            y = torch.tensor(entries, requires_grad=True)
            f(y).backward()
            assert abs(y.grad.sum().item() - 1) < 1e-6
            assert (y.grad == 1 / 3).sum().item() == 3


@BOTH
def test_truth_values_have_no_gradient(torch: Any) -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    for y in torch.signbit(x), torch.isin(x, torch.tensor([2.0])):
        assert (y.dtype, y.requires_grad) == (torch.bool, False)
    assert torch.signbit(x).tolist() == [True, False]
    assert torch.isin(x, torch.tensor([2.0, 3.0])).tolist() == [False, True]


@BOTH
def test_hooks_that_are_opened_in_a_backward_pass_end_with_it(torch: Any) -> None:
    seen = []
    inner = torch.autograd.graph.saved_tensors_hooks(lambda x: seen.append("inner") or x, lambda x: x)
    outer = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: inner.__enter__() or x)
    x = torch.ones(2, requires_grad=True)
    with outer:
        y = x.sin().sum()
    y.backward()
    (x * x).sum().backward()
    assert not seen


@BOTH
def test_running_statistics_have_no_tangent(torch: Any) -> None:
    fw, x, ones = torch.autograd.forward_ad, torch.rand(3, 2), torch.ones(2)
    with fw.dual_level():
        dual, statistic = fw.make_dual(x, x), fw.make_dual(ones, ones)
        torch.nn.functional.batch_norm(dual, ones, ones)
        for given in (statistic, ones), (ones, statistic):
            with pytest.raises(RuntimeError, match="not differentiable wrt running_mean and running_var"):
                torch.nn.functional.batch_norm(dual, *given)
