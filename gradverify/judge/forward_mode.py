"""Forward mode: is the JVP of a function right, along one random direction?

The truth is one central difference of the definition along the direction v, in balls: (f(x + hv) - f(x - hv)) / 2h is
the whole of J·v, every entry of it, to tens of digits.

The budget needs a computation that rounds as a forward-mode pass does. The op table has no JVP texts, and needs none:
the VJP is linear in its cotangent, so the VJP of the VJP is the JVP (J. Townsend, "A new trick for calculating Jacobian
vector products", 2017). The VJP texts are recorded as a graph, that graph's VJP texts again, and the result, a graph
that computes J·v, is rerun with nudges like any other. It is asked for nothing but its scatter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flint import arb

from ..core.case import Case
from ..core.errors import ShapeError, Unsupported
from ..core.graph import Apply, Constant, Graph, Input
from ..core.verdict import FailKind, Reason, Status, Verdict
from ..namespaces.base import Namespace
from ..namespaces.run import forward, kink_distances, reverse
from ..ops.build import GraphBuilder, Recorder, Ref, lowered
from ..oracle.balls import BALLS
from ..oracle.estimate import Estimate, from_balls
from ..oracle.precision import working
from ..oracle.truth import LADDER, step_exponent
from ..subjects.base import places, restricted
from ..trace import FRAMEWORKS, Traced
from .budget import budget
from .callables import Question, case_of, settled
from .compare import Compared, compare
from .dtypes import FORMATS
from .reference import reference
from .variations import tangents_of

WANTED = 1e-18
"""The relative bound at which the ladder of precisions stops, as for gradients."""

Pushed = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


def answer_forward(q: Question, *, batched: bool = False) -> Verdict:
    """The verdict on the JVP of `q.fn` at its point; with `batched`, of the JVP under vmap.

    Raises BadInput and Unsupported as `callables.answer` does.
    """
    return settled(q, lambda held: _judged(q, batched, held))[0]


def _judged(q: Question, batched: bool, held: bool) -> tuple[Verdict, Traced]:
    start = time.perf_counter()
    case, traced = case_of(q, held=held)
    tangents = tangents_of(case, [q.seed, 7])

    def verdict(status: Status, message: str = "", **fields: Any) -> tuple[Verdict, Traced]:
        found = Verdict(status, f"JVP of {case.name}", traced.framework, case.dtype, message=message,
                       graph=case.graph.text(), seconds=time.perf_counter() - start, notes=traced.notes,
                        **fields)  # fmt: skip
        return found, traced

    known = {"torch": _torch, "jax": _jax, "autograd": _autograd, "mlx": _mlx}
    if traced.framework not in known or (batched and traced.framework == "autograd"):
        raise Unsupported(f"{FRAMEWORKS[traced.framework]} has no forward mode{' that is batched' * batched}")
    run = known[traced.framework]
    try:
        _, pushed = run(traced.function, case, tangents, batched)
        _, back = run(traced.function, case, {n: -2 * t for n, t in tangents.items()}, batched)
    except NotImplementedError as e:
        return verdict(Status.INCONCLUSIVE, f"no forward mode: {_first(e)}", reason=Reason.UNSUPPORTED)
    except Exception as e:
        if "custom_vjp" in str(e):  # jax.custom_vjp documents that its functions have none
            return verdict(Status.INCONCLUSIVE, f"no forward mode: {_first(e)}", reason=Reason.UNSUPPORTED)
        return verdict(Status.FAIL, f"forward mode raised {type(e).__name__}: {_first(e)}", kind=FailKind.RAISED)
    truths = differences(case, tangents)
    if truths is None:
        return verdict(Status.INCONCLUSIVE, reason=Reason.KINK)
    _, slopes = truths
    shapes = [e.shape for e in slopes]
    if [p.shape for p in pushed] != shapes or any(str(p.dtype) != case.output_dtype(i) for i, p in enumerate(pushed)):
        got = ", ".join(f"{p.dtype}{list(p.shape)}" for p in pushed)
        message = f"tangents are {got}; the outputs are {case.dtype} of {shapes}"
        return verdict(Status.FAIL, message, kind=FailKind.STRUCTURE)
    allowed, branches = _allowed(case, tangents, slopes, q.seed)
    compared = _compared(case, pushed, slopes, allowed, 1.0)
    scaled = _compared(case, back, slopes, allowed, -2.0)
    comparisons = tuple(c.comparison for c in compared)
    if any(c.failing.any() for c in compared):
        if branches:
            return verdict(Status.INCONCLUSIVE, reason=Reason.BRANCH, comparisons=comparisons)
        bad = max((c for c in compared if c.failing.any()), key=lambda c: c.comparison.share).comparison
        kind = FailKind.NON_FINITE if any(c.non_finite.any() for c in compared) else FailKind.WRONG
        return verdict(Status.FAIL, f"the JVP is wrong: {bad.worst}", kind=kind, comparisons=comparisons)
    if any(c.failing.any() for c in scaled) and not branches:
        return verdict(
            Status.FAIL, "the JVP is not linear: a tangent of -2v does not give -2 times the result", kind=FailKind.LAW
        )
    if not all(c.passing.all() for c in compared):
        return verdict(Status.INCONCLUSIVE, reason=Reason.ORACLE, comparisons=comparisons)
    return verdict(Status.PASS, comparisons=comparisons)


def _first(e: Exception) -> str:
    return (str(e).strip().splitlines() or [""])[0]


def _compared(
    case: Case, pushed: tuple[np.ndarray, ...], slopes: tuple[Estimate, ...], allowed: list[np.ndarray], factor: float
) -> list[Compared]:
    return [
        compare(f"tangent {i}" if len(pushed) > 1 else "tangent", np.asarray(got, dtype=np.float64) / factor, want, b,
                FORMATS[case.dtype])
        for i, (got, want, b) in enumerate(zip(pushed, slopes, allowed))
    ]  # fmt: skip


# ---- the truth ------------------------------------------------------------------------------------------------------


def differences(
    case: Case, tangents: Mapping[str, np.ndarray]
) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]] | None:
    """f(x) and J·v of a case, with bounds; None where the point lies on a kink or a comparison is undecidable."""
    flat = lowered(case.graph)
    floats = {n for n, k in flat.inputs.items() if flat.nodes[k].kind == "float"}
    found = None
    for bits in LADDER:
        with working(bits):
            BALLS.undecided = 0
            point = {n: BALLS.asarray(np.asarray(v, dtype=np.float64)) if n in floats else v
                     for n, v in case.values.items()}  # fmt: skip
            direction = {n: BALLS.asarray(t.astype(np.float64)) for n, t in tangents.items()}

            def at(t: arb, point: Any = point, direction: Any = direction) -> list[Any]:
                moved = {n: BALLS.add(x, BALLS.multiply(t, direction[n])) if n in direction else x
                         for n, x in point.items()}  # fmt: skip
                nodes = forward(BALLS, flat, moved, case.dtype)
                return [BALLS.asarray(nodes[o]) for o in flat.outputs]

            nodes = forward(BALLS, flat, point, case.dtype)
            distances = kink_distances(BALLS, flat, nodes, case.wrt).values()
            if any(d.contains(0) for a in distances for d in BALLS.asarray(a).ravel().tolist()):
                return None
            h = arb(2) ** -step_exponent(bits)
            wide, fine = (
                [(a - b) / (2 * k) for a, b in zip(at(k), at(-k))] for k in (h, h / 2)
            )  # D(h) - D(h/2) = 3/4·c·h² is three times what D(h/2) still errs by
            if BALLS.undecided:
                return None
            slopes = tuple(from_balls(_boxed(w, f)) for w, f in zip(wide, fine))
            values = tuple(from_balls(BALLS.asarray(nodes[o])) for o in flat.outputs)
        found = values, slopes
        with np.errstate(all="ignore"):
            if all((e.bound <= WANTED * np.abs(e.hi)).all() for e in slopes):
                break
    return found


def _boxed(wide: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """The finer difference with all that the two differ by as its radius."""
    wide, fine = np.asarray(wide, dtype=object), np.asarray(fine, dtype=object)  # of shape (): bare numbers
    out = np.empty(fine.shape, dtype=object)
    for i in np.ndindex(out.shape):
        out[i] = fine[i] + arb(0, abs(wide[i] - fine[i]).upper())
    return out


# ---- the budget -----------------------------------------------------------------------------------------------------


class _Recording(Recorder):
    """The op table's names over nodes under construction, with what VJP texts use besides."""

    pi, ln2, ln10, sqrt2 = Namespace.pi, Namespace.ln2, Namespace.ln10, Namespace.sqrt2

    def asarray(self, x: Any) -> Any:
        return x

    def sum_to(self, x: Any, shape: Any) -> Any:
        return Namespace.sum_to(self, x, shape)  # type: ignore[arg-type]

    def zeros(self, shape: Any, like: Any = None) -> Any:
        return self.full(shape, 0.0)

    def ones(self, shape: Any, like: Any = None) -> Any:
        return self.full(shape, 1.0)

    def zeros_like(self, x: Any) -> Any:
        return self.full(self.shape(x), 0.0)

    def ones_like(self, x: Any) -> Any:
        return self.full(self.shape(x), 1.0)

    def full_like(self, x: Any, value: Any) -> Any:
        return self.full(self.shape(x), float(value))

    def full(self, shape: Any, value: float) -> Any:
        return self.call("broadcast_to", Ref(self.builder, self.builder.constant(value)), shape=tuple(shape))

    def eye(self, n: int, like: Any = None) -> Any:
        rows = tuple(tuple(float(i == j) for j in range(n)) for i in range(n))
        return Ref(self.builder, self.builder.constant(rows))


