"""Functions of one array with wrong backward passes: every formula with every mistake, by names that a script can import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

FORMULAS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Sin": (torch.sin, torch.cos),
    "Exp": (torch.exp, torch.exp),
    "Tanh": (torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
    "Sigmoid": (torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x)),
    "Log1p": (torch.log1p, lambda x: 1 / (1 + x)),
    "Atan": (torch.atan, lambda x: 1 / (1 + x * x)),
    "Cube": (lambda x: x * x * x, lambda x: 3 * x * x),
    "Silu": (lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))),
    "Rsqrt": (torch.rsqrt, lambda x: -0.5 * x**-1.5),
    "Cosh": (torch.cosh, torch.sinh),
}
"""Name -> a function, and its derivative."""

MISTAKES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "Factor": lambda g, x, d: 1.01 * g * d(x),
    "Sign": lambda g, x, d: -g * d(x),
    "Identity": lambda g, x, d: g,
    "NoCotangent": lambda g, x, d: d(x),
    "Squared": lambda g, x, d: g * g * d(x),
    "Late": lambda g, x, d: g * d(x + 0.001),
    "FirstRow": lambda g, x, d: torch.cat([g[:1] * d(x[:1]), torch.zeros_like(x[1:])]),
    "Reversed": lambda g, x, d: (g * d(x)).flip(0),
    "Narrow": lambda g, x, d: (g.half() * d(x).half()).to(x.dtype),
    "NotFinite": lambda g, x, d: g * d(x) * (x / (x - x)),
    "Nothing": lambda g, x, d: None,
    "Raising": lambda g, x, d: g @ torch.eye(7, dtype=x.dtype),
}
"""Name -> the backward pass: of the cotangent, the point and the derivative."""


def _made(formula: str, mistake: str) -> type:
    function, derivative = FORMULAS[formula]
    wrong = MISTAKES[mistake]

    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return function(x)

    def backward(ctx: Any, g: Any) -> Any:
        return wrong(g, ctx.saved_tensors[0], derivative)

    rules = {"forward": staticmethod(forward), "backward": staticmethod(backward), "__module__": __name__}
    return type(formula + mistake, (torch.autograd.Function,), rules)


ALL = {f + m: _made(f, m) for f in FORMULAS for m in MISTAKES}
globals().update(ALL)
