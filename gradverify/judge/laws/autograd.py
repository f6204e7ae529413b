"""Laws of autograd on a case's own graph: the names of `invariants: [accumulation, detach, …]` in a spec file.

`vjp` holds the laws that any VJP keeps. These are about the tape beneath it (accumulation, freeing, cutting), about
forward mode, second derivatives, batches, other dtypes and devices. A subject that has not what a law is about raises
Unsupported, with the reason; the judge then says so and claims nothing.

Comparisons of gradients are in budgets of the case, as everywhere: two right answers are each within one of the truth.
"""

from __future__ import annotations

import gc
import inspect
import math
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.errors import Unsupported
from ...core.graph import Graph
from ...frameworks.base import Observation
from ...frameworks.registry import find as find_subject
from ...frameworks.tape import Tape
from ...frameworks.values import several
from ...namespaces import NUMPY
from ...namespaces.dtypes import is_float, numpy_dtype, rounded, to_float64
from ...namespaces.run import forward, reverse
from ...ops.build import lowered
from ..budget import budget as budget_of
from ..draws import draw
from ..jvp import differences, jvp_budget, vjp_graph
from ..reference import reference
from .registry import CaseLaw, Trial, declare
from .uninitialised import poison_memory

AUTOGRAD_LAWS: dict[str, CaseLaw] = {}


def _law(check: Callable[[Trial], str]) -> Callable[[Trial], str]:
    """Declare a law: its name is that of the function, its doc the docstring."""
    name = check.__name__.strip("_")
    AUTOGRAD_LAWS[name] = declare(CaseLaw(name, " ".join((inspect.getdoc(check) or "").split()), check))
    return check


