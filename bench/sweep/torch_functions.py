"""PyTorch's differentiable functions, and the points at which they are swept. How to read it: `points.at`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .points import Judgement, Point, alike, at

NAMES: dict[str, Any] = {"torch": torch, "F": F}


def array(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(a))


def versions() -> str:
    return f"torch {torch.__version__}"


POINTS: tuple[Point, ...] = (
    *alike(
        "sin cos",
        ("0-d", "x = scalar(.7)"),
        ("empty", "x = zeros(0)"),
        ordinary="x = real(5)", prefix="torch.",
    ),
    *at("torch.tanh", "x = real(5)", ("saturated", "x = given(-20., 9., 20.)")),
)  # fmt: skip

JUDGEMENTS: tuple[Judgement, ...] = (
    Judgement(
        ("torch.tanh",), "loses precision", "1 - out² cancels where tanh saturates.",
        "x = torch.tensor(6.0, requires_grad=True)\ntorch.tanh(x).backward()\nx.grad", "sech(6) ** 2",
    ),
)  # fmt: skip
