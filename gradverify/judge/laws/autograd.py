"""Laws of autograd on a case's own graph: the names of `invariants: [accumulation, detach, …]` in a spec file.

`vjp` holds the laws that any VJP keeps. These are about the tape beneath it: accumulation, freeing, cutting. `derivatives`
(forward mode, second order), `platforms` (dtypes, devices) and `batches` hold the others. A subject that lacks the ability
that a law is about raises Unsupported, with the reason; the judge then says so and claims nothing.

Comparisons of gradients are in budgets of the case, as everywhere: two right answers are each within one of the truth.
"""

from __future__ import annotations

import gc
import inspect
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.errors import Unsupported
from ...frameworks.base import Observation
from ...frameworks.tape import Tape
from ...namespaces.dtypes import to_float64
from ...trace.value import HandWrittenFunction
from ..reference import reference
from .registry import CaseLaw, Trial, register_law
from .uninitialised import poison_memory

AUTOGRAD_LAWS: dict[str, CaseLaw] = {}


def autograd_law(check: Callable[[Trial], str]) -> Callable[[Trial], str]:
    """Declare a law: its name is that of the function, its doc the docstring."""
    name = check.__name__.strip("_")
    AUTOGRAD_LAWS[name] = register_law(CaseLaw(name, " ".join((inspect.getdoc(check) or "").split()), check))
    return check


def record(t: Trial, tape: Tape, leaves: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The roots of a fresh recording, and their cotangents. Raises Unsupported where nothing is recorded."""
    roots, cotangents = tape.roots(tape.run(t.function, leaves), t.case.cotangent)
    if not roots:
        raise Unsupported("no output depends on an input that requires grad")
    return roots, cotangents


def _leaf_gradients(t: Trial, tape: Tape, leaves: Mapping[str, Any]) -> Observation:
    return Observation(gradients=tape.grads(leaves, t.case.wrt))


@autograd_law
def _accumulation(t: Trial) -> str:
    """A second backward adds to .grad, in the same buffer, and an input in two slots gets the sum of both slots'
    gradients. (torch.Tensor.backward: "accumulates gradients in the leaves".)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    buffers: dict[str, Any] = {}
    for _ in range(2):
        roots, cotangents = record(t, tape, leaves)
        tape.module.autograd.backward(roots, cotangents)
        buffers = buffers or {n: leaves[n].grad for n in t.case.wrt}
    for n, first in buffers.items():
        if first is not None and not np.array_equal(tape.array(first), tape.array(leaves[n].grad), equal_nan=True):
            return f"the second backward replaced the buffer of {n}.grad"
    # Two answers of a budget each, and the rounding of their sum, which is at most u|2g|: less than a third.
    return t.differs(_leaf_gradients(t, tape, leaves), 2.0, 3.0) or _two_slots(t, tape)


def _two_slots(t: Trial, tape: Tape) -> str:
    pairs = [(a, b) for i, a in enumerate(t.case.wrt) for b in t.case.wrt[i + 1 :]
             if np.shape(t.case.values[a]) == np.shape(t.case.values[b])]  # fmt: skip
    if not pairs:
        return ""
    a, b = pairs[0]
    case = replace(t.case, values={**t.case.values, b: t.case.values[a]})
    there = t.ask(values=case.values)
    da, db = there.gradients.get(a), there.gradients.get(b)
    if there.raised is not None or da is None or db is None:
        return ""
    try:
        budgets = reference(case).budget.gradients
    except Unsupported:
        return ""
    leaves = tape.leaves(case.values, case.wrt)
    leaves[b] = leaves[a]
    roots, cotangents = record(t, tape, leaves)
    tape.module.autograd.backward(roots, cotangents)
    want, allowed = to_float64(da) + to_float64(db), 3.0 * (budgets[a] + budgets[b])
    got = tape.grads(leaves, (a,))[a]
    return first_difference(f"d{a}, the same tensor as {b}", want, None if got is None else to_float64(got), allowed)


def first_difference(what: str, want: np.ndarray, got: np.ndarray | None, allowed: np.ndarray) -> str:
    """The first entry that is further off than allowed, as text; "" if none is.

    Entries without a finite allowance are skipped.
    """
    if got is None:
        return f"{what} is None"
    if want.shape != got.shape:
        return f"{what} has shape {got.shape}, and not {want.shape}"
    with np.errstate(all="ignore"):
        off = np.isfinite(allowed) & ~(
            (want == got) | (np.isnan(want) & np.isnan(got)) | (np.abs(want - got) <= allowed)
        )
    if not off.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(off)[0])
    return f"{what}{list(at) if at else ''} is {float(got[at])!r} where {float(want[at])!r} was expected"


