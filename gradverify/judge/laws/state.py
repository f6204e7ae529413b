"""Laws of state: one call of a function, and what it returned, is nothing to the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...frameworks.base import Observation
from ...frameworks.tape import Tape
from ...namespaces.dtypes import FORMATS, is_float
from ...trace.value import HandWrittenFunction
from .autograd import autograd_law, find_overwritten, record
from .registry import Trial

OTHER = 0.75
"""The other call's values are so many times the given ones: of the same signs, and next to them."""


@autograd_law
def _independence(t: Trial) -> str:
    """What a call returned, values and gradients, is the same after another call at other values; so is a gradient whose
    backward pass comes after that other call's forward pass. (torch.autograd.Function: state belongs on ctx.)"""
    if isinstance(t.function, HandWrittenFunction):
        return find_overwritten(t, t.function)
    tape = t.subject.tape()
    other = {n: v * v.dtype.type(OTHER) if is_float(v) else v for n, v in t.case.values.items()}
    changed = _find_changed(t, tape, other)
    if changed:
        return f"{', '.join(changed)} of one call changed during the next one"
    broken = _differs_interleaved(t, tape, other)
    return broken and f"with another call between forward and backward pass {broken}"


def _find_changed(t: Trial, tape: Tape, other: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the first call's results that two more calls, at `other`, change.

    Of two buffers that take turns, the third call writes to the first one's.
    """
    outputs, gradients = _pull(t, tape, t.case.values)
    kept = {**outputs, **gradients}
    were = {n: tape.array(x) for n, x in kept.items()}
    twice = tuple(g * g.dtype.type(-2.0) for g in t.case.cotangent)
    for _ in range(2):
        _pull(replace(t, case=replace(t.case, cotangent=twice)), tape, other)
    return [n for n, x in kept.items() if not np.array_equal(tape.array(x), were[n], equal_nan=True)]


def _pull(t: Trial, tape: Tape, values: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and gradients of one call, as the framework's own tensors. Raises Unsupported where it raises."""
    leaves = tape.leaves(values, t.case.wrt)
    try:
        outputs = tape.run(t.function, leaves)
        roots, cotangents = tape.roots(outputs, t.case.cotangent)
        if not roots:
            raise Unsupported("no output depends on an input that requires grad")
        wanted = {n: x for n, x in leaves.items() if x.requires_grad}
        found = tape.module.autograd.grad(roots, list(wanted.values()), cotangents, allow_unused=True)
    except Unsupported:
        raise
    except JUDGED as e:
        raise Unsupported(f"another call raised {type(e).__name__}") from e
    detached = {f"out{i}": o.detach() for i, o in enumerate(outputs)}
    return detached, {f"d{n}": g for n, g in zip(wanted, found) if g is not None}


def _differs_interleaved(t: Trial, tape: Tape, other: Mapping[str, np.ndarray]) -> str:
    """Where a gradient differs whose backward pass comes after a forward pass at `other`."""
    leaves = tape.leaves(t.case.values, t.case.wrt)
    roots, cotangents = record(t, tape, leaves)
    try:
        between = tape.run(t.function, tape.leaves(other, t.case.wrt))
        tape.module.autograd.backward(roots, cotangents)
    except JUDGED as e:
        raise Unsupported(f"another call raised {type(e).__name__}") from e
    del between  # alive until here, as a step over several batches has it
    return t.differs(Observation(gradients=tape.grads(leaves, t.case.wrt)))


@autograd_law
def _second_graph(t: Trial) -> str:
    """A second recorded backward pass over one graph has the derivatives that the first one has.

    Recorded: by torch.autograd.grad with create_graph. Where the first has no derivatives nothing is asked."""
    if isinstance(t.function, HandWrittenFunction):
        return ""
    tape = t.subject.tape()
    leaves = tape.leaves(t.case.values, t.case.wrt)
    roots, cotangents = record(t, tape, leaves)
    inputs = [x for x in leaves.values() if x.requires_grad]

    def pull() -> list[Any]:
        found = tape.module.autograd.grad(roots, inputs, cotangents, create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    def derive(gradients: list[Any]) -> list[np.ndarray | None]:
        tracked = [g for g in gradients if g.requires_grad]
        if not tracked:
            return [None for _ in inputs]
        found = tape.module.autograd.grad(
            tracked, inputs, [g.detach() for g in tracked], retain_graph=True, allow_unused=True
        )
        return [None if d is None else tape.array(d) for d in found]

    try:
        first = pull()
        want = derive(first)
    except JUDGED:  # a backward pass need not be differentiable
        return ""
    try:
        got = derive(pull())
    except JUDGED as e:
        return f"the second raised {type(e).__name__}: {e}"
    for a, b in zip(want, got):
        if a is None or not a.any():
            continue
        # The same operations on the same numbers: what differs in half the digits has another history.
        half = np.sqrt(FORMATS[t.case.dtype].roundoff) * np.abs(a).max()
        if b is None or not (np.isclose(a, b, rtol=0.0, atol=half, equal_nan=True)).all():
            return "the derivative of the second is another than that of the first"
    return ""