def pushforward(graph: Graph, wrt: tuple[str, ...]) -> Graph:
    """A graph of the same inputs and of a tangent `x'` for every x in `wrt`; its outputs are J·v.

    Raises Unsupported where the VJP texts of an op cannot be recorded, or not twice.
    """
    try:
        backward, cotangents = _pulled(lowered(graph), wrt, "{}*", lambda k: k)
        flat = lowered(backward)
        forward_graph, _ = _pulled(flat, cotangents, "{}'", lambda k: wrt[k])
    except (AttributeError, TypeError, ShapeError, KeyError) as e:
        raise Unsupported(f"forward mode: the rule of an op cannot be recorded ({type(e).__name__}: {e})") from e
    # J·v does not depend on the cotangents that it was derived through.
    kept = forward_graph.pruned()
    used = {n.name for k, n in enumerate(kept.nodes) if isinstance(n, Input) and k in kept.active}
    assert not used & set(cotangents), "a VJP text is not linear in its cotangent"
    return kept


def _pulled(
    graph: Graph, wrt: tuple[str, ...], pattern: str, label: Callable[[int], Any]
) -> tuple[Graph, tuple[str, ...]]:
    """The VJP of `graph` as a graph: its inputs and one more for each output's cotangent; the names of these."""
    builder = GraphBuilder()
    xp = _Recording(builder)
    values: list[Any] = []
    for node in graph.nodes:
        if isinstance(node, Input):
            values.append(Ref(builder, builder.input(node.name, node.shape, node.kind)))
        elif isinstance(node, Constant):
            values.append(Ref(builder, builder.constant(node.value, node.kind)))
        else:
            assert isinstance(node, Apply)
            args = [values[a].index for a in node.args]
            values.append(Ref(builder, builder.apply(node.op, *args, **dict(node.params))))
    names = tuple(pattern.format(label(k)) for k in range(len(graph.outputs)))
    cotangents = [Ref(builder, builder.input(n, graph.nodes[o].shape)) for n, o in zip(names, graph.outputs)]
    adjoint = reverse(xp, graph, values, cotangents, wrt)
    outs = []
    for n in wrt:
        k = graph.inputs[n]
        outs.append((adjoint[k] if k in adjoint else xp.full(graph.nodes[k].shape, 0.0)).index)
    return builder.graph(*outs), names