@autograd_law
def _aliasing(t: Trial) -> str:
    """What a second backward adds to one .grad changes no other, and writes over nothing that the first one left. (PyTorch
    keeps a view that a backward pass returns as .grad, without a copy.)"""
    # AccumulateGrad (torch/csrc/autograd/functions/accumulate_grad.h) steals a gradient that nobody else refers to, and a
    # view is a tensor of its own (pytorch/pytorch#34082). Views that PyTorch's own ops return collide as well: no fault of
    # a custom Function's.
    if isinstance(t.function, HandWrittenFunction):
        return find_overwritten(t, t.function)
    tape = t.subject.tape()

    def twice(mended: bool) -> tuple[str, bool]:
        leaves, custom = tape.leaves(t.case.values, t.case.wrt), False
        for factor in (1.0, -2.0):
            scaled = replace(t.case, cotangent=tuple(g * g.dtype.type(factor) for g in t.case.cotangent))
            roots, cotangents = record(replace(t, case=scaled), tape, leaves)
            for node in t.subject.custom_nodes(roots):
                custom = True
                if mended:
                    node.register_hook(_copy_each)
            tape.module.autograd.backward(roots, cotangents)
        # A budget and two, the first answer's own, and less than one for the rounding of the sum.
        return t.differs(_leaf_gradients(t, tape, leaves), -1.0, 5.0), custom

    broken, custom = twice(mended=False)
    if broken and custom and twice(mended=True)[0]:
        t.notes.append(
            f"{t.subject.title}'s own ops leave .grad of several inputs in one memory: a second backward adds up wrong"
        )
        return ""
    return broken and f"after backward for g and for -2g {broken}"


def find_overwritten(t: Trial, function: HandWrittenFunction) -> str:
    """The gradients of one call that the next call overwrites, as text; for a backward pass by hand.

    That happens where all calls share one workspace.
    """
    put = t.subject.put

    def run_vjp(factor: float) -> dict[str, Any]:
        _, back = function.pull(*(put(v) for v in t.case.values.values()))
        found = back(tuple(put(g * g.dtype.type(factor)) for g in t.case.cotangent))
        return {n: found[n] for n in t.case.wrt if found[n] is not None}

    with np.errstate(all="ignore"):
        first = run_vjp(1.0)
        were = {n: np.array(g) for n, g in first.items()}
        run_vjp(-2.0)
    changed = [f"d{n}" for n, g in first.items() if not np.array_equal(np.asarray(g), were[n], equal_nan=True)]
    return f"{', '.join(changed)} of one call changed during the next one" if changed else ""


def _copy_each(returned: Sequence[Any], _: Sequence[Any]) -> tuple[Any, ...]:
    """Copies of the gradients that a node returns.

    One that is returned twice stays one: PyTorch notices that itself, and copies.
    """
    copies = {id(g): g if g is None else g.clone() for g in returned}
    return tuple(copies[id(g)] for g in returned)


@autograd_law
def _leaf_only(t: Trial) -> str:
    """After backward the leaves have .grad, and nothing in between has. (torch.Tensor.is_leaf.)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    middle = {n: x.clone() if n in t.case.wrt else x for n, x in leaves.items()}
    roots, cotangents = record(t, tape, middle)
    tape.module.autograd.backward(roots, cotangents)
    for n in t.case.wrt:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is no leaf, which is why it is asked
            kept = middle[n].grad is not None
        if kept:
            return f"the copy of {n} that the function was given is no leaf, and has a .grad"
    return t.differs(_leaf_gradients(t, tape, leaves))


@autograd_law
def _detach(t: Trial) -> str:
    """A detached input gets no gradient, though it is one and the same value; the others get theirs, unchanged. Target
    networks and stopped gradients stand on it. (torch.Tensor.detach.)"""
    return _cut(t, lambda leaf: leaf.detach())


@autograd_law
def _frozen(t: Trial) -> str:
    """A frozen input (requires_grad off) gets no gradient, and the others get theirs, unchanged. (PyTorch, Autograd
    mechanics, "Setting requires_grad".)"""
    return _cut(t, lambda leaf: leaf.requires_grad_(False))


def _cut(t: Trial, cut: Callable[[Any], Any]) -> str:
    tape = t.subject.tape()
    for n in t.case.wrt:
        leaves = tape.leaves(t.case.values, t.case.wrt)
        given = {m: cut(x) if m == n else x for m, x in leaves.items()}
        outputs = tape.run(t.function, given)
        if t.has_other_values(Observation(outputs=tuple(tape.array(o.detach()) for o in outputs))):
            return f"with {n} cut off, the function has another value"
        roots, cotangents = tape.roots(outputs, t.case.cotangent)
        if roots:
            tape.module.autograd.backward(roots, cotangents)
        if leaves[n].grad is not None or given[n].grad is not None:
            return f"{n} was cut off, and has a gradient"
        rest = [m for m in t.case.wrt if m != n and t.first.gradients.get(m) is not None]
        found = tape.grads(leaves, rest)
        broken = _restrict(t, rest).differs(Observation(gradients=found))
        # Without a root left, the others reach no output: their gradient of zeros may be None.
        if broken and not all(found[m] is None and not np.any(t.first.gradients[m]) for m in rest):
            return f"with {n} cut off, {broken}"
    return ""


def _restrict(t: Trial, names: Sequence[str]) -> Trial:
    return replace(t, case=replace(t.case, wrt=tuple(names)))


@autograd_law
def _no_grad(t: Trial) -> str:
    """Within no_grad the function has the same value and nothing is recorded. (torch.no_grad.)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    with tape.module.no_grad():
        outputs = tape.run(t.function, leaves)
    if any(o.requires_grad and not any(o is x for x in leaves.values()) for o in outputs):
        return "an output that was computed within no_grad requires grad"
    if t.has_other_values(Observation(outputs=tuple(tape.array(o.detach()) for o in outputs))):
        return "within no_grad the function has another value"
    return ""


