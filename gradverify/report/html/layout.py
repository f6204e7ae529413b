"""Where the steps of a graph stand on the page: in layers, from the inputs down, with few crossings of edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import Any

WIDTH, HEIGHT = 138, 44
"""Pixels of a box."""

ACROSS, DOWN, EDGE = 16, 34, 12
"""Pixels between boxes, between layers, and around all."""

SWEEPS = 4
"""Passes that order the steps of each layer by the mean place of their neighbours (Sugiyama's barycentres)."""

MOST_LOST = 3.0
"""Digits: a step that loses these is drawn in full colour."""


@dataclass(frozen=True)
class Box:
    """A step in its place. `shade` is 0 for no lost digit to 1."""

    x: float
    y: float
    title: str
    name: str
    below: str
    shade: float
    is_wrong: bool
    is_input: bool
    is_output: bool


@dataclass(frozen=True)
class Layout:
    """Boxes, and the edges between them as SVG paths."""

    boxes: Sequence[Box]
    edges: Sequence[str]
    width: float
    height: float
    words: str


def laid_out(drawing: Mapping[str, Any], wrong: int | None, *, gradients: bool = False) -> Layout:
    """The layout of a `drawing` of the report; with `gradients` its edges run from the outputs to the inputs."""
    steps = drawing["steps"]
    layers, routes = _ordered(steps)
    width = max(sum(_width(p) + ACROSS for p in layer) - ACROSS for layer in layers) + 2 * EDGE
    at: dict[Place, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        x = (width - sum(_width(p) + ACROSS for p in layer) + ACROSS) / 2
        for place in layer:
            at[place] = x, EDGE + depth * (HEIGHT + DOWN)
            x += _width(place) + ACROSS
    edges = [_path([at[p] for p in route], [_width(p) / 2 for p in route], gradients) for route in routes]
    boxes = [_box(step, at[k], k == wrong, k in drawing["outputs"]) for k, step in enumerate(steps)]
    height = 2 * EDGE + len(layers) * (HEIGHT + DOWN) - DOWN
    return Layout(boxes, edges, width, height, _words(steps, wrong))


Place = int | tuple[int, int, int]
"""A step, or the point where a long edge (user, argument) crosses a layer."""


def _width(place: Place) -> float:
    return WIDTH if isinstance(place, int) else 0.0


def _ordered(steps: Sequence[Mapping[str, Any]]) -> tuple[list[list[Place]], list[list[Place]]]:
    """What stands in each layer, from the top, in an order with few crossings; and the way of each edge through them."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(steps)))
    graph.add_edges_from((a, k) for k, step in enumerate(steps) for a in step["args"])
    depth = {k: d for d, layer in enumerate(nx.topological_generations(graph)) for k in layer}
    for k, step in enumerate(steps):
        if not step["args"]:  # an input stands above the first step that reads it
            depth[k] = max(min((depth[s] for s in graph.successors(k)), default=1) - 1, 0)
    layers: list[list[Place]] = [[] for _ in range(max(depth.values()) + 1)]
    for k, d in depth.items():
        layers[d].append(k)
    routes: list[list[Place]] = []
    for a, k in graph.edges:
        between: list[Place] = [(k, a, d) for d in range(depth[a] + 1, depth[k])]
        for d, point in enumerate(between, depth[a] + 1):
            layers[d].append(point)
        routes.append([a, *between, k])
    near = nx.DiGraph(pair for route in routes for pair in pairwise(route))
    near.add_nodes_from(range(len(steps)))
    for sweep in range(SWEEPS):
        neighbours = near.predecessors if sweep % 2 == 0 else near.successors
        share = {p: i / len(layer) for layer in layers for i, p in enumerate(layer)}
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            layer.sort(key=lambda p: mean(n) if (n := [share[q] for q in neighbours(p)]) else share[p])
            share |= {p: i / len(layer) for i, p in enumerate(layer)}
    return layers, routes


def _path(corners: Sequence[tuple[float, float]], half: Sequence[float], up: bool) -> str:
    """A way from the bottom of its first box to the top of its last one, or back."""
    stops = []
    for n, ((x, y), h) in enumerate(zip(corners, half)):
        stops += [(x + h, y)] if n else []
        stops += [(x + h, y + HEIGHT)] if n < len(corners) - 1 else []
    stops = stops[::-1] if up else stops
    text = "M{:.0f} {:.0f}".format(*stops[0])
    for n, ((x, y), (u, v)) in enumerate(pairwise(stops)):
        bend = (v - y) / 2
        text += f"L{u:.0f} {v:.0f}" if n % 2 else f"C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v:.0f}"
    return text


def _box(step: Mapping[str, Any], at: tuple[float, float], is_wrong: bool, is_output: bool) -> Box:
    shape = "×".join(map(str, step["shape"])) or "scalar"
    lost = float(step["lost"] or 0)
    is_input = not step["args"]
    name = step["label"] if is_input else step["call"].partition("(")[0]
    title = [step["call"] if is_input else f"{step['label']} = {step['call']}", shape]
    title += [f"at {step['site']}"] if step["site"] else []
    title += [f"loses {lost:.1f} digits"] if lost else []
    title += ["the first wrong step"] if is_wrong else []
    below = shape + (f" · −{lost:.1f} digits" if lost else "")
    return Box(
        *at,
        "; ".join(title),
        _short(name),
        _short(below, 24),
        min(lost / MOST_LOST, 1.0),
        is_wrong,
        is_input,
        is_output,
    )


def _short(text: str, most: int = 17) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _words(steps: Sequence[Mapping[str, Any]], wrong: int | None) -> str:
    """The drawing in words, for those who do not see it."""
    marked = "" if wrong is None else f" The first wrong step is {steps[wrong]['label']} = {steps[wrong]['call']}."
    return f"A graph of {len(steps)} step{'' if len(steps) == 1 else 's'}.{marked}"
