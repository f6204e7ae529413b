"""A graph held against the function that it was recorded from: at its point, and at one nearby."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.graph import Graph, evaluate
from ..namespaces.dtypes import FORMATS
from ..namespaces.nudged import Noise, NudgedNamespace
from ..namespaces.numpy import NUMPY
from ..namespaces.run import constant_array, forward
from ..ops import OPS
from .value import kind_of

FEW = 1024
"""Numbers of which a search finds each in less time than a sort that remembers where they were."""


def nearby(
    values: Mapping[str, np.ndarray], moving: Sequence[str], roundoff: float, seed: int
) -> dict[str, np.ndarray]:
    """Return a point nearby: each entry of `moving` is off by about sqrt(u) of itself (of 1 for zeros).

    sqrt(u) is far above rounding and far below a step that would change a branch. Entries of equal size move alike, so
    that ties stay ties (which of equal entries a maximum takes is held). Symmetric and Hermitian matrices stay what they
    are.
    """
    rng = np.random.default_rng(seed)
    out = dict(values)
    every = [np.abs(values[n].astype(np.float64)).ravel() for n in moving]
    whole = np.concatenate([np.zeros(0), *every])
    if whole.size > FEW:
        sizes, where = np.unique(whole, return_inverse=True)
    else:
        sizes = np.unique(whole)
        where = np.searchsorted(sizes, whole)
    size = rng.uniform(0.5, 1.0, sizes.size)
    steps = size * (2.0 * rng.integers(0, 2, sizes.size) - 1.0) * roundoff**0.5
    at = 0
    for name in moving:
        x = values[name].astype(np.float64)
        step = steps[where[at : at + x.size]].reshape(x.shape)
        at += x.size
        if x.ndim >= 2 and x.shape[-1] == x.shape[-2] and x.size:
            if _symmetric(x, 64 * roundoff):
                step = np.tril(step) + np.swapaxes(np.tril(step, -1), -1, -2)
            elif _antisymmetric(x, 64 * roundoff):  # the imaginary part of a Hermitian matrix
                step = np.tril(step, -1) + np.swapaxes(np.tril(step, -1), -1, -2)
        scale = np.where((x == 0) | ~np.isfinite(x), 1.0, x)
        out[name] = np.where(np.isfinite(x), x + step * scale, x).astype(values[name].dtype)
    return out


def _symmetric(x: np.ndarray, within: float) -> bool:
    return bool(np.abs(x - np.swapaxes(x, -1, -2)).max() <= within * np.abs(x).max())


def _antisymmetric(x: np.ndarray, within: float) -> bool:
    return bool(np.abs(x + np.swapaxes(x, -1, -2)).max() <= within * np.abs(x).max())


def disagreement(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    moved: Mapping[str, np.ndarray],
    here: Sequence[np.ndarray],
    there: Sequence[np.ndarray],
    roundoff: float,
    dtype: str,
    leaves: Sequence[tuple[int, ...]] = (),
    run_at: Callable[[float], tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]] | None = None,
    escaped: bool = False,
) -> str | None:
    """Why the graph is not the function, or None: it is held against the function's own values at two points.

    What left the framework's sight (a detour over NumPy, a number read by .item()) is a constant of the graph and a
    variable of the function: at the second point they part by the first order in the step, about sqrt(u), while
    rounding makes u times the sizes, those of the inputs too (a deviation from a large mean). 8 times what the first
    point shows, or the rounding of as many terms as the graph has ops, is allowed; so is 1/1024 of the function's own
    move, lest chance cancellation cry wolf. The outputs in one of `leaves` are the parts of a complex one, whose size is
    that of the larger.

    A function that is stepwise at its own precision ((x + 1e8) - 1e8 in float32) is far from its graph in doubles. There the
    graph in the function's own dtype takes the same steps, or (1 - cos(x) near 0) it is off by less than rounding scatters
    it by, and a longer move shows that it is the function: `run_at` gives a point that is off by so much of each entry, and
    the function's values there. So does a function of which values were seen to leave (`escaped`): it has to be shown.
    """
    why = _disagreement(graph, values, moved, here, there, roundoff, dtype, leaves)
    if why is None and (not escaped or run_at is None):
        return None
    if why is not None and _is_reproduced(graph, ((values, here), (moved, there)), roundoff, dtype):
        return None
    grain = _grain(graph, values, dtype)
    if run_at is None or grain is None:
        return why
    if _disagreement(graph, values, moved, here, there, roundoff, dtype, leaves, grain):
        grain = [max(pair) for pair in zip(grain, _scatter(graph, values, here, run_at, roundoff, dtype))]
        if _disagreement(graph, values, moved, here, there, roundoff, dtype, leaves, grain):
            return why
    step = roundoff**0.5
    while not _shows(graph, values, moved, dtype, grain):
        if step >= FARTHEST:
            return why or "no move of its arguments shows above its rounding"
        step *= 16
        moved, there = run_at(step)
    return _disagreement(graph, values, moved, here, there, roundoff, dtype, leaves, grain)


def _grain(graph: Graph, values: Mapping[str, np.ndarray], dtype: str) -> list[float] | None:
    """What rounding in the dtype scatters each output by, eight times; None where that is not finite."""
    xp = NudgedNamespace(Noise(FORMATS[dtype]))
    point = _widened(values)
    exact = _run(graph, point, dtype)
    found = [0.0] * len(exact)
    with np.errstate(all="ignore"):
        for seed in range(4):
            xp.noise.restart(seed)
            nodes = forward(xp, graph, {n: xp.asarray(v) for n, v in point.items()}, dtype)
            for i, (node, e) in enumerate(zip(graph.outputs, exact)):
                off = np.abs(np.asarray(nodes[node], dtype=np.float64) - e)
                found[i] = max(found[i], 8 * float(np.max(off, initial=0.0)))
    return found if np.isfinite(found).all() else None


def _scatter(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    here: Sequence[np.ndarray],
    run_at: Callable[[float], tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]],
    roundoff: float,
    dtype: str,
) -> list[float]:
    """What the function moves each output by that its graph does not, eight times, next to the point.

    That is its own rounding, where it has larger terms than its op (a determinant by the sum of its products). What left
    the framework's sight moves it there too, by the slope times a few roundings: far less than at sqrt(u).
    """
    found = [0.0] * len(here)
    with np.errstate(all="ignore"):
        before = _run(graph, _widened(values), dtype)
        for k in range(2, 6):
            beside, there = run_at(2 * k * roundoff)
            after = _run(graph, _widened(beside), dtype)
            for i, (g0, g1, f0, f1) in enumerate(zip(before, after, here, there)):
                if g1.shape == f1.shape == f0.shape:
                    unlike = np.abs((f1.astype(np.float64) - f0) - (g1 - g0))
                    found[i] = max(found[i], 8 * float(np.max(unlike[np.isfinite(unlike)], initial=0.0)))
    return found


def _shows(
    graph: Graph, values: Mapping[str, np.ndarray], moved: Mapping[str, np.ndarray], dtype: str, grain: Sequence[float]
) -> bool:
    """Does the graph move some entry of every output by more than the grain?"""
    with np.errstate(all="ignore"):
        pairs = zip(_run(graph, _widened(values), dtype), _run(graph, _widened(moved), dtype), grain)
        return all(not a.size or np.max(np.abs(b - a)) > g for a, b, g in pairs)


def _is_reproduced(
    graph: Graph,
    points: Sequence[tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]],
    roundoff: float,
    dtype: str,
) -> bool:
    """Does the graph, run in the dtype itself, give the function's values to the rounding of its ops at all the points?

    Far less than the move between two points, about sqrt(u), by which what is no function of its graph gives itself away.
    """
    if dtype != "float32" or any(v.dtype == np.float64 for values, _ in points for v in values.values()):
        return False
    with np.errstate(all="ignore"):
        for values, wanted in points:
            nodes = _in_float32(graph, values)
            for node, want in zip(graph.outputs, wanted):
                got = np.asarray(nodes[node], dtype=np.float64)
                size = np.abs(want).max(initial=0.0)
                if got.shape != want.shape or not np.abs(got - want).max(initial=0.0) <= 16 * roundoff * size:
                    return False
    return True


def _in_float32(graph: Graph, values: Mapping[str, np.ndarray]) -> list[Any]:
    """Every node's value, each rounded to float32 where it is computed."""

    def narrow(x: Any) -> Any:
        x = np.asarray(x)
        return x.astype(np.float32) if x.dtype == np.float64 else x

    return evaluate(
        graph,
        leaf=lambda node: narrow(values[node.name]),
        constant=lambda node: narrow(constant_array(node, "float32")),
        apply=lambda node, args: narrow(OPS[node.op].define(NUMPY, *args, **dict(node.params))),
    )


