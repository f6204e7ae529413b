"""Judging a function without a definition: its gradient, or its JVP, against slopes of its own forward (`slopes`)."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from ..core.errors import Unsupported
from ..core.verdict import FailKind, Outcome, Reason, Verdict
from ..judge.named import reason_of_refusal
from ..namespaces.dtypes import FORMATS, rounded
from .black_box import ROUNDINGS, Opaque, length_scales, random_direction
from .calls import LOOK, USED_UP, OutOfCalls
from .slopes import DIRECTIONS, Found, Search, may_be_infinite, open_, slope_of_entry
from .symmetric import NOTE, is_symmetric, triangles_read


def judge_opaque(
    name: str,
    black_box: Opaque,
    reasons: tuple[str, ...],
    *,
    seed: int = 0,
    elsewhere: bool = False,
    naming: bool = True,
) -> Verdict:
    """PASS with its power, FAIL with the worst entry or direction, or INCONCLUSIVE where the slopes have no bound.

    `reasons` say why there is no definition; they become notes. `elsewhere` says that the point is not the one that the
    caller gave, `naming` whether the worst entry of a FAIL is looked for.
    """
    start = time.perf_counter()
    try:
        found = _judge(black_box, seed, elsewhere=elsewhere, naming=naming)
    except OutOfCalls:
        found = open_(Reason.ORACLE, USED_UP.format(black_box.calls.most))
    notes = (*reasons, "there is no definition to evaluate: the gradient was held against differences of the function")
    return Verdict(
        outcome=found.outcome, case=name, subject=black_box.subject.name, dtype=black_box.dtype, kind=found.kind,
        reason=found.reason, message=found.message, comparisons=found.comparisons, notes=notes,
        seconds=time.perf_counter() - start, facts=found.facts,
    )  # fmt: skip


def judge_opaque_jvp(
    name: str, black_box: Opaque, reasons: tuple[str, ...], *, seed: int = 0, elsewhere: bool = False
) -> Verdict:
    """As `judge_opaque`, of the JVP: ⟨w, J·v⟩ against the slope of ⟨w, f⟩ along v, for random v and w.

    `w` is drawn anew for every direction, so that of several wrong outputs none hides another in all of them. Raises
    what the framework raises.
    """
    start, b = time.perf_counter(), black_box
    rng = np.random.default_rng([seed, 8])
    resolved, outcome, message = False, Outcome.PASS, ""
    kind: FailKind | None = None
    reason: Reason | None = None
    looks = 0
    for k in range(DIRECTIONS):
        if k and (b.calls.left < LOOK or elsewhere):
            break
        u = {n: length_scales(b.values[n]) * rng.choice([-1.0, 1.0], np.shape(b.values[n])) * rng.uniform(0.5, 1.0)
             for n in b.wrt}  # fmt: skip
        tangents = {n: rounded(t, b.dtype) for n, t in u.items()}
        outs, jvps = b.subject.run_jvp(b.function, b.values, tangents, False)
        if [(p.shape, p.dtype) for p in jvps] != [(np.shape(o), np.asarray(o).dtype) for o in outs]:
            got = ", ".join(f"{p.dtype}{list(p.shape)}" for p in jvps)
            outcome, kind, message = Outcome.FAIL, FailKind.STRUCTURE, f"tangents are {got}, unlike the outputs"
            break
        w = tuple(
            np.asarray(rng.choice([-1.0, 1.0], o.shape) * rng.uniform(0.5, 1.0, o.shape), dtype=o.dtype)
            for o in map(np.asarray, outs)
        )
        try:
            measured = b.weighted(w).slope({n: np.asarray(t, dtype=np.float64) for n, t in tangents.items()})
        except OutOfCalls:
            message = USED_UP.format(b.calls.most)
            break
        looks += 1
        if not np.isfinite(measured.bound):
            continue
        terms = [np.asarray(p, dtype=np.float64) * g for p, g in zip(jvps, w)]
        predicted = sum(float(np.sum(t)) for t in terms)
        size = sum(float(np.sum(np.abs(t))) for t in terms)
        allowed = measured.bound + b.excused * size
        error = abs(predicted - measured.value)
        stands_still = measured.steepest == 0 and size == 0
        resolved |= stands_still or allowed < 0.5 * max(abs(measured.value), size)
        if not error <= allowed:
            outcome, kind = Outcome.FAIL, FailKind.WRONG if np.isfinite(predicted) else FailKind.NON_FINITE
            message = (
                f"along random direction {k + 1} the JVP is {predicted:.10g} (summed with random weights), the function's "
                f"slope is {measured.value:.10g} ± {allowed:.2g}"
            )
            break
    if outcome is Outcome.PASS and not resolved:
        outcome, reason = Outcome.INCONCLUSIVE, Reason.ORACLE
        message = message or "no step gave a slope with a bound that decides"
    notes = (*reasons, "there is no definition to evaluate: the JVP was held against differences of the function")
    return Verdict(
        outcome=outcome, case=name, subject=b.subject.name, dtype=b.dtype, kind=kind, reason=reason, message=message,
        notes=notes, seconds=time.perf_counter() - start,
        facts={"directions": looks, "calls": b.calls.made, "most_calls": b.calls.most},
    )  # fmt: skip


def _judge(b: Opaque, seed: int, *, elsewhere: bool, naming: bool) -> Found:
    seen = b.subject.run_vjp(b.function, b.values, b.wrt, b.cotangent)
    if isinstance(seen.raised, Unsupported | NotImplementedError):
        why = f"{b.subject.name}, {seen.stage}: {type(seen.raised).__name__}: {seen.raised}"
        return open_(reason_of_refusal(seen), why)
    if seen.raised is not None:
        return _fail(FailKind.RAISED, f"it raised {type(seen.raised).__name__}: {seen.raised}")
    if not all(np.isfinite(np.asarray(o, dtype=np.float64)).all() for o in seen.outputs):
        return open_(Reason.DOMAIN, "the function has no finite value at this point")
    if changed := [label for label in seen.mutated if label not in b.updated]:
        return _fail(FailKind.LAW, f"purity is broken: {', '.join(changed)} changed")
    gradients: dict[str, np.ndarray] = {}
    for n in b.wrt:
        g = seen.gradients.get(n)
        if g is not None and (g.shape != b.values[n].shape or str(g.dtype) != b.dtype):
            what = f"d{n} is {g.dtype}{list(g.shape)}, not {b.dtype}{list(b.values[n].shape)}"
            return _fail(FailKind.STRUCTURE, what)
        gradients[n] = np.zeros(b.values[n].shape) if g is None else np.asarray(g, dtype=np.float64)
        if not np.isfinite(gradients[n]).all():
            at = [int(i) for i in np.argwhere(~np.isfinite(gradients[n]))[0]]
            if np.isfinite(b.value(b.values)):
                what = f"d{n}{at} is {gradients[n][tuple(at)]}"
                measured = slope_of_entry(b, n, tuple(at), gradients[n].shape)
                if may_be_infinite(measured):
                    why = f"{what}, and no step gave a stable slope: it may be infinite"
                    return open_(Reason.ORACLE, why)
                return _fail(FailKind.NON_FINITE, what)
    search = Search(b, gradients, elsewhere=elsewhere)
    found = search.find(seed)
    if found.kind is not FailKind.WRONG:
        return found
    try:
        excused = _by_symmetric_changes(b, gradients, seed)
    except OutOfCalls:
        why = (
            "the function reads one triangle of a matrix, and no forward calls are left to ask symmetric changes of it"
        )
        return open_(Reason.ORACLE, why)
    return excused or (search.named(found) if naming else found)


def _fail(kind: FailKind, message: str) -> Found:
    return Found(Outcome.FAIL, kind, message=message)


def judge_symmetric(name: str, black_box: Opaque, *, seed: int = 0) -> Verdict | None:
    """PASS where the gradient is right along symmetric changes of matrices that the function reads one triangle of.

    None where there is no such matrix, one of them is not symmetric, or the gradient is wrong along those changes as well.
    """
    b = black_box
    read = triangles_read(b.subject, b.function, b.values)
    if not read or not all(is_symmetric(b.values[n]) for n in read):
        return None
    found = judge_opaque(name, b.symmetrised(read), (NOTE,), seed=seed)
    return found if found.outcome is Outcome.PASS else None


def judge_even(name: str, black_box: Opaque, *, seed: int = 0) -> Verdict | None:
    """The verdict along symmetric changes of all matrices that are symmetric and not diagonal; None where there is none.

    A function of both triangles may be meant for symmetric matrices all the same. That cannot be told from its values, so
    that this says what may be meant, and not what is right.
    """
    b = black_box
    even = [n for n, x in b.values.items() if is_symmetric(x) and (np.triu(x, 1) != 0).any()]
    return judge_opaque(name, b.symmetrised(even), (NOTE,), seed=seed) if even else None


def _by_symmetric_changes(b: Opaque, gradients: Mapping[str, np.ndarray], seed: int) -> Found | None:
    """What a gradient that is wrong by entries is along symmetric changes, where the function reads one triangle.

    That is how eigh and cholesky of every framework document it. At a symmetric matrix it is right if it is right along
    those; at another one nobody can say. None where it is wrong along them too. Raises OutOfCalls.
    """
    read = triangles_read(b.subject, b.function, b.values)
    if read and all(is_symmetric(b.values[n]) for n in read):
        even = b.symmetrised(read)
        pulled = even.subject.run_vjp(even.function, even.values, even.wrt, even.cotangent).gradients
        found = Search(even, {n: np.asarray(pulled[n], dtype=np.float64) for n in gradients}).find(seed)
        if found.reason is Reason.ORACLE and not b.calls.left >= LOOK:
            raise OutOfCalls
        return replace(found, message=NOTE) if found.outcome is Outcome.PASS else None
    if not read or not _is_right_along_symmetric_changes(b, gradients, read, seed):
        return None
    name, triangle = next(iter(read.items()))
    why = (
        f"the function reads the {triangle} triangle of {name} alone, as of a symmetric matrix, and its gradient is that of "
        f"one: right along every symmetric direction, and by entries a matter of convention. Ask it at {name} + {name}ᵀ"
    )
    return open_(Reason.ORACLE, why)


def _is_right_along_symmetric_changes(
    b: Opaque, gradients: Mapping[str, np.ndarray], read: Collection[str], seed: int
) -> bool:
    rng = np.random.default_rng([seed, 9])
    for _ in range(DIRECTIONS):
        u = {
            n: (1.0 if n in read else length_scales(b.values[n])) * rng.choice([-1.0, 1.0], g.shape)
            * rng.uniform(0.5, 1.0, g.shape) for n, g in gradients.items()
        }  # fmt: skip
        u = {n: v + np.swapaxes(v, -1, -2) if n in read else v for n, v in u.items()}
        measured = b.slope(u)
        terms = [gradients[n] * u[n] for n in u]
        rounding = ROUNDINGS * FORMATS[b.dtype].roundoff * sum(float(np.sum(np.abs(t))) for t in terms)
        off = abs(sum(float(np.sum(t)) for t in terms) - measured.value)
        if not off <= measured.bound + rounding or not measured.bound < measured.steepest / 2:
            return False
    return True


def stair_of(black_box: Opaque, *, seed: int = 0) -> float:
    """The height of the step at which the function leaves its value, along random directions; 0 where it moves before."""
    rng = np.random.default_rng([seed, 17])
    height = 0.0
    for _ in range(DIRECTIONS):
        measured = black_box.slope(random_direction(black_box, rng))
        if measured.steepest:
            return 0.0
        height = max(height, measured.stair)
    return height
