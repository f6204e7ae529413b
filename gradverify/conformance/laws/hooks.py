"""Hooks: when, in which order, how often, and what their answers replace."""

from __future__ import annotations

from ..register import law
from ..session import Session

HOOK = "https://docs.pytorch.org/docs/stable/generated/torch.Tensor.register_hook.html"
NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html#backward-hooks-execution"
POST = "https://docs.pytorch.org/docs/stable/generated/torch.Tensor.register_post_accumulate_grad_hook.html"
NODE = "https://docs.pytorch.org/docs/stable/generated/torch.autograd.graph.Node.register_hook.html"


@law(needs={"hooks"}, source=HOOK)
def hook_sees_the_gradient(t: Session) -> None:
    """A hook is called once per backward with the gradient of its tensor."""
    x, seen = t.tensor(3.0, requires_grad=True), t.define("seen = []")
    y = x * x
    y.register_hook(seen.append)
    (y * 5.0).backward()
    t.equal(seen, [5.0])


@law(needs={"hooks"}, source=NOTES)
def hook_sees_the_sum(t: Session) -> None:
    """The hook of a tensor that is used twice is called once, with the sum of both gradients."""
    x, seen = t.tensor(3.0, requires_grad=True), t.define("seen = []")
    y = x * x
    y.register_hook(seen.append)
    (y * 5.0 + y * 2.0).backward()
    t.equal(seen, [7.0])


@law(needs={"hooks"}, source=NOTES)
def leaf_hook_sees_this_call_only(t: Session) -> None:
    """The hook of a leaf gets the gradient of this backward, not what .grad has come to."""
    x, seen = t.tensor(3.0, requires_grad=True), t.define("seen = []")
    x.register_hook(seen.append)
    (x * 5.0 + x).backward()
    (x * 2.0).backward()
    t.equal(seen, [6.0, 2.0])


@law(needs={"hooks"}, source=HOOK)
def hook_replaces(t: Session) -> None:
    """What a hook returns takes the gradient's place, for the leaf's .grad and for all before it."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    y.register_hook(t.code("lambda g: g * 10"))
    y.backward()
    t.equal(x.grad, 60.0)


@law(needs={"hooks"}, source=HOOK)
def leaf_hook_replaces(t: Session) -> None:
    """The hook of a leaf changes what is accumulated."""
    x = t.tensor(3.0, requires_grad=True)
    x.register_hook(t.code("lambda g: g * 10"))
    (x * x).backward()
    t.equal(x.grad, 60.0)


@law(needs={"hooks"}, source=HOOK)
def hook_that_returns_none_changes_nothing(t: Session) -> None:
    """None means: leave it as it is."""
    x = t.tensor(3.0, requires_grad=True)
    x.register_hook(t.code("lambda g: None"))
    (x * x).backward()
    t.equal(x.grad, 6.0)


@law(needs={"hooks"}, source=NOTES)
def hooks_run_in_order(t: Session) -> None:
    """Hooks of one tensor run in the order of registration, each on the answer of the one before."""
    x = t.tensor(3.0, requires_grad=True)
    x.register_hook(t.code("lambda g: g + 1"))
    x.register_hook(t.code("lambda g: g * 10"))
    (x * 2.0).backward()
    t.equal(x.grad, 30.0)


@law(needs={"hooks"}, source=HOOK)
def removed_hook_is_gone(t: Session) -> None:
    """handle.remove() takes out this hook and no other."""
    x = t.tensor(3.0, requires_grad=True)
    h = x.register_hook(t.code("lambda g: g + 1"))
    x.register_hook(t.code("lambda g: g * 10"))
    h.remove()
    (x * 2.0).backward()
    t.equal(x.grad, 20.0)


@law(needs={"hooks", "retain"}, source=NOTES)
def retained_grad_comes_after_hooks(t: Session) -> None:
    """retain_grad keeps what the hooks made of the gradient, also where they were registered later."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    y.retain_grad()
    y.register_hook(t.code("lambda g: g * 10"))
    y.backward()
    t.equal(y.grad, 10.0)


@law(needs={"hooks", "grad"}, source=NOTES)
def grad_runs_hooks(t: Session) -> None:
    """autograd.grad returns the gradient as the hooks leave it."""
    x = t.tensor(3.0, requires_grad=True)
    x.register_hook(t.code("lambda g: g * 10"))
    (g,) = t.grad(x * x, [x])
    t.equal(g, 60.0)


@law(needs={"hooks"}, source=HOOK)
def hook_needs_grad(t: Session) -> None:
    """A hook on a tensor that requires no grad would never be called; that is an error."""
    c = t.tensor(3.0)
    t.raises(lambda: c.register_hook(t.code("print")))


@law(needs={"hooks"}, source=HOOK)
def failing_hook_fails_backward(t: Session) -> None:
    """An exception of a hook comes out of backward, as it is."""
    x = t.tensor(3.0, requires_grad=True)
    x.register_hook(t.code("lambda g: {}[0]"))
    y = x * x
    t.raises(y.backward, "KeyError")