FARTHEST = 64.0
"""Times a point, and not beyond: from 1e-3 to where a cosine is no 1 any more; exp of values of one is still finite."""


def farther(values: Mapping[str, np.ndarray], moving: Sequence[str], step: float, seed: int) -> dict[str, np.ndarray]:
    """Another point: near `values` for a small `step`; from 1/2 on, every entry of `moving` times 1 + step."""
    if step < 0.5:
        return nearby(values, moving, step**2, seed)
    scaled = {n: (values[n].astype(np.float64) * (1 + step)).astype(values[n].dtype) for n in moving}
    return {**values, **scaled}


def unread_but_used(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    moving: Sequence[str],
    roundoff: float,
    seed: int,
    run: Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]],
    here: Sequence[np.ndarray] | None = None,
) -> str | None:
    """Which input moves an output though the graph does not read it, or None.

    Each such input is moved by itself: moved together, arguments that are equal stay equal, and what depends on their
    difference stays where it is. Of what it does not read a function does not change a bit. `here` is what `run` gave at
    the point, if it was called.
    """
    unread = [n for n in moving if graph.inputs.get(n) not in graph.active and values[n].size]
    if not unread:
        return None
    here = run(values) if here is None else here
    if not _same(here, run(values)):
        return None
    for k, name in enumerate(unread):
        if not _same(here, run(nearby(values, [name], roundoff, seed + k + 1))):
            return f"{name} moves an output, and the recorded operations do not read it"
    return None


