"""Functions of many kinds, most of which leave something changed; and all that a check must leave as it was.

Run as a program, it checks each of them outside of pytest.
"""

from __future__ import annotations

import copy
import os
import random
import sys
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax
import numpy as np
import torch
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import gradverify
from tests.helpers import custom

D = torch.float64


def setting(change: Callable[[], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A function that changes something in its forward pass, and one that does so in its backward pass."""

    def forward(x: Any) -> Any:
        change()
        return x.sin()

    def late(g: Any, x: Any) -> Any:
        change()
        return g * x.cos()

    return forward, custom(torch.sin, late)


CHANGES: dict[str, Callable[[], Any]] = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "grad mode": lambda: torch.set_grad_enabled(True),
    "threads": lambda: torch.set_num_threads(3),
    "deterministic": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "matmul precision": lambda: torch.set_float32_matmul_precision("high"),
    "cudnn": lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    "default device": lambda: torch.set_default_device("cpu"),
    "autocast": lambda: torch.set_autocast_enabled("cpu", False),
    "jax config": lambda: jax.config.update("jax_debug_nans", not jax.config.jax_debug_nans),
    "seterr": lambda: np.seterr(all="warn"),
    "print options": lambda: np.set_printoptions(precision=3),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "environment": lambda: os.environ.__setitem__("GRADVERIFY_TEST", str(random.random())),
    "folder": lambda: os.chdir("/"),
    "path": lambda: sys.path.append("/nowhere"),
    "recursion": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "python seed": lambda: random.seed(0),
    "numpy seed": lambda: np.random.seed(0),
    "torch seed": lambda: torch.manual_seed(0),
    "draws": lambda: (random.random(), np.random.rand(), torch.rand(2)),
}


class Counting(torch.nn.Module):
    """Counts and keeps in every kind of attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.bn = torch.nn.Linear(3, 2, dtype=D), torch.nn.BatchNorm1d(2, dtype=D)
        self.calls, self.shapes, self.last, self.table, self.seen, self._some = 0, [], deque(maxlen=2), {}, set(), None

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.shapes.append(tuple(x.shape))
        self.last.append(self.calls)
        self.table[self.calls] = 1
        self.seen.add(self.calls)
        self._some = self.extra = x.detach().sum()
        return self.bn(self.lin(x))


def hooked(module: Any) -> Any:
    """A module whose hooks count."""
    module.heard = []
    module.register_forward_hook(lambda m, a, out: m.heard.append(1))
    module.register_full_backward_hook(lambda m, a, g: m.heard.append(2))
    return module


class Switching(torch.nn.Module):
    """Goes into evaluation in its first call."""

    def forward(self, x: Any) -> Any:
        self.train(False)
        return x.exp()


COUNTER = Counting()
N = torch.nn
MODULES: dict[str, Any] = {
    "counting": Counting(),
    "counting in evaluation": Counting().eval(),
    "counting, closed over": lambda x: COUNTER(x) * 2,
    "counting, a method": Counting().forward,
    "hooks": hooked(Counting()),
    "switching": Switching(),
    "batch norm": N.BatchNorm1d(3, dtype=D),
    "batch norm, frozen": N.BatchNorm1d(3, dtype=D).eval(),
    "instance norm": lambda x: N.InstanceNorm1d(1, track_running_stats=True, dtype=D)(x[:, None]),
    "dropout": N.Dropout(0.4),
    "rrelu": N.RReLU(),
    "linear": N.Linear(3, 2, dtype=D),
    "sequential": N.Sequential(N.Linear(3, 4, dtype=D), N.Tanh(), N.BatchNorm1d(4, dtype=D)),
    "gru": N.GRUCell(3, 2, dtype=D),
    "layer norm": N.LayerNorm(3, dtype=D),
    "spectral norm": spectral_norm(N.Linear(3, 2, dtype=D)),
    "weight norm": weight_norm(N.Linear(3, 2, dtype=D)),
    "bilinear": lambda x: N.functional.bilinear(x, x, torch.ones(2, 3, 3, dtype=D)),
    "checkpointed": lambda x: torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False),
}
ATTEND = N.MultiheadAttention(3, 1, dtype=D)
MODULES["attention"] = lambda x: ATTEND(x, x, x)[0]

FUNCTIONS: dict[str, Any] = {
    **{f"{name}, forward": setting(change)[0] for name, change in CHANGES.items()},
    **{f"{name}, backward": setting(change)[1] for name, change in CHANGES.items()},
    **MODULES,
    "plain": torch.tanh,
    "raises": lambda x: x.reshape(-7),
    "wrong": lambda x: x.detach() * x,
}


def values(module: Any) -> dict[str, Any]:
    """The Python attributes of a module's own, by value."""
    plain = vars(torch.nn.Module()).keys() - {"training"}
    return {n: copy.copy(v) for n, v in vars(module).items() if n not in plain}


def snapshot(function: Any, x: Any) -> dict[str, Any]:
    """All that must be after a check as it was before, as text."""
    cells = [c.cell_contents for c in getattr(function, "__closure__", None) or ()]
    owners = [function, getattr(function, "__self__", None), COUNTER, ATTEND, *cells]
    modules = [m for owner in owners if isinstance(owner, torch.nn.Module) for m in owner.modules()]
    lazy = torch.nn.parameter.is_lazy
    seen = {
        "python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(), "device": torch.get_default_device(), "threads": torch.get_num_threads(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "anomaly": torch.is_anomaly_enabled(),
        "cudnn": torch.backends.cudnn.benchmark, "autocast": torch.is_autocast_enabled("cpu"),
        "jax": {k: v for k, v in jax.config.values.items()},
        "seterr": np.geterr(), "print": np.get_printoptions(), "warnings": warnings.filters, "shown": warnings.showwarning,
        "cwd": os.getcwd(), "environment": dict(os.environ), "path": sys.path, "recursion": sys.getrecursionlimit(),
        "attributes": [values(m) for m in modules],
        "tensors": [{k: v.tolist() for k, v in m.state_dict().items() if not lazy(v)} for m in modules],
        "gradients": [[p.grad is None for p in m.parameters(recurse=False)] for m in modules],
        "x": (x.tolist(), x.grad, x.requires_grad, x._version, x._backward_hooks),
    }  # fmt: skip
    return {name: repr(value) for name, value in seen.items()}


def changed(function: Any, **how: Any) -> list[str]:
    """What a check of the function leaves changed."""
    x = torch.tensor([[0.3, -0.4, 0.8], [1.1, 0.2, -0.6]], dtype=D, requires_grad=True)
    with warnings.catch_warnings():  # a filter of ours each, so that one more of the function's shows
        warnings.simplefilter("default")
        before = snapshot(function, x)
        with suppress(gradverify.BadInput):
            str(gradverify.check(function, x, effort="quick", **how))
        after = snapshot(function, x)
    return [f"{name}: {before[name][:200]} -> {after[name][:200]}" for name in before if before[name] != after[name]]


def warm_up() -> None:
    """The first checks import packages, which add warning filters of their own; these stay."""
    changed(torch.sin)
    changed(lambda x: x.detach() * x)


if __name__ == "__main__":
    warm_up()
    for name, function in FUNCTIONS.items():
        for line in changed(function):
            print(f"{name}: {line}")
