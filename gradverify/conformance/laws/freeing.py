"""What backward frees, what it keeps, and what roots it accepts."""

from __future__ import annotations

from ..register import law
from ..session import Session, Var

BACKWARD = "https://docs.pytorch.org/docs/stable/generated/torch.autograd.backward.html"
NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html"


@law(needs={"freeing"}, source=BACKWARD)
def second_backward_raises(t: Session) -> None:
    """backward frees what the graph saved; a second one is an error and no silent second addition."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    y.backward()
    t.raises(y.backward)


@law(needs={"freeing"}, source=BACKWARD)
def failed_backward_adds_nothing(t: Session) -> None:
    """A backward that finds the graph freed leaves .grad as it was."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    y.backward()
    t.raises(y.backward)
    t.equal(x.grad, 6.0)


@law(needs={"freeing"}, source=BACKWARD)
def retain_graph_allows_another(t: Session) -> None:
    """With retain_graph the graph can be walked again, and gives the same again; the last walk may free it."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    t.equal(x.grad, 12.0)
    t.raises(y.backward)


@law(needs={"freeing"}, source=BACKWARD)
def a_shared_part_is_freed_for_all(t: Session) -> None:
    """Where two roots share a part, the backward of the first frees it for the second."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    a, b = h * 2.0, h * 5.0
    a.backward()
    t.raises(b.backward)


@law(needs={"freeing"}, source=NOTES)
def nothing_saved_nothing_freed(t: Session) -> None:
    """Addition saves nothing, so its graph can be walked as often as one likes."""
    x, y = t.tensor(3.0, requires_grad=True), t.tensor(5.0, requires_grad=True)
    z = x + y
    z.backward()
    z.backward()
    t.equal(x.grad, 2.0)


@law(needs={"freeing", "create_graph"}, source=BACKWARD)
def create_graph_retains(t: Session) -> None:
    """create_graph keeps the graph, because the gradient's own graph refers to it."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x * x
    t.grad(y, [x], create_graph=True)
    y.backward()
    t.equal(x.grad, 27.0)


@law(needs={"freeing", "grad"}, source="https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html")
def grad_frees_too(t: Session) -> None:
    """autograd.grad frees the graph as backward does."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    t.grad(y, [x])
    t.raises(y.backward)


def _root_over_array(t: Session) -> tuple[Var, Var]:
    """A root whose graph alone holds an array, and a weak reference to that array."""
    t.define("import weakref, numpy; x = torch.tensor(3.0, requires_grad=True); a = numpy.ones(3)")
    y = t.define("y = (x * torch.from_numpy(a)).sum()")
    ref = t.define("ref = weakref.ref(a); del a")
    return y, ref


@law(needs={"freeing", "numpy"}, source=NOTES)
def saved_arrays_are_released(t: Session) -> None:
    """After backward the arrays that the graph saved are really gone, though the root is still held: by weak reference."""
    y, ref = _root_over_array(t)
    y.backward()
    t.check("{0}() is None", ref)


@law(needs={"freeing", "numpy"}, source=NOTES)
def saved_arrays_are_kept_until_then(t: Session) -> None:
    """Before backward, and after one with retain_graph, the graph holds what it will need."""
    y, ref = _root_over_array(t)
    y.backward(retain_graph=True)
    t.check("{0}() is not None", ref)


@law(needs={"tape", "numpy"}, source=NOTES)
def a_graph_dies_with_its_root(t: Session) -> None:
    """A graph that nobody differentiates goes with the last reference to its root: no cycle, no registry keeps it."""
    t.define("import weakref, gc, numpy")
    t.define("a = numpy.ones(3)")
    t.define("y = (torch.tensor(3.0, requires_grad=True) * torch.from_numpy(a)).sum()")
    t.define("ref = weakref.ref(a); del a, y")
    t.check("ref() is None")


