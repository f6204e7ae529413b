"""autograd.grad and backward(inputs=…): gradients for those that were asked for, and for nobody else."""

from __future__ import annotations

from ..register import law
from ..session import Session

GRAD = "https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html"
BACKWARD = "https://docs.pytorch.org/docs/stable/generated/torch.autograd.backward.html"


@law(needs={"grad"}, source=GRAD)
def grad_leaves_grad_alone(t: Session) -> None:
    """autograd.grad returns the gradient and touches no .grad: that is what it is for."""
    x = t.tensor(3.0, requires_grad=True)
    (g,) = t.grad(x * x, [x])
    t.equal(g, 6.0)
    t.equal(x.grad, None)


@law(needs={"grad"}, source=GRAD)
def grad_keeps_the_order(t: Session) -> None:
    """Gradients come in the order of `inputs`, and as often as an input is named."""
    x, y = t.tensor(3.0, requires_grad=True), t.tensor(5.0, requires_grad=True)
    a, b, c = t.grad(x * y, [y, x, y])
    t.equal(a, 3.0)
    t.equal(b, 5.0)
    t.equal(c, 3.0)


@law(needs={"grad"}, source=GRAD)
def grad_of_an_intermediate(t: Session) -> None:
    """An input may be a tensor in the middle, and one that another input depends on."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    a, b = t.grad(h * h, [h, x])
    t.equal(a, 18.0)
    t.equal(b, 108.0)


@law(needs={"grad"}, source=GRAD)
def unused_input_raises(t: Session) -> None:
    """An input that the output does not depend on is an error, unless allow_unused: then its gradient is None."""
    x, y = t.tensor(3.0, requires_grad=True), t.tensor(5.0, requires_grad=True)
    z = x * 2.0
    (g,) = t.grad(z, [y], allow_unused=True)
    t.equal(g, None)
    t.raises(lambda: t.grad(x * 2.0, [y]))


@law(needs={"grad"}, source=GRAD)
def materialized_grads_are_zero(t: Session) -> None:
    """materialize_grads gives zeros for inputs that are not used."""
    x, y = t.tensor(3.0, requires_grad=True), t.tensor([5.0, 1.0], requires_grad=True)
    (g,) = t.grad(x * 2.0, [y], materialize_grads=True)
    t.equal(g, [0.0, 0.0])


@law(needs={"grad"}, source=GRAD)
def grad_wants_inputs_that_require_grad(t: Session) -> None:
    """An input that requires no grad is an error."""
    x, c = t.tensor(3.0, requires_grad=True), t.tensor(5.0)
    t.raises(lambda: t.grad(x * c, [c]))


@law(needs={"grad"}, source=GRAD)
def several_outputs_add(t: Session) -> None:
    """For several outputs the gradients are summed, each weighted by its grad_output."""
    x = t.tensor(3.0, requires_grad=True)
    (g,) = t.grad([x * x, x * 5.0], [x], [t.tensor(1.0), t.tensor(10.0)])
    t.equal(g, 56.0)


@law(needs={"inputs"}, source=BACKWARD)
def inputs_fill_only_these(t: Session) -> None:
    """backward(inputs=[x]) fills x.grad and no other."""
    x, y = t.tensor(3.0, requires_grad=True), t.tensor(5.0, requires_grad=True)
    (x * y).backward(inputs=[x])
    t.equal(x.grad, 5.0)
    t.equal(y.grad, None)


@law(needs={"inputs"}, source=BACKWARD)
def inputs_add_too(t: Session) -> None:
    """backward(inputs=…) adds to .grad, as backward does."""
    x = t.tensor(3.0, requires_grad=True)
    (x * x).backward(inputs=[x])
    (x * x).backward(inputs=[x])
    t.equal(x.grad, 12.0)


@law(needs={"inputs"}, source=BACKWARD)
def inputs_may_lie_in_the_middle(t: Session) -> None:
    """An input in the middle of the graph gets its gradient in .grad; the leaf before it gets none."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    (h * h).backward(inputs=[h])
    t.equal(h.grad, 18.0)
    t.equal(x.grad, None)


@law(needs={"inputs"}, source=BACKWARD)
def inputs_must_not_be_empty(t: Session) -> None:
    """An empty list is an error: "no inputs" must not turn into "all inputs"."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    t.raises(lambda: y.backward(inputs=[]))


@law(needs={"grad"}, source=GRAD)
def gradient_of_nothing_raises(t: Session) -> None:
    """A gradient with respect to no input at all is an error, not an empty answer."""
    y = t.tensor(3.0, requires_grad=True) * 2.0
    t.raises(lambda: t.grad(y, []))
