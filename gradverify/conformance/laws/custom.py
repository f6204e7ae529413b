"""Functions that users write, with their own backward."""

from __future__ import annotations

from ..register import law
from ..session import Session, Var

EXTENDING = "https://docs.pytorch.org/docs/stable/notes/extending.html#extending-torch-autograd"
DIRTY = "https://docs.pytorch.org/docs/stable/generated/torch.autograd.function.FunctionCtx.mark_dirty.html"
FUNCTION = "https://docs.pytorch.org/docs/stable/autograd.html#torch.autograd.Function"


def function(t: Session, forward: str, backward: str) -> Var:
    """`class F` in two lines."""
    return t.define(
        f"class F(torch.autograd.Function):\n    forward, backward = map(staticmethod, ({forward}, {backward}))"
    )


@law(needs={"function"}, source=EXTENDING)
def own_backward_is_used(t: Session) -> None:
    """The gradient is what the user's backward says, right or wrong."""
    f = function(t, "lambda ctx, x: x * 2", "lambda ctx, g: g * 10")
    x = t.tensor(3.0, requires_grad=True)
    f.apply(x).backward()
    t.equal(x.grad, 10.0)


@law(needs={"function"}, source=EXTENDING)
def needs_input_grad_says_who_asks(t: Session) -> None:
    """ctx.needs_input_grad tells which inputs require grad, so that a costly gradient can be left out."""
    seen = t.define("seen = []")
    f = function(t, "lambda ctx, x, y: x * y", "lambda ctx, g: (seen.append(list(ctx.needs_input_grad)), None, g)[1:]")
    f.apply(t.tensor(3.0), t.tensor(5.0, requires_grad=True)).backward()
    t.equal(seen, [[False, True]])


@law(needs={"function"}, source=EXTENDING)
def none_is_no_gradient(t: Session) -> None:
    """A backward may answer None for an input: its .grad stays None."""
    f = function(t, "lambda ctx, x, y: x * y", "lambda ctx, g: (g, None)")
    y = t.tensor(5.0, requires_grad=True)
    f.apply(t.tensor(3.0, requires_grad=True), y).backward()
    t.equal(y.grad, None)


@law(needs={"function"}, source=FUNCTION)
def unused_output_has_zeros(t: Session) -> None:
    """For an output that was not used, backward gets zeros (set_materialize_grads)."""
    seen = t.define("seen = []")
    f = function(t, "lambda ctx, x: (x * 2, x * 3)", "lambda ctx, a, b: (seen.append(b), a + b)[1]")
    f.apply(t.tensor(3.0, requires_grad=True))[0].backward()
    t.equal(seen, [0.0])


@law(needs={"function"}, source=FUNCTION)
def all_outputs_at_once(t: Session) -> None:
    """backward runs once, with the gradients of all outputs."""
    x, seen = t.tensor(3.0, requires_grad=True), t.define("seen = []")
    f = function(t, "lambda ctx, x: (x * 2, x * 3)", "lambda ctx, a, b: (seen.append([a, b]), a + b)[1]")
    y = f.apply(x)
    (y[0] * 5.0 + y[1] * 7.0).backward()
    t.equal(seen, [[5.0, 7.0]])


@law(needs={"function"}, source=EXTENDING)
def too_few_gradients_raise(t: Session) -> None:
    """backward must return as many gradients as forward had inputs."""
    f = function(t, "lambda ctx, x, y: x * y", "lambda ctx, g: g")
    y = f.apply(t.tensor(3.0, requires_grad=True), t.tensor(5.0))
    t.raises(y.backward)


@law(needs={"function"}, source=EXTENDING)
def gradient_of_another_shape_raises(t: Session) -> None:
    """A gradient that does not fit its input is an error."""
    f = function(t, "lambda ctx, x: x.sum()", "lambda ctx, g: torch.ones(3)")
    y = f.apply(t.tensor([3.0, 1.0], requires_grad=True))
    t.raises(y.backward)


@law(needs={"function", "freeing"}, source=FUNCTION)
def saved_tensors_are_freed(t: Session) -> None:
    """What save_for_backward kept is gone after backward; a second one is an error."""
    f = function(
        t, "lambda ctx, x: (ctx.save_for_backward(x), x * x)[1]", "lambda ctx, g: g * 2 * ctx.saved_tensors[0]"
    )
    y = f.apply(t.tensor(3.0, requires_grad=True))
    y.backward()
    t.raises(y.backward)