def _allowed(
    case: Case, tangents: Mapping[str, np.ndarray], slopes: tuple[Estimate, ...], seed: int
) -> tuple[list[np.ndarray], bool]:
    """The budget of every entry of J·v, and whether rounding may take another branch of the definition."""
    graph = pushforward(case.graph, case.wrt)
    values = {**case.values, **{f"{n}'": t for n, t in tangents.items()}}
    values = {n: values[n] if n in values else np.zeros(graph.nodes[k].shape) for n, k in graph.inputs.items()}
    cotangents = tuple(np.zeros(e.shape) for e in slopes)  # there is no reverse pass, so they are not looked at
    found = budget(graph, values, cotangents, (), case.dtype, tuple(e.hi for e in slopes), {}, seed=seed)
    return [a.budget for a in found.outputs], found.branches or reference(case, seed=seed).budget.branches


# ---- the frameworks -------------------------------------------------------------------------------------------------


def _torch(function: Any, case: Case, tangents: Mapping[str, np.ndarray], batched: bool) -> Pushed:
    import torch
    from torch.autograd import forward_ad

    from ..subjects.torch import from_numpy, to_numpy

    def pushed(*along: Any) -> Any:
        given = dict(zip(tangents, along))
        with forward_ad.dual_level():
            inputs = [forward_ad.make_dual(p, given[n]) if n in given else p for n, p in primals.items()]
            pairs = [forward_ad.unpack_dual(o) for o in function(*inputs)]
            outs = tuple(p.primal for p in pairs)
            return outs, tuple(torch.zeros_like(p.primal) if p.tangent is None else p.tangent for p in pairs)

    primals = {n: from_numpy(v) for n, v in case.values.items()}
    of_wrt = restricted(function, list(primals.values()), places(case.values, tangents))
    along = [from_numpy(t) for t in tangents.values()]
    if batched:
        outs, _ = pushed(*along)
        push = lambda *a: torch.func.jvp(of_wrt, tuple(primals[n] for n in tangents), a)[1]
        many = [torch.stack([t, -t, 2 * t]) for t in along]
        result = tuple(r[0] for r in torch.func.vmap(push, randomness="same")(*many))
    else:
        try:
            outs, result = pushed(*along)
        except RuntimeError as e:
            if "Nested forward mode" not in str(e):
                raise
            # The function is a JVP itself: levels of torch.func nest, those of forward_ad do not.
            outs, result = torch.func.jvp(of_wrt, tuple(primals[n] for n in tangents), tuple(along))[:2]
    return tuple(map(to_numpy, outs)), tuple(map(to_numpy, result))


