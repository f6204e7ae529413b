"""detach, no_grad and frozen parameters cut exactly what they should."""

from __future__ import annotations

from ..register import law
from ..session import Session

NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html"
DETACH = "https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html"
NO_GRAD = "https://docs.pytorch.org/docs/stable/generated/torch.no_grad.html"


@law(needs={"cut"}, source=DETACH)
def detach_cuts_one_path(t: Session) -> None:
    """What is detached counts as a constant, and only that: target networks and straight-through tricks stand on it."""
    (g,) = t.gradient(lambda x: x * x.detach(), 3.0)
    t.equal(g, 3.0)


@law(needs={"cut"}, source=DETACH)
def detach_keeps_the_value(t: Session) -> None:
    """A detached value is the same value."""
    (g,) = t.gradient(lambda x: x.detach() * x.detach() * x, 3.0)
    t.equal(g, 9.0)


@law(needs={"cut", "flags"}, source=DETACH)
def detached_is_a_leaf(t: Session) -> None:
    """A detached tensor requires no grad and has no history; its origin keeps both."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * 2.0
    d = y.detach()
    t.equal(d.requires_grad, False)
    t.equal(d.is_leaf, True)
    t.equal(y.requires_grad, True)


@law(needs={"cut", "inplace"}, source=DETACH)
def detach_shares_memory(t: Session) -> None:
    """detach copies nothing: an edit of the one shows in the other."""
    x = t.tensor([3.0, 1.0])
    x.detach().zero_()
    t.equal(x, [0.0, 0.0])


@law(needs={"cut", "inplace"}, source=DETACH)
def detach_in_place(t: Session) -> None:
    """detach_ makes a leaf of the tensor itself."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * 2.0
    y.detach_()
    t.equal(y.requires_grad, False)
    t.equal(y.is_leaf, True)


@law(needs={"flags"}, source="https://docs.pytorch.org/docs/stable/generated/torch.clone.html")
def clone_passes_gradients(t: Session) -> None:
    """clone copies the value and stays in the graph."""
    x = t.tensor(3.0, requires_grad=True)
    (x.clone() * x).backward()
    t.equal(x.grad, 6.0)


@law(needs={"modes"}, source=NO_GRAD)
def no_grad_records_nothing(t: Session) -> None:
    """A result computed within no_grad requires no grad, though its inputs do."""
    x = t.tensor(3.0, requires_grad=True)
    with t.no_grad():
        y = x * x
    t.equal(y.requires_grad, False)
    t.equal((x * y).requires_grad, True)


@law(needs={"modes"}, source=NO_GRAD)
def no_grad_cuts_one_path(t: Session) -> None:
    """What was computed within no_grad is a constant outside."""
    x = t.tensor(3.0, requires_grad=True)
    with t.no_grad():
        y = x * x
    (x * y).backward()
    t.equal(x.grad, 9.0)


@law(needs={"modes"}, source=NO_GRAD)
def mode_survives_an_exception(t: Session) -> None:
    """Leaving no_grad by an exception restores the mode; else one caught error ends all training, silently."""
    x = t.tensor(3.0, requires_grad=True)
    fails = t.define("def fails():\n    with torch.no_grad(): 1 / 0")
    t.raises(lambda: t.do("{0}()", fails), "ZeroDivisionError")
    t.equal((x * x).requires_grad, True)


@law(needs={"modes"}, source=NO_GRAD)
def modes_nest(t: Session) -> None:
    """enable_grad records within no_grad, and the end of each block restores what was before it."""
    x = t.tensor(3.0, requires_grad=True)
    with t.no_grad():
        with t.enable_grad():
            a = x * 2.0
        b = x * 3.0
    t.equal(a.requires_grad, True)
    t.equal(b.requires_grad, False)


@law(needs={"modes"}, source=NO_GRAD)
def mode_object_enters_twice(t: Session) -> None:
    """One no_grad object entered twice restores the outer mode at the end."""
    x, m = t.tensor(3.0, requires_grad=True), t.no_grad()
    with m, m:
        pass
    t.equal((x * x).requires_grad, True)


@law(
    needs={"modes"},
    source="https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad_mode.set_grad_enabled.html",
)
def set_grad_enabled_lasts(t: Session) -> None:
    """set_grad_enabled(False) holds until it is set again, as a statement, and until the block ends as a block."""
    x = t.tensor(3.0, requires_grad=True)
    with t.set_grad_enabled(False):
        y = x * x
    t.equal(y.requires_grad, False)
    t.equal((x * x).requires_grad, True)


@law(needs={"modes"}, source=NO_GRAD)
def leaves_require_grad_within_no_grad(t: Session) -> None:
    """no_grad is about recording: a leaf that is made within it may require grad."""
    with t.no_grad():
        x = t.tensor(3.0, requires_grad=True)
    t.equal(x.requires_grad, True)


@law(needs={"modes"}, source=NO_GRAD)
def backward_works_within_no_grad(t: Session) -> None:
    """What was recorded before can be differentiated within no_grad."""
    x = t.tensor(3.0, requires_grad=True)
    y = x * x
    with t.no_grad():
        y.backward()
    t.equal(x.grad, 6.0)


@law(needs={"flags"}, source=f"{NOTES}#setting-requires-grad")
def frozen_leaf_gets_none(t: Session) -> None:
    """A frozen parameter gets no gradient, and those before and after it get theirs."""
    x, w, v = (t.tensor(k, requires_grad=k != 5.0) for k in (2.0, 5.0, 7.0))
    ((x * w) * v).backward()
    t.equal(x.grad, 35.0)
    t.equal(w.grad, None)
    t.equal(v.grad, 10.0)


@law(needs={"flags"}, source=f"{NOTES}#setting-requires-grad")
def freezing_takes_effect_and_ends(t: Session) -> None:
    """requires_grad_(False) freezes from the next forward on, requires_grad_(True) ends it; .grad is left alone."""
    x, w = t.tensor(2.0, requires_grad=True), t.tensor(5.0, requires_grad=True)
    w.requires_grad_(False)
    (x * w).backward()
    t.equal(w.grad, None)
    w.requires_grad_(True)
    (x * w).backward()
    t.equal(w.grad, 2.0)


@law(needs={"flags"}, source=f"{NOTES}#setting-requires-grad")
def freezing_stops_recorded_graphs(t: Session) -> None:
    """A leaf that was frozen between forward and backward gets nothing from that backward; the others get theirs."""
    x, w = t.tensor(2.0, requires_grad=True), t.tensor(5.0, requires_grad=True)
    y = x * w
    w.requires_grad_(False)
    y.backward()
    t.equal(w.grad, None)
    t.equal(x.grad, 5.0)
