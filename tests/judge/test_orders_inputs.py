"""The definition of a second derivative, where the function closes over arrays, and for a rectangular SVD."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.checker.compositions import judge_orders
from gradverify.checker.orders import Mode
from gradverify.checker.question import Question
from gradverify.core.verdict import Outcome
from gradverify.namespaces.numpy import NUMPY
from gradverify.namespaces.run import forward
from gradverify.trace.base import Tracer
from gradverify.trace.decompositions import singular

pytest.importorskip("autograd")

import autograd.numpy as anp

RNG = np.random.default_rng(5)
CHOSEN = [RNG.normal(size=(4, 6)) > 0 for _ in range(3)]
"""More entries than a literal of a graph has."""


@pytest.mark.parametrize("composition", [("rev", "fwd"), ("rev", "rev")])
def test_captured_arrays_are_no_arguments_of_the_second_order(composition: tuple[Mode, Mode]) -> None:
    """`np.select` passes boxes through an array of objects, so that its derivatives leave the tracer's sight."""
    x, y, z = (RNG.normal(size=(4, 6)) for _ in range(3))
    f = lambda x, y, z: anp.select(CHOSEN, [x * x, anp.sin(y), z * x], default=1.5)
    q = Question(f, (x, y, z), framework="autograd")
    found = {j.modes: j.verdict for j in judge_orders(q, 2, ("rev", "fwd"), "quick")}
    assert found[composition] is not None
    assert found[composition].outcome is Outcome.PASS


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 4, 3)])
@pytest.mark.parametrize("step", [1e-2, 1e-3])
def test_singular_vectors_converge_from_those_nearby(shape: tuple[int, ...], step: float) -> None:
    """The graph of an SVD starts from the vectors at the point, and is that of every matrix around it.

    Two Newton steps, each of which squares the distance: step^4, times what the gaps of the singular values make of it.
    """
    a = RNG.normal(size=shape)
    u, _, vt = np.linalg.svd(a, full_matrices=False)
    xp = Tracer()
    of = singular(xp, xp.input("a", a, True), u, np.swapaxes(vt, -1, -2))
    graph = xp.builder.graph(*(v.index for v in of))
    moved = a + step * RNG.uniform(-1, 1, shape)
    nodes = forward(NUMPY, graph, {**xp.values, "a": moved}, "float64")
    left, values, right = (nodes[o] for o in graph.outputs)
    sizes = np.linalg.svd(a, compute_uv=False)
    near = 16 * (step / np.abs(np.diff(sizes)).min()) ** 4 + 1e-13
    assert np.abs(left * values[..., None, :] @ np.swapaxes(right, -1, -2) - moved).max() < near
    assert np.abs(np.swapaxes(left, -1, -2) @ left - np.eye(left.shape[-1])).max() < near
    assert np.abs(values - np.linalg.svd(moved, compute_uv=False)).max() < near