def read_but_ignored(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    moving: Sequence[str],
    roundoff: float,
    seed: int,
    run: Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]],
    dtype: str,
) -> list[str]:
    """The names of inputs that only the recorded call read: the function has kept (cached) what it made of them.

    Where the graph moves an entry of an output by more than its grain, a function that reads the input moves it
    by a bit at least.
    """
    here, again = run(values), run(values)
    grain = _grain(graph, values, dtype) if _same(here, again) else None
    if grain is None:
        return []
    ignored = []
    for k, name in enumerate(n for n in moving if graph.inputs.get(n) in graph.active and values[n].size):
        moved = nearby(values, [name], roundoff, seed + k + 1)
        with np.errstate(all="ignore"):
            before, after = (_run(graph, _widened(point), "float64") for point in (values, moved))
            shown = any((np.abs(b - a) > g).any() for a, b, g in zip(before, after, grain))
        if shown and _same(here, run(moved)):
            ignored.append(name)
    return ignored


def _same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b))


def _widened(point: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: v.astype(np.float64) if kind_of(v.dtype) == "float" else v for n, v in point.items()}


def _disagreement(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    moved: Mapping[str, np.ndarray],
    here: Sequence[np.ndarray],
    there: Sequence[np.ndarray],
    roundoff: float,
    dtype: str,
    leaves: Sequence[tuple[int, ...]],
    grain: Sequence[float] | None = None,
) -> str | None:
    group = {i: g for g in leaves for i in g}
    floats = [v for v in (*values.values(), *moved.values()) if kind_of(v.dtype) == "float"]
    sizes = (np.abs(v[np.isfinite(v)]).max(initial=0.0) for v in floats)
    largest = max(map(float, sizes), default=0.0)
    with np.errstate(all="ignore"):
        mine_here = _run(graph, _widened(values), dtype)
        mine_there = _run(graph, _widened(moved), dtype)
        for i, (g0, g1, f0, f1) in enumerate(zip(mine_here, mine_there, here, there)):
            if g0.shape != f0.shape:
                return f"output {i} has shape {f0.shape}, its graph {g0.shape}"
            if (np.isnan(g0) & np.isfinite(f0)).any():
                return f"output {i} has a value where its graph has none"
            fine = np.isfinite(g0) & np.isfinite(g1) & np.isfinite(f0) & np.isfinite(f1)
            if not fine.any():
                continue
            g0, g1, f0, f1 = g0[fine], g1[fine], f0[fine].astype(np.float64), f1[fine].astype(np.float64)
            beside = [np.abs(here[j])[fine].max() for j in group.get(i, ()) if here[j].shape == fine.shape]
            size = max(np.abs(f0).max(), np.abs(g0).max(), *(float(v) for v in beside if np.isfinite(v)))
            noise = np.abs(g0 - f0).max()
            rounding = roundoff * max(size, largest) * (graph.ops + 64)
            if grain is not None:
                rounding = max(rounding, grain[i])
            if noise > max(64 * roundoff**0.5 * size, rounding):
                return f"output {i} is {_worst(f0, g0)} where its graph gives {_worst(g0, f0)}"
            # A point at 0 has no size, and the one next to it has.
            rounding = max(rounding, roundoff * max(np.abs(f1).max(), np.abs(g1).max()) * (graph.ops + 64))
            allowed = max(8 * noise, rounding, np.abs(f1 - f0).max() / 1024)
            if grain is not None:
                allowed = max(2 * rounding, np.abs(f1 - f0).max() / 1024)
            if np.abs(g1 - f1).max() > allowed:
                return (
                    f"next to this point output {i} moves by {np.abs(f1 - f0).max():.3g}, the recorded operations "
                    f"by {np.abs(g1 - g0).max():.3g}"
                )
    return None


def _run(graph: Graph, values: Mapping[str, np.ndarray], dtype: str) -> list[np.ndarray]:
    """In doubles; literals are rounded to float32 or float64 alone (NumPy has no bfloat16)."""
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, graph, values, "float32" if dtype == "float32" else "float64")
    return [np.asarray(nodes[o], dtype=np.float64) for o in graph.outputs]


def _worst(a: np.ndarray, b: np.ndarray) -> float:
    return float(a[np.argmax(np.abs(a - b))])