@law(needs={"tape", "numpy"}, source=NOTES)
def a_leaf_dies_with_its_last_reference(t: Session) -> None:
    """A leaf that was differentiated goes when it is dropped: its place in the graph and it do not keep each other alive."""
    t.define("import weakref, gc, numpy; gc.disable(); a = numpy.ones(3); ref = weakref.ref(a)")
    t.define("x = torch.from_numpy(a).requires_grad_(); del a")
    t.define("x.sum().backward(); del x")
    t.define("alive = ref() is not None; gc.enable()")
    t.check("not alive")


@law(needs={"tape", "numpy"}, source=NOTES)
def a_training_loop_does_not_grow(t: Session) -> None:
    """After each step the batch is gone, though parameter and gradient stay: memory does not grow with the steps."""
    t.define("import weakref, numpy; w = torch.ones(3, dtype=torch.float64, requires_grad=True); refs = []")
    t.define("def step():\n    batch = numpy.ones(3); refs.append(weakref.ref(batch))\n"
             "    (w * torch.from_numpy(batch) * w).sum().backward()")  # fmt: skip
    t.define("step(); step(); alive = [r for r in refs if r() is not None]")
    t.check("len(alive) == 0")


@law(needs={"tape", "flags"}, source=BACKWARD)
def a_root_requires_grad(t: Session) -> None:
    """backward from what requires no grad is an error: nothing would come of it, and silence would hide a cut graph."""
    c = t.tensor(3.0)
    y = c * c
    t.raises(y.backward)


@law(needs={"tape", "arrays"}, source=BACKWARD)
def a_root_that_is_no_scalar_needs_a_gradient(t: Session) -> None:
    """For a root with more than one element, backward wants to be told the gradient."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    t.raises(y.backward, "Exception")


@law(needs={"tape", "cotangent", "flags"}, source=BACKWARD)
def the_gradient_has_the_roots_shape(t: Session) -> None:
    """A gradient of another shape is refused, not broadcast."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    t.raises(lambda: y.backward(t.tensor([1.0, 2.0, 3.0])))
    t.raises(lambda: y.backward(t.tensor(1.0)))


@law(needs={"tape", "flags"}, source=BACKWARD)
def a_leaf_can_be_the_root(t: Session) -> None:
    """The gradient of a leaf with respect to itself is one."""
    x = t.tensor(3.0, requires_grad=True)
    x.backward()
    t.equal(x.grad, 1.0)


@law(needs={"tape", "grad"}, source=BACKWARD)
def several_roots_add(t: Session) -> None:
    """backward from several roots at once gives the sum, and one root may lie within the graph of another."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    t.do("torch.autograd.backward({0})", [h, h * 2.0], statement=True)
    t.equal(x.grad, 18.0)


@law(needs={"tape", "grad", "cotangent"}, source=BACKWARD)
def a_root_twice_counts_twice(t: Session) -> None:
    """A tensor that stands twice among the roots sends both gradients."""
    x, one, two = t.tensor(3.0, requires_grad=True), t.tensor(1.0), t.tensor(2.0)
    y = x * 5.0
    t.do("torch.autograd.backward([{0}, {0}], [{1}, {2}])", y, one, two)
    t.equal(x.grad, 15.0)


@law(needs={"tape", "grad", "cotangent", "function"}, source=BACKWARD)
def outputs_of_one_function_are_roots_together(t: Session) -> None:
    """Two outputs of one function as roots: its backward runs once, with both gradients."""
    t.define(
        "class F(torch.autograd.Function):\n    forward, backward = map(staticmethod, (lambda ctx, x: (x * 2, x * 3), "
        "lambda ctx, a, b: a * 2 + b * 3))"
    )
    x, one, ten = t.tensor(3.0, requires_grad=True), t.tensor(1.0), t.tensor(10.0)
    y = t.do("F.apply({0})", x)
    t.do("torch.autograd.backward(list({0}), [{1}, {2}])", y, one, ten)
    t.equal(x.grad, 32.0)