def _record(t: Trial, tape: Tape, leaves: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The roots of a fresh recording, and their cotangents. Raises Unsupported where nothing is recorded."""
    roots, cotangents = tape.roots(tape.run(t.function, leaves), t.case.cotangent)
    if not roots:
        raise Unsupported("no output depends on an input that requires grad")
    return roots, cotangents


def _leaf_gradients(t: Trial, tape: Tape, leaves: Mapping[str, Any]) -> Observation:
    return Observation(gradients=tape.grads(leaves, t.case.wrt))


# ---- the tape -------------------------------------------------------------------------------------------------------


@_law
def _accumulation(t: Trial) -> str:
    """A second backward adds to .grad, in the same buffer, and an input in two slots gets the sum of both slots'
    gradients. (torch.Tensor.backward: "accumulates gradients in the leaves".)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    buffers: dict[str, Any] = {}
    for _ in range(2):
        roots, cotangents = _record(t, tape, leaves)
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
    roots, cotangents = _record(t, tape, leaves)
    tape.module.autograd.backward(roots, cotangents)
    want, allowed = to_float64(da) + to_float64(db), 3.0 * (budgets[a] + budgets[b])
    got = tape.grads(leaves, (a,))[a]
    return _first_difference(f"d{a}, the same tensor as {b}", want, None if got is None else to_float64(got), allowed)


def _first_difference(what: str, want: np.ndarray, got: np.ndarray | None, allowed: np.ndarray) -> str:
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


@_law
def _aliasing(t: Trial) -> str:
    """What a second backward adds to one .grad changes no other, and writes over nothing that the first one left. (PyTorch
    keeps a view that a backward pass returns as .grad, without a copy.)"""
    # AccumulateGrad (torch/csrc/autograd/functions/accumulate_grad.h) steals a gradient that nobody else refers to, and a
    # view is a tensor of its own (pytorch/pytorch#34082). Views that PyTorch's own ops return collide as well: no fault of
    # a custom Function's.
    if hasattr(t.function, "pull"):
        return _find_overwritten(t)
    tape = t.subject.tape()

    def twice(mended: bool) -> tuple[str, bool]:
        leaves, custom = tape.leaves(t.case.values, t.case.wrt), False
        for factor in (1.0, -2.0):
            scaled = replace(t.case, cotangent=tuple(g * g.dtype.type(factor) for g in t.case.cotangent))
            roots, cotangents = _record(replace(t, case=scaled), tape, leaves)
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


def _find_overwritten(t: Trial) -> str:
    """The gradients of one call that the next call overwrites, as text; for a backward pass by hand.

    That happens where all calls share one workspace.
    """
    function, put = t.function, t.subject.put

    def pulled(factor: float) -> dict[str, Any]:
        _, back = function.pull(*(put(v) for v in t.case.values.values()))  # type: ignore[attr-defined]
        found = back(tuple(put(g * g.dtype.type(factor)) for g in t.case.cotangent))
        return {n: found[n] for n in t.case.wrt if found[n] is not None}

    with np.errstate(all="ignore"):
        first = pulled(1.0)
        were = {n: np.array(g) for n, g in first.items()}
        pulled(-2.0)
    changed = [f"d{n}" for n, g in first.items() if not np.array_equal(np.asarray(g), were[n], equal_nan=True)]
    return f"{', '.join(changed)} of one call changed during the next one" if changed else ""


def _copy_each(returned: Sequence[Any], _: Sequence[Any]) -> tuple[Any, ...]:
    """Copies of the gradients that a node returns.

    One that is returned twice stays one: PyTorch notices that itself, and copies.
    """
    copies = {id(g): g if g is None else g.clone() for g in returned}
    return tuple(copies[id(g)] for g in returned)


@_law
def _leaf_only(t: Trial) -> str:
    """After backward the leaves have .grad, and nothing in between has. (torch.Tensor.is_leaf.)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    middle = {n: x.clone() if n in t.case.wrt else x for n, x in leaves.items()}
    roots, cotangents = _record(t, tape, middle)
    tape.module.autograd.backward(roots, cotangents)
    for n in t.case.wrt:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is no leaf, which is why it is asked
            kept = middle[n].grad is not None
        if kept:
            return f"the copy of {n} that the function was given is no leaf, and has a .grad"
    return t.differs(_leaf_gradients(t, tape, leaves))


@_law
def _detach(t: Trial) -> str:
    """A detached input gets no gradient, though it is one and the same value; the others get theirs, unchanged. Target
    networks and stopped gradients stand on it. (torch.Tensor.detach.)"""
    return _cut(t, lambda leaf: leaf.detach())


@_law
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


@_law
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


@_law
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
    roots = _record(t, tape, leaves)
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


@_law
def _create_graph(t: Trial) -> str:
    """The gradient is the same with create_graph=True, where the backward pass is itself recorded. (torch.autograd.grad.)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    roots, cotangents = _record(t, tape, leaves)
    found = tape.module.autograd.grad(
        roots, [leaves[n] for n in t.case.wrt], cotangents, create_graph=True, allow_unused=True
    )
    given = {n: None if g is None else tape.array(g.detach()) for n, g in zip(t.case.wrt, found)}
    return t.differs(Observation(gradients=given))


@_law
def _hooks(t: Trial) -> str:
    """A hook on an input is called once per backward, with the gradient that .grad gets. (torch.Tensor.register_hook.)"""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    seen: dict[str, list[Any]] = {n: [] for n in t.case.wrt}
    for n in t.case.wrt:
        leaves[n].register_hook(lambda g, n=n: seen[n].append(None if g is None else tape.array(g)))
    roots, cotangents = _record(t, tape, leaves)
    tape.module.autograd.backward(roots, cotangents)
    for n, got in tape.grads(leaves, t.case.wrt).items():
        calls = [g for g in seen[n] if g is not None]
        if got is not None and (len(calls) != 1 or not np.array_equal(calls[0], got, equal_nan=True)):
            return f"the hook of {n} was called {len(calls)} times, or with another gradient than {n}.grad"
    return ""


@_law
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
        roots, cotangents = _record(t, tape, middle)
        tape.module.autograd.backward(roots, cotangents)
        del leaves, middle, roots, cotangents
        alive = [n for n, ref in refs.items() if ref() is not None]
    finally:
        if was:
            gc.enable()
    return f"{', '.join(alive)} outlived the call" if alive else ""


@_law
def _uninitialised(t: Trial) -> str:
    """With NaN in all memory that is allocated without being written, the gradient is the same: nothing is read that
    nobody wrote. (torch.utils.deterministic.fill_uninitialized_memory.)"""
    with poison_memory(t.subject):
        return t.differs(t.ask())


RANGE = "an intermediate value leaves the range of the dtype"


# ---- forward mode and second derivatives ----------------------------------------------------------------------------


@_law
def _duality(t: Trial) -> str:
    """Forward and reverse mode describe one linear map: ⟨g, J·v⟩ = ⟨Jᵀ·g, v⟩. (JAX, Autodiff cookbook.)"""
    case = t.case
    if case.dtype not in ("float32", "float64") or set(case.wrt) != {n for n, v in case.values.items() if is_float(v)}:
        raise Unsupported("forward mode is asked in float32 and float64, along all inputs")
    tangents = {n: _direction(n, case) for n in case.wrt}

    def function(*arrays: Any) -> tuple[Any, ...]:
        return several(t.function(*arrays))

    try:
        _, pushed = t.subject.run_jvp(function, case.values, tangents, False)
    except Unsupported:
        raise
    except Exception as e:
        raise Unsupported(f"no forward mode: {str(e).strip().partition(chr(10))[0]}") from e
    found = differences(case, tangents)
    if found is None:
        raise Unsupported("the point lies on a kink")
    allowed, branches = jvp_budget(case, tangents, found[1], 0)
    if branches:
        raise Unsupported("rounding may take another branch")
    reverse = [(to_float64(g), to_float64(tangents[n]), t.budget[n]) for n in case.wrt
               if (g := t.first.gradients.get(n)) is not None]  # fmt: skip
    forth = [(to_float64(p), to_float64(g), b) for p, g, b in zip(pushed, case.cotangent, allowed)]
    left, right = (math.fsum(v for x, y, _ in side for v in (x * y).ravel().tolist()) for side in (forth, reverse))
    # Each entry within its budget of the truth, times what it is multiplied by; and the products' own rounding.
    room = sum(float(np.sum(b * np.abs(y)) + np.sum(np.abs(x * y)) * 2.0**-53) for x, y, b in (*forth, *reverse))
    if not math.isfinite(room):
        raise Unsupported(RANGE)
    if abs(left - right) <= room:
        return ""
    return f"⟨g, J·v⟩ is {left!r} and ⟨Jᵀ·g, v⟩ is {right!r}; rounding excuses {room:.3g}"


def _direction(name: str, case: Case, salt: int = 0) -> np.ndarray:
    shape = np.shape(case.values[name])
    rng = np.random.default_rng([sum(name.encode()), salt, len(shape)])
    return draw(rng, shape).astype(numpy_dtype(case.dtype))


@_law
def _hessian_symmetry(t: Trial) -> str:
    """The second derivative of ⟨g, f⟩ is symmetric: u·(H·v) = v·(H·u), where the function is smooth. (H. A. Schwarz.)"""
    tape, case = t.subject.tape(), t.case
    along = [{n: _direction(n, case, salt) for n in case.wrt} for salt in (1, 2)]
    try:
        back, cotangents = vjp_graph(lowered(case.graph), case.wrt, "{}*", lambda k: k)
    except Exception as e:
        raise Unsupported(f"a rule of the op table cannot be recorded, so that there is no budget: {e}") from e
    sides, room = [], 0.0
    for v, u in (along, along[::-1]):
        leaves = tape.leaves(case.values, case.wrt)
        roots, seeds = _record(t, tape, leaves)
        first = tape.module.autograd.grad(roots, list(leaves[n] for n in case.wrt), seeds, create_graph=True,
                                          allow_unused=True)  # fmt: skip
        pairs = [(g, tape.tensor(v[n])) for n, g in zip(case.wrt, first) if g is not None and g.requires_grad]
        if not pairs:
            return ""  # linear: the Hessian is zero
        try:
            second = tape.module.autograd.grad(
                [g for g, _ in pairs], [leaves[n] for n in case.wrt], [s for _, s in pairs], allow_unused=True
            )
        except RuntimeError as e:
            raise Unsupported(f"no second derivative: {str(e).partition(chr(10))[0]}") from e
        products = {
            n: np.zeros(np.shape(case.values[n])) if h is None else to_float64(tape.array(h))
            for n, h in zip(case.wrt, second)
        }
        allowed = _second_budget(back, cotangents, case, v)
        sides.append(math.fsum(x for n in case.wrt for x in (products[n] * to_float64(u[n])).ravel().tolist()))
        room += sum(
            float(np.sum((allowed[n] + np.abs(products[n]) * 2.0**-53) * np.abs(to_float64(u[n])))) for n in case.wrt
        )
    if not math.isfinite(room):
        raise Unsupported(RANGE)
    if abs(sides[0] - sides[1]) <= room:
        return ""
    return f"u·(H·v) is {sides[0]!r} and v·(H·u) is {sides[1]!r}; rounding excuses {room:.3g}"


def _second_budget(
    back: Graph, cotangents: Sequence[str], case: Case, v: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The budget of H·v: that of the VJP of the VJP, which is recorded as a graph."""
    flat = lowered(back)
    values = {**case.values, **dict(zip(cotangents, case.cotangent))}
    values = {n: values[n] for n in back.inputs}
    given = tuple(np.asarray(v[n]) for n in case.wrt)
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, flat, {n: to_float64(x) if is_float(x) else x for n, x in values.items()}, "float64")
        adjoint = reverse(NUMPY, flat, nodes, [to_float64(g) for g in given], case.wrt)
    outputs = tuple(np.asarray(nodes[o], dtype=np.float64) for o in flat.outputs)
    products = {n: np.asarray(adjoint.get(flat.inputs[n], np.zeros(np.shape(case.values[n])))) for n in case.wrt}
    found = budget_of(replace(case, graph=back, values=values, cotangent=given, parts=()), outputs, products)
    if found.branches:
        raise Unsupported("rounding may take another branch")
    return {n: found.gradients[n] for n in case.wrt}


# ---- other dtypes, other devices ------------------------------------------------------------------------------------


@_law
def _precision(t: Trial) -> str:
    """The gradient in the case's dtype is that in float64 at the same point, as far as rounding allows (for a float64
    case: that in float32). A branch on the dtype, or a literal that is not cast, shows here."""
    case = t.case
    low = case if case.dtype != "float64" else _cast_case(case, "float32", "float32")
    high = _cast_case(low, "float64", low.dtype)
    for other in (low, high):
        if other.dtype not in t.subject.dtypes:
            raise Unsupported(f"{t.subject.name} does not compute in {other.dtype}")
    seen, allowed = [], []
    for other in (low, high):
        if case.function is None:
            function = t.subject.function(other.graph, other.dtype)
        else:
            function = t.function
        seen.append(t.subject.run_vjp(function, other.values, other.wrt, other.cotangent))
        if seen[-1].raised is not None:
            raise Unsupported(f"in {other.dtype} it raises {type(seen[-1].raised).__name__}")
        found = reference(other).budget
        if found.branches:
            raise Unsupported(f"rounding in {other.dtype} may take another branch")
        allowed.append(found.gradients)
    for n in case.wrt:
        a, b = (s.gradients.get(n) for s in seen)
        if a is None and b is None:
            continue
        if a is None or b is None:
            return f"d{n} is None in one dtype and there in the other"
        broken = _first_difference(f"d{n} in {low.dtype}", to_float64(b), to_float64(a), allowed[0][n] + allowed[1][n])
        if broken:
            return broken
    return ""


def _cast_case(case: Case, dtype: str, through: str) -> Case:
    """The case in another dtype, its values rounded to `through` first."""

    def cast(x: Any) -> Any:
        return rounded(to_float64(rounded(to_float64(x), through)), dtype) if is_float(x) else x

    values = {n: cast(v) for n, v in case.values.items()}
    return replace(case, dtype=dtype, values=values, cotangent=tuple(cast(g) for g in case.cotangent))


@_law
def _devices(t: Trial) -> str:
    """The gradient on the GPU is that on the CPU, as far as rounding allows."""
    other = find_subject(t.subject.name, "cpu" if t.subject.device != "cpu" else "cuda")
    why = other.unavailable()
    if why:
        raise Unsupported(f"no second device: {why}")
    case = t.case
    function = t.function if case.function else other.function(case.graph, case.dtype)
    return t.differs(other.run_vjp(function, case.values, case.wrt, case.cotangent))


# ---- batches --------------------------------------------------------------------------------------------------------

PROBES = 2
"""Points besides the case's own at which a definition must turn out to be batched before the law about it is asked."""

SAME = 2.0**-30
"""How far the definition's values in float64 may differ between orders of a batch, relative to their size: rounding of
sums, 2^-52 times at most some thousands of terms and of conditions, against a coincidence at random points."""


@_law
def _permutation(t: Trial) -> str:
    """Members of a batch in another order: the same gradients in that order, and the same for what they share."""
    batched, size = _find_batch(t.case, _is_permuted)
    cycle = np.random.default_rng(size).permutation(size)
    order = np.empty(size, dtype=int)
    order[cycle] = np.roll(cycle, 1)  # one cycle: every member goes elsewhere
    moved = _reorder(t.case, batched, order)
    seen = t.ask(moved.cotangent, moved.values)
    back = np.argsort(order)
    return t.differs(replace(seen, gradients={n: g if g is None or n not in batched else g[back]
                                              for n, g in seen.gradients.items()}))  # fmt: skip


@_law
def _stacking(t: Trial) -> str:
    """The gradient of a batch is the gradients of its members, asked one by one; what they share gets the sum."""
    batched, size = _find_batch(t.case, _is_stacked)
    parts = []
    for k in range(size):
        values = {n: v[k : k + 1] if n in batched else v for n, v in t.case.values.items()}
        cotangent = [g[k : k + 1] if g.ndim else g for g in t.case.cotangent]
        parts.append(t.ask(cotangent, values))
        if parts[-1].raised is not None:
            raise Unsupported(f"one member alone raises {type(parts[-1].raised).__name__}")
    for n in t.case.wrt:
        whole, pieces = t.first.gradients.get(n), [p.gradients.get(n) for p in parts]
        if whole is None or any(p is None for p in pieces):
            continue
        got = (
            np.concatenate([to_float64(p) for p in pieces])
            if n in batched
            else np.sum([to_float64(p) for p in pieces], axis=0)
        )
        # Members: a budget each. Shared: budgets of independent parts add up in squares, so that the sum of the parts'
        # is at most sqrt(size) times the whole's (Cauchy-Schwarz).
        allowed = t.budget[n] * (2.0 if n in batched else 1.0 + math.sqrt(size))
        broken = _first_difference(f"d{n}, member by member", to_float64(whole), got, allowed)
        if broken:
            return broken
    return ""


Value = Mapping[str, Any]


def _find_batch(case: Case, holds: Callable[[Case, Sequence[str], int, Value], bool]) -> tuple[tuple[str, ...], int]:
    """The inputs over whose first axis the definition is batched, and the batch size.

    They are found by trial, at the case's point and at random ones near it, since one point may be an accident. Raises
    Unsupported where there is no batch.
    """
    sizes = {n: np.shape(v)[0] for n, v in case.values.items() if np.ndim(v)}
    outs = [np.shape(g) for g in case.cotangent]
    rng = np.random.default_rng(11)
    points = [{n: to_float64(v) if is_float(v) else v for n, v in case.values.items()}]
    for _ in range(PROBES):
        points.append(
            {n: v * (1 + 0.05 * rng.standard_normal(np.shape(v))) if is_float(v) else v for n, v in points[0].items()}
        )
    for size in sorted(set(sizes.values()) - {1}, reverse=True):
        if any(s and s[0] != size for s in outs):
            continue
        names = [n for n, k in sizes.items() if k == size]
        for some in dict.fromkeys([tuple(names), tuple(names[:1]), *((n,) for n in names)]):
            if all(holds(case, some, size, point) for point in points):
                return some, size
    raise Unsupported("the graph is not batched over the first axis of any input")


def _values_of(case: Case, values: Value) -> list[np.ndarray] | None:
    """The definition's outputs in float64; None where it has no finite value, or refuses the shapes."""
    flat = lowered(case.graph)
    try:
        with np.errstate(all="ignore"):
            nodes = forward(NUMPY, flat, values, "float64")
    except Exception:
        return None
    found = [np.asarray(nodes[o], dtype=np.float64) for o in flat.outputs]
    return found if all(np.isfinite(x).all() for x in found) else None


def _close(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(
        x.shape == y.shape and np.allclose(x, y, rtol=0, atol=SAME * (np.abs(x).max() if x.size else 0.0))
        for x, y in zip(a, b)
    )


def _is_permuted(case: Case, batched: Sequence[str], size: int, values: Value) -> bool:
    order = np.roll(np.arange(size), 1)
    there = _values_of(case, values)
    moved = _values_of(case, {n: v[order] if n in batched else v for n, v in values.items()})
    return there is not None and moved is not None and _close([x[order] if x.ndim else x for x in there], moved)


def _is_stacked(case: Case, batched: Sequence[str], size: int, values: Value) -> bool:
    there = _values_of(case, values)
    parts = [_values_of(case, {n: v[k : k + 1] if n in batched else v for n, v in values.items()}) for k in range(size)]
    if there is None or any(p is None for p in parts):
        return False
    joined = [np.concatenate(p) if p[0].ndim else np.sum(p, axis=0) for p in zip(*parts)]
    return _close(there, joined)


def _reorder(case: Case, batched: Sequence[str], order: np.ndarray) -> Case:
    values = {n: np.ascontiguousarray(v[order]) if n in batched else v for n, v in case.values.items()}
    return replace(case, values=values, cotangent=tuple(g[order] if g.ndim else g for g in case.cotangent))
