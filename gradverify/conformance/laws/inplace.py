"""In-place edits, views, and the version counters that guard what was saved."""

from __future__ import annotations

from ..register import law
from ..session import Session

NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks"
VIEWS = "https://docs.pytorch.org/docs/stable/tensor_view.html"


@law(needs={"versions"}, source=NOTES)
def edit_of_a_saved_input_raises(t: Session) -> None:
    """A tensor that backward needs must not have changed since; silence would be a wrong gradient."""
    x, c = t.tensor([3.0, 1.0], requires_grad=True), t.tensor([2.0, 5.0])
    y = (x * c).sum()
    c.add_(1.0)
    t.raises(y.backward)


@law(needs={"versions"}, source=NOTES)
def edit_of_a_saved_output_raises(t: Session) -> None:
    """Some ops save their result (exp); editing that is found out too."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x.exp()
    z = y.sum()
    y.mul_(2.0)
    t.raises(lambda: y.sum().backward() or z.backward())


@law(needs={"versions"}, source=NOTES)
def edit_of_what_is_not_saved_is_fine(t: Session) -> None:
    """Addition saves nothing: editing its inputs afterwards is allowed."""
    x, c = t.tensor([3.0, 1.0], requires_grad=True), t.tensor([2.0, 5.0])
    y = (x + c).sum()
    c.add_(1.0)
    y.backward()
    t.equal(x.grad, [1.0, 1.0])


@law(needs={"versions"}, source=NOTES)
def edit_through_a_view_raises(t: Session) -> None:
    """A view shares the version counter of its base: an edit through it is seen."""
    x, c = t.tensor([3.0, 1.0], requires_grad=True), t.tensor([2.0, 5.0])
    y = (x * c).sum()
    c[0:1].add_(1.0)
    t.raises(y.backward)


@law(needs={"versions", "cut"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html")
def edit_through_detach_raises(t: Session) -> None:
    """A detached tensor shares memory, so it shares the version counter."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = (x * x).sum()
    x.detach().zero_()
    t.raises(y.backward)


@law(needs={"versions"}, source=NOTES)
def edit_of_a_leaf_within_no_grad_is_seen(t: Session) -> None:
    """An optimizer's step between forward and backward is found out, though it is not recorded."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = (x * x).sum()
    with t.no_grad():
        x.sub_(1.0)
    t.raises(y.backward)


@law(needs={"versions"}, source=NOTES)
def versions_count_edits(t: Session) -> None:
    """Each in-place edit counts one, reading and ops out of place count nothing."""
    c = t.tensor([2.0, 5.0])
    c.add_(1.0)
    c.mul_(2.0)
    (c + 1.0).sum()
    t.equal(c._version, 2)


@law(needs={"inplace"}, source=NOTES)
def leaf_that_requires_grad_is_not_edited(t: Session) -> None:
    """An in-place edit of a leaf that requires grad is an error while recording: it could no longer be a leaf."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    t.raises(lambda: x.add_(1.0))
    t.equal(x.detach(), [3.0, 1.0])


@law(needs={"inplace", "modes"}, source=NOTES)
def leaf_is_edited_within_no_grad(t: Session) -> None:
    """Within no_grad it may be edited and stays a leaf: that is how optimizers step."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    with t.no_grad():
        x.sub_(1.0)
    t.equal(x.is_leaf, True)
    t.equal(x.requires_grad, True)
    t.equal(x.detach(), [2.0, 0.0])


@law(needs={"inplace"}, source=NOTES)
def edit_is_recorded(t: Session) -> None:
    """y.mul_(c) has the gradient of y * c."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    y.mul_(5.0)
    y.sum().backward()
    t.equal(x.grad, [10.0, 10.0])


@law(needs={"inplace"}, source=NOTES)
def edit_by_itself_keeps_the_old_value(t: Session) -> None:
    """y.mul_(y) has the gradient 2y of the old y: the op must not read its own result."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 1.0
    y.mul_(x)
    y.sum().backward()
    t.equal(x.grad, [6.0, 2.0])


@law(needs={"inplace"}, source=NOTES)
def edit_makes_require_grad(t: Session) -> None:
    """A constant into which something that requires grad was added requires grad from then on."""
    x, c = t.tensor([3.0, 1.0], requires_grad=True), t.tensor([2.0, 5.0])
    c.add_(x)
    t.equal(c.requires_grad, True)
    c.sum().backward()
    t.equal(x.grad, [1.0, 1.0])


@law(needs={"inplace"}, source=NOTES)
def overwriting_cuts_the_old_history(t: Session) -> None:
    """What was overwritten with a constant has no influence any more."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    y[0] = 7.0
    y.sum().backward()
    t.equal(x.grad, [0.0, 2.0])


