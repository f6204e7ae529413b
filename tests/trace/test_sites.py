"""Each node of a trace knows its line of the user's code, in every framework, forward and backward."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradverify.core.graph import Apply, Graph
from gradverify.frameworks.recognise import trace
from gradverify.frameworks.registry import of_functions
from gradverify.ops.build import lowered
from gradverify.trace.call_site import at
from tests.helpers import custom

OPTIONS = {"seed": 0, "strict": True}


def lines(graph: Graph | None, op: str) -> list[int | None]:
    """The lines, in this file, of the nodes of an op."""
    assert graph is not None
    sites = [n.site for n in graph.nodes if isinstance(n, Apply) and n.op == op]
    assert all(s is None or s[0] == __file__ for s in sites)
    return [s and s[1] for s in sites]


def line_of(fn: Callable[..., Any], text: str) -> int:
    """The line of this file on which a function has `text`."""
    source, first = inspect.getsourcelines(fn)
    return first + next(k for k, line in enumerate(source) if text in line)


def of_torch() -> tuple[Callable[..., Any], Any]:
    torch = pytest.importorskip("torch")

    def fn(x: Any) -> Any:
        y = torch.tanh(x)
        return torch.exp(y)

    return fn, torch.tensor([0.5, 1.0], requires_grad=True)


def of_jax() -> tuple[Callable[..., Any], Any]:
    jnp = pytest.importorskip("jax.numpy")

    def fn(x: Any) -> Any:
        y = jnp.tanh(x)
        return jnp.exp(y)

    return fn, jnp.array([0.5, 1.0])


def of_numpy() -> tuple[Callable[..., Any], Any]:
    def fn(x: Any) -> Any:
        y = np.tanh(x)
        return np.exp(y)

    return fn, np.array([0.5, 1.0])


def of_autograd() -> tuple[Callable[..., Any], Any]:
    anp = pytest.importorskip("autograd.numpy")

    def fn(x: Any) -> Any:
        y = anp.tanh(x)
        return anp.exp(y)

    return fn, np.array([0.5, 1.0])


def of_engine() -> tuple[Callable[..., Any], Any]:
    import gradverify.engine as engine

    def fn(x: Any) -> Any:
        y = engine.tanh(x)
        return engine.exp(y)

    return fn, engine.tensor([0.5, 1.0], requires_grad=True)


@pytest.mark.parametrize("make", [of_torch, of_jax, of_numpy, of_autograd, of_engine])
def test_forward(make: Callable[[], Any]) -> None:
    fn, x = make()
    framework = {of_numpy: "numpy", of_autograd: "autograd"}.get(make)
    graph = trace(fn, x, options=OPTIONS | {"framework": framework}).graph
    assert lines(graph, "tanh") == [line_of(fn, "tanh")]
    assert lines(graph, "exp") == [line_of(fn, "exp")]


def test_the_lines_of_a_backward_pass_are_those_of_its_author() -> None:
    torch = pytest.importorskip("torch")

    def back(g: Any, x: Any) -> Any:
        s = torch.sin(x)
        return -g * s

    def fn(x: Any) -> Any:
        return torch.exp(custom(torch.cos, back)(x))

    subject = of_functions("torch")
    x = np.array([0.5, 1.0])
    graph = subject.trace_vjp(lambda x: (fn(x),), {"x": x}, ("x",), (np.ones(2),)).graph
    assert lines(graph, "sin") == [line_of(back, "sin")]
    assert lines(graph, "exp") == [line_of(fn, "exp")]
    assert None in lines(graph, "multiply")  # autograd's own, of exp
    assert line_of(back, "-g") in lines(graph, "multiply")


def test_what_is_made_of_a_node_has_its_line() -> None:
    torch = pytest.importorskip("torch")
    fn = lambda x: torch.nn.functional.gelu(x) + 0.5 * x
    graph = trace(fn, torch.tensor([0.5]), options=OPTIONS).graph
    assert graph is not None
    [line] = {n.site for n in graph.nodes if isinstance(n, Apply)}
    assert line == (__file__, inspect.getsourcelines(fn)[1])
    for other in (lowered(graph), graph.pruned(), pickle.loads(pickle.dumps(graph))):
        assert {n.site for n in other.nodes if isinstance(n, Apply)} == {line}


def test_graphs_that_differ_in_their_lines_are_equal() -> None:
    torch = pytest.importorskip("torch")
    graph = trace(torch.sin, torch.tensor([0.5]), options=OPTIONS).graph
    assert graph is not None
    elsewhere = Graph(
        tuple(replace(n, site=("other.py", 3)) if isinstance(n, Apply) else n for n in graph.nodes), graph.outputs
    )
    assert elsewhere == graph
    assert hash(elsewhere) == hash(graph)
    assert repr(elsewhere) == repr(graph)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/env/lib/python3.11/site-packages/torch/nn/functional.py", "torch/nn/functional.py:3"),
        ("/usr/lib/python3/dist-packages/mine.py", "mine.py:3"),
        ("/elsewhere/z.py", "/elsewhere/z.py:3"),
        ("<string>", "<string>:3"),
        ("{here}/pkg/y.py", "pkg/y.py:3"),
        ("{here}/.venv/lib/site-packages/y.py", ".venv/lib/site-packages/y.py:3"),  # a path that can be opened
    ],
)
def test_a_place_is_as_short_as_it_can_be(path: str, said: str) -> None:
    assert at(path.format(here=os.getcwd()), 3) == said