@law(needs={"function", "versions"}, source=FUNCTION)
def saved_tensors_are_guarded(t: Session) -> None:
    """What save_for_backward kept must not have been edited since."""
    f = function(
        t, "lambda ctx, x, c: (ctx.save_for_backward(c), x * c)[1]", "lambda ctx, g: (g * ctx.saved_tensors[0], None)"
    )
    c = t.tensor([2.0])
    y = f.apply(t.tensor([3.0], requires_grad=True), c)
    c.add_(1.0)
    t.raises(y.backward)


@law(needs={"function"}, source=FUNCTION)
def forward_is_not_recorded(t: Session) -> None:
    """Ops within forward leave no trace: the function's node is all that there is."""
    f = function(t, "lambda ctx, x: (ctx.mark_non_differentiable(y := x * 2), y)[1]", "lambda ctx, g: g")
    y = f.apply(t.tensor(3.0, requires_grad=True))
    t.equal(y.requires_grad, False)


@law(
    needs={"function", "create_graph"},
    source="https://docs.pytorch.org/tutorials/intermediate/custom_function_double_backward_tutorial.html",
)
def own_backward_can_be_differentiated(t: Session) -> None:
    """With create_graph the user's backward is recorded, down to what it saved."""
    f = function(
        t, "lambda ctx, x: (ctx.save_for_backward(x), x * x)[1]", "lambda ctx, g: g * 2 * ctx.saved_tensors[0]"
    )
    x = t.tensor(3.0, requires_grad=True)
    (g,) = t.grad(f.apply(x), [x], create_graph=True)
    t.equal(t.grad(g, [x])[0], 2.0)


@law(needs={"function", "modes"}, source=FUNCTION)
def no_grad_holds_for_functions(t: Session) -> None:
    """Within no_grad a custom function records nothing."""
    f = function(t, "lambda ctx, x: x * 2", "lambda ctx, g: g * 10")
    x = t.tensor(3.0, requires_grad=True)
    with t.no_grad():
        y = f.apply(x)
    t.equal(y.requires_grad, False)


@law(needs={"function", "inplace"}, source=DIRTY)
def dirty_input_is_the_output(t: Session) -> None:
    """An input that forward edited and marked dirty is from then on what the function made of it."""
    f = function(t, "lambda ctx, x: (ctx.mark_dirty(x), x.mul_(2))[1]", "lambda ctx, g: g * 10")
    x = t.tensor(3.0, requires_grad=True)
    y = x * 1.0
    f.apply(y)
    y.backward()
    t.equal(x.grad, 10.0)


@law(needs={"function", "versions"}, source=EXTENDING)
def dirty_input_counts_a_version(t: Session) -> None:
    """What saved a tensor before a function edited it finds out, even where the function wrote past the counter."""
    f = function(t, "lambda ctx, x: (ctx.mark_dirty(x), x.data.mul_(2), x)[2]", "lambda ctx, g: g * 2")
    x = t.tensor(3.0, requires_grad=True)
    y = x * 1.0
    z = y * y
    f.apply(y)
    t.raises(z.backward)


@law(needs={"function", "inplace"}, source=EXTENDING)
def dirty_leaf_raises(t: Session) -> None:
    """A leaf that requires grad is not edited by functions either."""
    f = function(t, "lambda ctx, x: (ctx.mark_dirty(x), x.mul_(2))[1]", "lambda ctx, g: g * 2")
    x = t.tensor(3.0, requires_grad=True)
    t.raises(lambda: f.apply(x))


@law(needs={"function"}, source=EXTENDING)
def one_output_without_gradient(t: Session) -> None:
    """mark_non_differentiable is about the outputs named: the others keep their gradients."""
    f = function(
        t, "lambda ctx, x: (ctx.mark_non_differentiable(m := x * 0), (x * 2, m))[1]", "lambda ctx, a, b: a * 2 + b"
    )
    x = t.tensor(3.0, requires_grad=True)
    y = f.apply(x)
    t.equal(y[1].requires_grad, False)
    y[0].backward()
    t.equal(x.grad, 2.0)


@law(needs={"function"}, source=EXTENDING)
def unused_output_can_be_none(t: Session) -> None:
    """After set_materialize_grads(False) backward gets None for an output that was not used: zeros need not be made."""
    seen = t.define("seen = []")
    f = function(t, "lambda ctx, x: (ctx.set_materialize_grads(False), (x * 2, x * 3))[1]",
                 "lambda ctx, a, b: (seen.append(b is None), a * 2)[1]")  # fmt: skip
    f.apply(t.tensor(3.0, requires_grad=True))[0].backward()
    t.equal(seen, [True])