@law(needs={"inplace"}, source=NOTES)
def zeroing_a_result_cuts_it(t: Session) -> None:
    """After y.zero_() nothing before it has an influence."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    y.zero_()
    (y + x).sum().backward()
    t.equal(x.grad, [1.0, 1.0])


@law(needs={"inplace"}, source=NOTES)
def written_value_gets_its_gradient(t: Session) -> None:
    """A value that was written into a part of a tensor gets the gradient of this part."""
    x, y = t.tensor(3.0, requires_grad=True), t.tensor([2.0, 5.0])
    y[1] = x * 2.0
    (y * t.tensor([10.0, 100.0])).sum().backward()
    t.equal(x.grad, 200.0)


@law(needs={"views"}, source=VIEWS)
def view_shares_memory(t: Session) -> None:
    """A view is the same memory: an edit of the base shows in it."""
    c = t.tensor([2.0, 5.0])
    v = c[0:1]
    c.add_(1.0)
    t.equal(v, [3.0])


@law(needs={"views"}, source=VIEWS)
def edit_of_a_view_reaches_the_base(t: Session) -> None:
    """An edit through a view becomes part of the base's history."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    y[0:1].mul_(5.0)
    y.sum().backward()
    t.equal(x.grad, [10.0, 2.0])


@law(needs={"views"}, source=VIEWS)
def edit_of_the_base_reaches_the_view(t: Session) -> None:
    """An edit of the base becomes part of the history of a view that was taken before."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    v = y[0:1]
    y.mul_(5.0)
    v.sum().backward()
    t.equal(x.grad, [10.0, 0.0])


@law(needs={"views"}, source=VIEWS)
def edit_of_a_view_reaches_its_siblings(t: Session) -> None:
    """Two views of one base: an edit through the one shows in the other's value and history."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    a, b = y[0:2], y[0:1]
    a.mul_(5.0)
    b.sum().backward()
    t.equal(x.grad, [10.0, 0.0])


@law(needs={"views"}, source=NOTES)
def view_of_a_leaf_is_not_edited(t: Session) -> None:
    """A view of a leaf that requires grad is as forbidden to edit as the leaf."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    t.raises(lambda: x[0:1].add_(1.0))


@law(needs={"views"}, source=NOTES)
def view_made_within_no_grad_is_not_edited(t: Session) -> None:
    """A view that was made within no_grad has no history to extend: editing it while recording is an error."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    with t.no_grad():
        v = y[0:1]
    t.raises(lambda: v.mul_(5.0))


@law(needs={"views"}, source=VIEWS)
def transposed_and_expanded(t: Session) -> None:
    """Gradients go back through views of another layout into the shape of the base."""
    x = t.tensor([[1.0, 2.0]], requires_grad=True)
    y = x.t().expand(2, 3)
    (y * t.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).sum().backward()
    t.equal(x.grad, [[6.0, 15.0]])


@law(
    needs={"inplace", "retain"},
    source="https://docs.pytorch.org/docs/stable/notes/autograd.html#behavior-of-tensor-hooks-when-tensor-is-modified-in-place",
)
def retained_grad_moves_with_the_tensor(t: Session) -> None:
    """After an in-place edit, retain_grad is about the tensor as it is now."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    y.retain_grad()
    y.mul_(5.0)
    y.sum().backward()
    t.equal(y.grad, [1.0, 1.0])


@law(
    needs={"inplace", "retain", "function"},
    source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.retain_grad.html",
)
def retained_second_output_can_be_edited(t: Session) -> None:
    """The second output of a function is as good as the first: it may retain its gradient and be edited in place."""
    t.define(
        "class F(torch.autograd.Function):\n"
        "    forward, backward = map(staticmethod, (lambda ctx, x: (x * 2, x * 3), lambda ctx, a, b: a * 2 + b * 3))"
    )
    y = t.do("F.apply({0})[1]", t.tensor(3.0, requires_grad=True))
    y.retain_grad()
    y.mul_(5.0)
    t.equal(y.requires_grad, True)


@law(needs={"inplace", "retain"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach_.html")
def retaining_tensor_can_be_detached(t: Session) -> None:
    """A tensor that retained its gradient may be detached in place, and then edited like any other constant."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * 2.0
    y.retain_grad()
    y.detach_()
    y.add_(x)
    y.backward()
    t.equal(x.grad, 1.0)


