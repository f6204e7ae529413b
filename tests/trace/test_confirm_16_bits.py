"""In 16 bits a point at 0 moves by much, and its graph is confirmed there; what leaves the framework's sight is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify.frameworks.recognise import trace

torch = pytest.importorskip("torch")

RIGHT = {
    "expm1": torch.expm1,
    "tanh": torch.tanh,
    "a square": lambda x: x * x + x,
    "a product of three": lambda x: torch.sin(x) * (1 + x) * torch.exp(x),
}


def traced(fn: Any, values: list[float], dtype: str) -> Any:
    x = torch.tensor(values, dtype=getattr(torch, dtype), requires_grad=True)
    return trace(fn, x, options={"strict": False})


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-15, 0.0], [0.0, 1.0]])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_at_zero(name: str, values: list[float], dtype: str) -> None:
    assert traced(RIGHT[name], values, dtype).graph is not None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_leaves_sight_is_no_graph(dtype: str) -> None:
    def away(x: Any) -> Any:
        return x * 0 + torch.from_numpy(np.sin(x.detach().float().numpy())).to(x.dtype)

    assert traced(away, [0.0, 0.0], dtype).graph is None