@law(needs={"function"}, source=EXTENDING)
def only_tensors_are_saved(t: Session) -> None:
    """save_for_backward takes tensors and None; what else backward needs stands on ctx."""
    f = function(t, "lambda ctx, x: (ctx.save_for_backward(2.0), x * 2)[1]", "lambda ctx, g: g * 2")
    t.raises(lambda: f.apply(t.tensor(3.0, requires_grad=True)), "TypeError")


@law(needs={"function"}, source=EXTENDING)
def last_save_counts(t: Session) -> None:
    """save_for_backward is called once; where it was called twice, the second call counts."""
    f = function(t, "lambda ctx, x, y: (ctx.save_for_backward(x), ctx.save_for_backward(y), x * y)[2]",
                 "lambda ctx, g: (g * ctx.saved_tensors[0], None)")  # fmt: skip
    x = t.tensor(3.0, requires_grad=True)
    f.apply(x, t.tensor(5.0)).backward()
    t.equal(x.grad, 5.0)


@law(needs={"function"}, source=EXTENDING)
def none_for_an_input_with_a_hook(t: Session) -> None:
    """Where a function answers None, the hook of its input is called with None: the gradient is known, and is none."""
    f, seen = function(t, "lambda ctx, x: x * 2", "lambda ctx, g: None"), t.define("seen = []")
    x = t.tensor(3.0, requires_grad=True)
    x.register_hook(t.code("lambda g: seen.append(g is None)"))
    f.apply(x).backward()
    t.equal(seen, [True])
    t.equal(x.grad, None)


@law(needs={"function"}, source=EXTENDING)
def input_returned_as_it_is(t: Session) -> None:
    """A function that returns its input unchanged makes another tensor of it: the input stays a leaf."""
    f = function(t, "lambda ctx, x: x", "lambda ctx, g: g * 10")
    x = t.tensor(3.0, requires_grad=True)
    y = f.apply(x)
    t.equal(x.is_leaf, True)
    y.backward()
    t.equal(x.grad, 10.0)


@law(needs={"function", "views"}, source=DIRTY)
def returned_view_is_not_edited(t: Session) -> None:
    """What a Function returned as a view of its input is not written to: the write would go past its backward."""
    f = function(t, "lambda ctx, x: x.view(-1)", "lambda ctx, g: g.view(1, 2)")
    x = t.tensor([[3.0, 1.0]], requires_grad=True)
    y = f.apply(x * 1.0)
    t.raises(lambda: y.add_(1.0))


@law(needs={"function"}, source=EXTENDING)
def defaults_of_forward_are_inputs(t: Session) -> None:
    """setup_context sees the arguments that were left out, as forward has them."""
    f = t.define(
        "class F(torch.autograd.Function):\n"
        "    forward = staticmethod(lambda x, k=3.0: x * k)\n"
        "    setup_context = staticmethod(lambda ctx, inputs, output: setattr(ctx, 'k', inputs[1]))\n"
        "    backward = staticmethod(lambda ctx, g: (g * ctx.k, None))"
    )
    x = t.tensor(5.0, requires_grad=True)
    f.apply(x).backward()
    t.equal(x.grad, 3.0)


@law(needs={"function", "flags"}, source=FUNCTION)
def input_marked_as_constant_is_one(t: Session) -> None:
    """An input that forward returns and marks as non-differentiable requires no gradient as an output."""
    f = function(t, "lambda ctx, x, y: (ctx.mark_non_differentiable(y), (x * 2, y))[1]", "lambda ctx, g, h: (g * 2, h)")
    x = t.tensor(3.0, requires_grad=True)
    y = t.tensor(5.0, requires_grad=True) * 1.0
    t.equal(f.apply(x, y)[1].requires_grad, False)


@law(needs={"function", "node_hooks"}, source=FUNCTION)
def gradient_of_a_constant_reaches_the_hooks(t: Session) -> None:
    """What backward returns for an input that asks for none is dropped behind the node: its hooks see it."""
    f = function(t, "lambda ctx, x, y: x * y", "lambda ctx, g: (g, g * 5)")
    seen = t.define("seen = []")
    y = f.apply(t.tensor(3.0, requires_grad=True), t.tensor(2.0))
    y.grad_fn.register_hook(t.code("lambda gi, go: seen.extend([g.item() for g in gi])"))
    y.backward()
    t.equal(seen, [1.0, 5.0])