def _jax(function: Any, case: Case, tangents: Mapping[str, np.ndarray], batched: bool) -> Pushed:
    import jax

    with jax.enable_x64(True):
        primals, active = [jax.device_put(np.array(v)) for v in case.values.values()], places(case.values, tangents)
        of_wrt, at = restricted(function, primals, active), [primals[k] for k in active]
        push = lambda *along: jax.jvp(of_wrt, at, list(along))
        along = [jax.device_put(np.array(t)) for t in tangents.values()]
        outs, result = push(*along)
        if batched:
            many = [jax.numpy.stack([t, -t, 2 * t]) for t in along]
            result = [r[0] for r in jax.vmap(lambda *a: push(*a)[1])(*many)]
        return tuple(np.array(o) for o in outs), tuple(np.array(r) for r in result)


def _autograd(function: Any, case: Case, tangents: Mapping[str, np.ndarray], batched: bool) -> Pushed:
    from autograd import make_jvp
    from autograd.builtins import tuple as boxed

    primals, active = [np.array(v) for v in case.values.values()], places(case.values, tangents)
    of_wrt, at = restricted(function, primals, active), tuple(primals[k] for k in active)
    push = make_jvp(lambda given: boxed(tuple(of_wrt(*given))))(at)
    outs, result = push(tuple(np.array(t) for t in tangents.values()))
    return tuple(np.array(o) for o in outs), tuple(np.array(r) for r in result)


def _mlx(function: Any, case: Case, tangents: Mapping[str, np.ndarray], batched: bool) -> Pushed:
    import mlx.core as mx

    from ..trace.mlx import made, value

    with mx.stream(mx.cpu):
        primals, active = [made(np.array(v)) for v in case.values.values()], places(case.values, tangents)
        of_wrt, at = restricted(function, primals, active), [primals[k] for k in active]
        along = [made(np.array(t)) for t in tangents.values()]
        outs, result = mx.jvp(of_wrt, at, along)
        if batched:
            many = [mx.stack([t, -t, 2 * t]) for t in along]
            result = [r[0] for r in mx.vmap(lambda *a: tuple(mx.jvp(of_wrt, at, list(a))[1]))(*many)]
        return tuple(value(o) for o in outs), tuple(value(r) for r in result)
