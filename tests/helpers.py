"""What several test files need: a quick check, a custom function, a case of an expression, a graph against values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradverify
from gradverify.core.case import Case
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward
from gradverify.spec.document import loads


def judge(fn: Any, *args: Any, **options: Any) -> gradverify.Verdict:
    """`gradverify.check`, quickly unless the options say otherwise."""
    return gradverify.check(fn, *args, **{"effort": "quick", **options})


def custom(run: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """A torch.autograd.Function that saves its arguments: run(*args), then backward(g, *args)."""
    import torch

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return run(*args)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(g, *ctx.saved_tensors)

    return Custom.apply


def case_of(
    expr: str, dtype: str = "complex128", inputs: str = "{z: {shape: [3], dtype: complex}}", more: str = ""
) -> Case:
    """The case of an expression; `more` is lines of YAML with further keys."""
    text = f"gradverify: 1\ncases:\n  - name: n\n    expr: {expr}\n    inputs: {inputs}\n{more}"
    return loads(text).cases[0].case(dtype)


def agrees(traced: Any, *outputs: Any, tolerance: float = 1e-13) -> None:
    """Assert that the graph's values in doubles are `outputs`, to `tolerance` of the largest entry of each.

    1e-13 is some hundred roundings, of small sums; 1e-12 some thousand.
    """
    assert traced.graph is not None
    nodes = forward(NUMPY, traced.graph, traced.values, "float64")
    assert len(outputs) == len(traced.graph.outputs)
    for o, want in zip(traced.graph.outputs, outputs):
        want = np.asarray(want.detach() if hasattr(want, "detach") else want)
        assert nodes[o].shape == want.shape
        np.testing.assert_allclose(nodes[o], want, rtol=0, atol=tolerance * np.abs(want).max(initial=1.0))
