"""PyTorch's formulas that lose what the op table's keep, in 16 bits: known, and a formula of one's own is not."""

from __future__ import annotations

from typing import Any

import pytest

import gradverify as gv
from gradverify.core.outcome import Outcome

torch = pytest.importorskip("torch")

KNOWN: dict[str, tuple[Any, Any, str]] = {
    "logaddexp": (lambda x: torch.logaddexp(x, FAR), [-6.5, -7.25, -5.0], "float16"),
    "logaddexp2": (lambda x: torch.logaddexp2(x, FAR + 5), [-6.5, -7.25, -5.0], "float16"),
    "tile": (lambda x: x.repeat(4, 3, 1) * TIMES, [1.25, -0.75], "bfloat16"),
    "vector_norm": (lambda x: torch.linalg.vector_norm(x, 3.0) * 2.0**-14, [9.0, 0.5, -8.0, 7.0], "float16"),
}
FAR = torch.tensor([4.8125, 4.0625, 6.3125], dtype=torch.float16)
TIMES = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]] * 4, dtype=torch.bfloat16) * torch.tensor(
    [1.0, -1.0, 2.0, -2.0], dtype=torch.bfloat16
).reshape(4, 1, 1)


@pytest.mark.parametrize("op", KNOWN)
def test_what_it_loses_is_known_or_nothing(op: str) -> None:
    f, x, dtype = KNOWN[op]
    for seed in range(4):
        verdict = gv.check(f, torch.tensor(x, dtype=getattr(torch, dtype)), effort="quick", order=1, seed=seed)
        assert verdict.outcome in (Outcome.PASS, Outcome.KNOWN), verdict.text()


def test_the_known_ones_are_named() -> None:
    for op in ("logaddexp", "logaddexp2"):
        f, x, dtype = KNOWN[op]
        verdict = gv.check(f, torch.tensor(x, dtype=getattr(torch, dtype)), effort="quick", order=1)
        assert verdict.outcome is Outcome.KNOWN, (op, verdict.text())
        assert verdict.known.startswith(op)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_rule_of_ones_own_is_not_excused(dtype: str) -> None:
    class Zero(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(x, y)
            return torch.logaddexp(x, y)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            return g / (1 + (y - x + 1).exp()), g / (1 + (x - y).exp())

    x = torch.tensor([0.5, -1.0, 2.0], dtype=getattr(torch, dtype))
    assert gv.check(Zero.apply, x, x.flip(0), effort="quick", order=1).outcome is Outcome.FAIL
