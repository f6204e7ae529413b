"""requires_grad, is_leaf and where gradients are kept."""

from __future__ import annotations

from ..register import law
from ..session import Session

NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html"
LEAF = "https://docs.pytorch.org/docs/stable/generated/torch.Tensor.is_leaf.html"
RETAIN = "https://docs.pytorch.org/docs/stable/generated/torch.Tensor.retain_grad.html"


@law(needs={"flags"}, source=f"{NOTES}#setting-requires-grad")
def requires_grad_spreads(t: Session) -> None:
    """A result requires grad if any of its inputs does."""
    x, c = t.tensor(3.0, requires_grad=True), t.tensor(2.0)
    t.equal((c * x).requires_grad, True)


@law(needs={"flags"}, source=f"{NOTES}#setting-requires-grad")
def nothing_required_nothing_recorded(t: Session) -> None:
    """Where no input requires grad, neither does the result, and no history is kept."""
    c = t.tensor(2.0)
    y = c * c
    t.equal(y.requires_grad, False)
    t.equal(y.grad_fn, None)


@law(needs={"flags"}, source=LEAF)
def leaves_are_what_users_make(t: Session) -> None:
    """A tensor that the user made is a leaf, the result of a recorded op is not, the result of an unrecorded one is."""
    x, c = t.tensor(3.0, requires_grad=True), t.tensor(2.0)
    t.equal(x.is_leaf, True)
    t.equal((x * c).is_leaf, False)
    t.equal((c * c).is_leaf, True)


@law(needs={"flags"}, source=f"{NOTES}#setting-requires-grad")
def only_leaves_change_flags(t: Session) -> None:
    """requires_grad of a computed tensor cannot be switched off: detach is what that is for."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * 2.0
    t.raises(lambda: y.requires_grad_(False))


@law(needs={"flags"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.requires_grad_.html")
def integers_have_no_gradient(t: Session) -> None:
    """Only floating point tensors can require grad."""
    t.raises(lambda: t.tensor([1, 2]).requires_grad_())


@law(needs={"flags"}, source=LEAF)
def only_leaves_keep_grad(t: Session) -> None:
    """A tensor in the middle has no .grad after backward: keeping all would cost the memory of a second network."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    (h * 2.0).backward()
    t.equal(h.grad, None)
    t.equal(x.grad, 12.0)


@law(needs={"retain"}, source=RETAIN)
def retain_grad_keeps_it(t: Session) -> None:
    """After retain_grad a tensor in the middle has its gradient."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    h.retain_grad()
    (h * 2.0).backward()
    t.equal(h.grad, 2.0)


@law(needs={"retain"}, source=RETAIN)
def retained_grad_accumulates(t: Session) -> None:
    """A retained gradient adds up over calls, as that of a leaf does."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    h.retain_grad()
    (h * 2.0).backward(retain_graph=True)
    (h * 5.0).backward()
    t.equal(h.grad, 7.0)


@law(needs={"retain"}, source=RETAIN)
def retaining_twice_counts_once(t: Session) -> None:
    """retain_grad on a tensor that retains already changes nothing."""
    x = t.tensor(3.0, requires_grad=True)
    h = x * x
    h.retain_grad()
    h.retain_grad()
    h.backward()
    t.equal(h.grad, 1.0)


@law(needs={"retain"}, source=RETAIN)
def retain_needs_grad(t: Session) -> None:
    """retain_grad on a tensor that requires none is an error, on a leaf it does nothing."""
    x = t.tensor(3.0, requires_grad=True)
    x.retain_grad()
    x.backward()
    t.equal(x.grad, 1.0)
    t.raises(lambda: t.tensor(2.0).retain_grad())


@law(needs={"flags"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.grad.html")
def grad_fits_its_tensor(t: Session) -> None:
    """.grad takes only what has the tensor's shape."""
    x = t.tensor([3.0, 1.0], requires_grad=True)

    def assign() -> None:
        x.grad = t.tensor([1.0, 2.0, 3.0])

    t.raises(assign)