@autograd_law
def _retain_graph(t: Trial) -> str:
    """With retain_graph=True a second walk over the graph gives the same bits again; without, it is an error, or, where
    nothing was saved, the same again: never another gradient. (torch.autograd.backward.)"""
    tape = t.subject.tape()

    def pull(roots: Any, leaves: Any, retain: bool) -> Observation:
        found = tape.module.autograd.grad(
            roots[0], [leaves[n] for n in t.case.wrt], roots[1], retain_graph=retain, allow_unused=True
        )
        return Observation(gradients={n: None if g is None else tape.array(g) for n, g in zip(t.case.wrt, found)})

    leaves = tape.leaves(t.case.values, t.case.wrt)
    roots = record(t, tape, leaves)
    once, again = pull(roots, leaves, True), pull(roots, leaves, False)
    for what, seen, slack in (("retained", again, 0.0), ("freed", None, 2.0)):
        if seen is None:
            try:
                seen = pull(roots, leaves, False)
            except RuntimeError:
                return ""
        broken = replace(t, first=once).differs(seen, slack=slack)
        if broken:
            return f"a second backward over a {what} graph: {broken}"
    return ""


@autograd_law
def _create_graph(t: Trial) -> str:
    """The gradient is the same with create_graph=True, where the backward pass is itself recorded. (torch.autograd.grad.)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    roots, cotangents = record(t, tape, leaves)
    found = tape.module.autograd.grad(
        roots, [leaves[n] for n in t.case.wrt], cotangents, create_graph=True, allow_unused=True
    )
    given = {n: None if g is None else tape.array(g.detach()) for n, g in zip(t.case.wrt, found)}
    return t.differs(Observation(gradients=given))


@autograd_law
def _hooks(t: Trial) -> str:
    """A hook on an input is called once per backward, with the gradient that .grad gets. (torch.Tensor.register_hook.)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    seen: dict[str, list[Any]] = {n: [] for n in t.case.wrt}
    for n in t.case.wrt:
        leaves[n].register_hook(lambda g, n=n: seen[n].append(None if g is None else tape.array(g)))
    roots, cotangents = record(t, tape, leaves)
    tape.module.autograd.backward(roots, cotangents)
    for n, got in tape.grads(leaves, t.case.wrt).items():
        calls = [g for g in seen[n] if g is not None]
        if got is not None and (len(calls) != 1 or not np.array_equal(calls[0], got, equal_nan=True)):
            return f"the hook of {n} was called {len(calls)} times, or with another gradient than {n}.grad"
    return ""


@autograd_law
def _released(t: Trial) -> str:
    """Nothing of a call outlives it: once outputs and gradients are dropped, so are the inputs, without a collection of
    garbage. A custom Function that puts a tensor on ctx (and not into save_for_backward) makes a cycle, and leaks.
    (PyTorch, Extending autograd, "How to use".)"""
    tape = t.subject.tape()
    was = gc.isenabled()
    gc.disable()
    try:
        leaves = tape.leaves(t.case.values, t.case.wrt)
        # Through an op each: a leaf is held by its own accumulator as well, which is no matter of the function.
        middle = {n: x * 1 if n in t.case.wrt else x for n, x in leaves.items()}
        refs = {n: weakref.ref(x) for n, x in middle.items() if n in t.case.wrt}
        roots, cotangents = record(t, tape, middle)
        tape.module.autograd.backward(roots, cotangents)
        del leaves, middle, roots, cotangents
        alive = [n for n, ref in refs.items() if ref() is not None]
    finally:
        if was:
            gc.enable()
    return f"{', '.join(alive)} outlived the call" if alive else ""


@autograd_law
def _uninitialised(t: Trial) -> str:
    """With NaN in all memory that is allocated without being written, the gradient is the same: nothing is read that
    nobody wrote. (torch.utils.deterministic.fill_uninitialized_memory.)"""
    with poison_memory(t.subject):
        return t.differs(t.ask())
