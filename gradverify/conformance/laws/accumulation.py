"""Gradients add up: over paths, over slots, over calls."""

from __future__ import annotations

from ..register import law
from ..session import Session

NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html"
BACKWARD = "https://docs.pytorch.org/docs/stable/generated/torch.Tensor.backward.html"


@law(source="Griewank & Walther, Evaluating Derivatives, 2nd ed., ch. 3.2: increments of the adjoint")
def adds_across_paths(t: Session) -> None:
    """A value that reaches the result over two paths gets the sum of both gradients. Residual connections live on it."""
    (g,) = t.gradient(lambda x: x * 5.0 + x * 2.0, 3.0)
    t.equal(g, 7.0)


@law(source="https://github.com/tinygrad/tinygrad/issues/9597")
def same_tensor_in_both_slots(t: Session) -> None:
    """x * x has the gradient 2x: an engine that keeps gradients per tensor and not per slot loses one of the two."""
    (g,) = t.gradient(lambda x: x * x, 3.0)
    t.equal(g, 6.0)


@law(source="Griewank & Walther, Evaluating Derivatives, 2nd ed., ch. 3.2")
def shared_node_runs_when_complete(t: Session) -> None:
    """An intermediate value passes its gradient on only when all of its uses have sent theirs, whatever the depths."""

    def f(x: object) -> object:
        h = x * x  # type: ignore[operator]
        return (h * h) * h + h

    (g,) = t.gradient(f, 2.0)  # type: ignore[arg-type]
    t.equal(g, 196.0)  # d(x^6 + x^2) = 6 x^5 + 2 x


@law(source="https://jax.readthedocs.io/en/latest/notebooks/autodiff_cookbook.html")
def each_argument_has_its_own(t: Session) -> None:
    """The gradients come in the order of the arguments."""
    gx, gy = t.gradient(lambda x, y: x * y + y, 3.0, 5.0)
    t.equal(gx, 5.0)
    t.equal(gy, 4.0)


@law(needs={"arrays"}, source="https://numpy.org/doc/stable/user/basics.broadcasting.html")
def broadcast_sums(t: Session) -> None:
    """A scalar that was broadcast over an array gets the sum over all places where it was used, in its own shape."""
    gx, gy = t.gradient(lambda x, y: (x * y).sum(), 3.0, [1.0, 2.0])
    t.equal(gx, 3.0)
    t.equal(gy, [3.0, 3.0])


@law(needs={"tape"}, source=BACKWARD)
def adds_across_calls(t: Session) -> None:
    """A second backward adds to .grad; that is what accumulation over micro-batches is made of."""
    x = t.tensor(3.0, requires_grad=True)
    (x * x).backward()
    (x * 2.0).backward()
    t.equal(x.grad, 8.0)


@law(needs={"tape"}, source=BACKWARD)
def adds_across_calls_through_shared_nodes(t: Session) -> None:
    """Two roots over one subgraph, one backward each: what the first left in the middle must not count again."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    (h * 2.0).backward(retain_graph=True)
    (h * 5.0).backward()
    t.equal(x.grad, 42.0)


@law(needs={"tape", "arrays"}, source=BACKWARD)
def adds_in_the_same_buffer(t: Session) -> None:
    """The second gradient is added into the array of the first: whoever holds x.grad (an optimizer, a bucket of a
    distributed run) sees it."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    (x * x).sum().backward()
    g = x.grad
    (x * x).sum().backward()
    t.equal(g, [12.0, 4.0])


@law(needs={"tape", "inplace"}, source="https://github.com/pytorch/pytorch/issues/34082")
def leaves_do_not_share_buffers(t: Session) -> None:
    """x + y sends one array to both leaves; each .grad must own its memory, or clipping one changes the other."""
    x, y = t.tensor([1.0, 2.0], requires_grad=True), t.tensor([1.0, 2.0], requires_grad=True)
    (x + y).sum().backward()
    x.grad.mul_(7.0)
    t.equal(y.grad, [1.0, 1.0])


@law(needs={"tape", "cotangent", "inplace"}, source="https://github.com/JuliaDiff/ChainRules.jl/issues/512")
def gradient_argument_is_not_taken(t: Session) -> None:
    """The caller's gradient array stays the caller's: it neither becomes x.grad nor changes."""
    x, g = t.tensor([1.0, 2.0], requires_grad=True), t.tensor([3.0, 4.0])
    (x + 0.0).backward(g)
    (x + 0.0).backward(g)
    t.equal(g, [3.0, 4.0])


@law(needs={"tape", "cotangent", "flags"}, source="https://github.com/JuliaDiff/ChainRules.jl/issues/512")
def scalar_gradient_argument_is_not_taken(t: Session) -> None:
    """The same for a scalar, where a sum has nothing to sum and may pass the caller's array through."""
    x, g = t.tensor(3.0, requires_grad=True), t.tensor(5.0)
    x.sum().backward(g)
    x.sum().backward()
    t.equal(g, 5.0)


@law(needs={"tape"}, source=BACKWARD)
def untouched_leaf_has_none(t: Session) -> None:
    """A leaf that the root does not depend on gets no gradient. None and zero differ: optimizers skip None."""
    x, y = t.tensor(3.0, requires_grad=True), t.tensor(2.0, requires_grad=True)
    (x * 2.0).backward()
    empty = t.engine.read(y.grad._value)
    if empty != 0:  # an engine of numbers starts from 0
        t.equal(y.grad, None)


@law(
    needs={"tape", "flags"},
    source="https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html",
)
def setting_none_starts_anew(t: Session) -> None:
    """After x.grad = None the next backward starts from nothing."""
    x = t.tensor(3.0, requires_grad=True)
    (x * x).backward()
    x.grad = None
    (x * 2.0).backward()
    t.equal(x.grad, 2.0)


@law(
    needs={"tape", "inplace"},
    source="https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html",
)
def zeroing_starts_anew(t: Session) -> None:
    """After x.grad.zero_() the next backward adds to zeros."""
    x = t.tensor(3.0, requires_grad=True)
    (x * x).backward()
    x.grad.zero_()
    (x * 2.0).backward()
    t.equal(x.grad, 2.0)


@law(needs={"tape", "flags"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.grad.html")
def assigned_grad_is_added_to(t: Session) -> None:
    """A gradient that the user put into x.grad is what backward adds to."""
    x = t.tensor(3.0, requires_grad=True)
    x.grad = t.tensor(100.0)
    (x * 2.0).backward()
    t.equal(x.grad, 102.0)