@law(needs={"hooks", "inplace"}, source=NOTES)
def hook_stays_with_its_history(t: Session) -> None:
    """A hook that was registered before an in-place edit gets the gradient of the tensor as it was then."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * 2.0
    y.register_hook(t.code("lambda g: g * 10"))
    y.mul_(7.0)
    y.backward()
    t.equal(x.grad, 140.0)


@law(needs={"node_hooks"}, source=POST)
def post_accumulate_hook_sees_grad(t: Session) -> None:
    """A post-accumulate hook is called with the leaf after its .grad was updated: optimizers in backward stand on it."""
    x, seen = t.tensor(3.0, requires_grad=True), t.define("seen = []")
    x.register_post_accumulate_grad_hook(t.code("lambda p: seen.append(p.grad.item())"))
    (x * x).backward()
    (x * x).backward()
    t.equal(seen, [6.0, 12.0])


@law(needs={"node_hooks"}, source=POST)
def post_accumulate_hook_runs_once(t: Session) -> None:
    """Once per backward, also for a leaf that was used several times: else a parameter is stepped on half a gradient."""
    x, seen = t.tensor(3.0, requires_grad=True), t.define("seen = []")
    x.register_post_accumulate_grad_hook(t.code("lambda p: seen.append(p.grad.item())"))
    (x * x + x * 2.0).backward()
    t.equal(seen, [8.0])


@law(needs={"node_hooks"}, source=POST)
def post_accumulate_hook_wants_a_leaf(t: Session) -> None:
    """On a tensor in the middle it is an error."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    t.raises(lambda: y.register_post_accumulate_grad_hook(t.code("print")))


@law(needs={"node_hooks"}, source=POST)
def post_accumulate_hook_returns_nothing(t: Session) -> None:
    """Nobody would use an answer: to return one is an error."""
    x = t.tensor(3.0, requires_grad=True)
    x.register_post_accumulate_grad_hook(t.code("lambda p: p.grad"))
    y = x * x
    t.raises(y.backward)


@law(needs={"node_hooks"}, source=NODE)
def node_hook_sees_both_sides(t: Session) -> None:
    """A hook on a node is called with the gradients of its inputs and of its outputs."""
    x, seen = t.tensor(3.0, requires_grad=True), t.define("seen = []")
    y = x * 5.0
    y.grad_fn.register_hook(t.code("lambda gi, go: seen.extend([gi[0].item(), go[0].item()])"))
    (y * 2.0).backward()
    t.equal(seen, [10.0, 2.0])


@law(needs={"node_hooks"}, source=NODE)
def node_hook_replaces(t: Session) -> None:
    """What a hook on a node returns takes the place of the gradients of its inputs."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * 5.0
    y.grad_fn.register_hook(t.code("lambda gi, go: (gi[0] * 10, *gi[1:])"))
    y.backward()
    t.equal(x.grad, 50.0)


@law(
    needs={"node_hooks"},
    source="https://docs.pytorch.org/docs/stable/generated/torch.autograd.graph.Node.register_prehook.html",
)
def node_prehook_replaces(t: Session) -> None:
    """What a prehook returns takes the place of the gradients that a node works on."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * 5.0
    y.grad_fn.register_prehook(t.code("lambda go: (go[0] * 10,)"))
    y.backward()
    t.equal(x.grad, 50.0)


@law(needs={"hooks"}, source=HOOK)
def hook_may_remove_itself(t: Session) -> None:
    """A hook that removes itself while it runs has run once, and the others are not skipped."""
    x = t.tensor(3.0, requires_grad=True)
    t.define("def once(x):\n    h = x.register_hook(lambda g: (h.remove(), g + 1)[1])")
    t.do("once({0})", x, statement=True)
    x.register_hook(t.code("lambda g: g * 10"))
    (x * 2.0).backward()
    t.equal(x.grad, 30.0)
    (x * 2.0).backward()
    t.equal(x.grad, 50.0)


@law(needs={"hooks", "views"}, source=NOTES)
def hook_on_a_view_sees_its_gradient(t: Session) -> None:
    """The hook of a view is called with the gradient of the view, and changes the base's by it."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    v = y[0:1]
    v.register_hook(t.code("lambda g: g * 10"))
    (v.sum() + y.sum()).backward()
    t.equal(x.grad, [22.0, 2.0])


@law(needs={"hooks", "views"}, source=NOTES)
def hook_on_a_view_is_of_its_time(t: Session) -> None:
    """After an edit of the base, a view has a new history; a hook of the old one is not called for it."""
    x, seen = t.tensor([3.0, 1.0], requires_grad=True), t.define("seen = []")
    y = x * 2.0
    v = y[0:1]
    v.register_hook(seen.append)
    y.mul_(5.0)
    v.sum().backward()
    t.equal(seen, [])
    t.equal(x.grad, [10.0, 0.0])


@law(needs={"hooks"}, source=HOOK)
def hook_keeps_the_shape(t: Session) -> None:
    """What a hook returns has the shape of the gradient it was given; anything else is an error."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    y.register_hook(t.code("lambda g: g.sum()"))
    z = y.sum()
    t.raises(z.backward)


@law(needs={"hooks", "flags"}, source=HOOK)
def hook_keeps_the_dtype(t: Session) -> None:
    """What a hook returns has the dtype of the gradient it was given."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    x.register_hook(t.code("lambda g: (g.double() if g.dtype == torch.float32 else g.float())"))
    y = (x * 2.0).sum()
    t.raises(y.backward)


@law(needs={"hooks", "views", "inplace"}, source=NOTES)
def hook_on_a_view_ends_with_its_edit(t: Session) -> None:
    """A view that is edited has a new history; the hook of the old one hears nothing, and the gradient goes past it."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    v = y[0:1]
    v.register_hook(t.code("lambda g: g * 10"))
    v.mul_(5.0)
    y.sum().backward()
    t.equal(x.grad, [10.0, 2.0])


@law(needs={"hooks", "views"}, source=HOOK)
def parts_of_one_call_have_one_node(t: Session) -> None:
    """The parts that one call took belong to one node: the hook of a part that was not used is called with None."""
    x, seen = t.tensor([3.0, 1.0], requires_grad=True), t.define("seen = []")
    parts = (x * 2.0).unbind()
    parts[0].register_hook(seen.append)
    parts[1].backward()
    t.equal(seen, [None])
    t.equal(x.grad, [0.0, 2.0])