@law(needs={"inplace", "versions"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach_.html")
def saved_tensor_detached_in_place_raises(t: Session) -> None:
    """A saved tensor that was detached in place has lost the history that backward needs: an error, not a constant."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * 2.0
    y = h * x
    h.detach_()
    t.raises(y.backward)


@law(needs={"views"}, source=VIEWS)
def view_is_not_detached_in_place(t: Session) -> None:
    """detach_ of a view is an error: its base would still lead to what it came from."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    t.raises(lambda: y[0:1].detach_())


@law(needs={"views"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.unbind.html")
def one_of_several_views_is_not_edited(t: Session) -> None:
    """A view that one call made together with others (unbind, split) is not edited: the call has one node for all."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x * 2.0
    t.raises(lambda: y.unbind()[0].mul_(5.0))
    t.raises(lambda: y.split(1)[0].mul_(5.0))


@law(needs={"views", "inplace"}, source=VIEWS)
def views_of_unbind_pass_gradients(t: Session) -> None:
    """Each of the views has its place in the gradient."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    y = x.unbind()
    (y[0] * 5.0 + y[1] * 7.0).backward()
    t.equal(x.grad, [5.0, 7.0])


@law(needs={"views"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.expand.html")
def expanded_tensor_is_not_edited(t: Session) -> None:
    """Entries of an expanded tensor share memory: an edit of one would be an edit of several, so it is an error."""
    c = t.tensor([2.0, 5.0])
    t.raises(lambda: c.expand(2, 2).add_(1.0))
    t.equal(c, [2.0, 5.0])


@law(
    needs={"views"}, source="https://docs.pytorch.org/docs/stable/notes/autograd.html#in-place-operations-with-autograd"
)
def partly_overlapping_write_raises(t: Session) -> None:
    """A write whose source lies partly in the memory that it writes to depends on the order of the writes: an error."""
    c = t.tensor([2.0, 5.0, 7.0])
    t.raises(lambda: c[0:2].copy_(c[1:3]))


@law(needs={"views", "modes"}, source=NOTES)
def view_made_within_no_grad_leads_nowhere(t: Session) -> None:
    """A view made within no_grad says that it requires grad, as its base does, but no gradient flows through it."""
    x = t.tensor([3.0, 1.0], requires_grad=True)
    with t.no_grad():
        v = x[0:1]
    t.equal(v.requires_grad, True)
    (v * 5.0).sum().backward()
    t.equal(x.grad, None)
    t.equal(v.grad, None)


@law(needs={"versions"}, source="https://docs.pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks")
def writes_to_data_are_not_counted(t: Session) -> None:
    """x.data is the same memory without its version counter: what is written there is not found out. It is the way around
    the check, so that the check must not depend on it."""
    x, c = t.tensor([3.0, 1.0], requires_grad=True), t.tensor([2.0, 5.0])
    y = (x * c).sum()
    c.data.mul_(10.0)
    y.backward()
    t.equal(x.grad, [20.0, 50.0])


@law(needs={"inplace", "retain"}, source=NOTES)
def assigned_data_keeps_the_tensor(t: Session) -> None:
    """After x.data = y the leaf x is the same leaf, with its gradient, over the memory of y."""
    x, y = t.tensor([3.0, 1.0], requires_grad=True), t.tensor([2.0, 5.0])
    (x * x).sum().backward()
    x.data = y
    t.equal(x.grad, [6.0, 2.0])
    y.add_(1.0)
    (x * x).sum().backward()
    t.equal(x.grad, [12.0, 14.0])


STRIDED = "https://docs.pytorch.org/docs/stable/generated/torch.as_strided.html"


@law(needs={"views", "inplace"}, source=STRIDED)
def strided_view_passes_gradients(t: Session) -> None:
    """An entry that a strided view has twice gets both gradients."""
    x = t.tensor([3.0, 1.0, 2.0], requires_grad=True)
    v = x.as_strided([2, 2], [1, 1])  # [[x0, x1], [x1, x2]]
    (v * t.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    t.equal(x.grad, [1.0, 5.0, 4.0])


@law(needs={"views", "inplace"}, source=STRIDED)
def strided_view_writes_to_the_base(t: Session) -> None:
    """A write through a strided view is one to the base, at the places that it has there."""
    x = t.tensor([3.0, 1.0, 2.0], requires_grad=True)
    y = x * 2.0
    y.as_strided([2], [2]).mul_(5.0)
    t.equal(y.detach(), [30.0, 2.0, 20.0])
    y.sum().backward()
    t.equal(x.grad, [10.0, 2.0, 10.0])


@law(needs={"views", "inplace"}, source=VIEWS)
def a_layout_is_edited_in_place(t: Session) -> None:
    """A transposition in place keeps history; a view that was made before has the entries that it had."""
    x = t.tensor([[3.0, 1.0], [2.0, 4.0]], requires_grad=True)
    y = x * 2.0
    row = y[0]
    y.t_()
    row.mul_(5.0)
    (y * t.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    t.equal(x.grad, [[10.0, 30.0], [4.0, 8.0]])


@law(needs={"views", "inplace"}, source=VIEWS)
def a_layout_is_edited_over_one_memory(t: Session) -> None:
    """A transposition in place keeps the memory: a row that was taken before writes to a column."""
    x = t.tensor([[3.0, 1.0], [2.0, 4.0]])
    row = x[0]
    x.t_()
    row.mul_(5.0)
    t.equal(x, [[15.0, 2.0], [5.0, 4.0]])


@law(needs={"views", "inplace"}, source=VIEWS)
def a_layout_of_a_leaf_is_not_edited(t: Session) -> None:
    """A leaf that requires grad keeps its layout while ops are recorded."""
    x = t.tensor([[3.0, 1.0]], requires_grad=True)
    t.raises(x.t_)
