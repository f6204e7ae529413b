"""PyTorch as a subject: its own ops, its own backward, on the CPU or on CUDA.

Most ops bind by name (torch, torch.special, torch.nn.functional, torch.linalg); the table below holds the exceptions:
other names, other parameter names, or a native op behind another shape of call. None re-derives an op for which
PyTorch has a kernel with a backward of its own, since that backward is what is judged.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Constant, Graph
from ..namespaces.numpy import native_index
from .base import Binding, Observation, compiled, lookup


@cache
def bindings() -> Callable[[str], Callable[..., Any]]:
    """Op name -> PyTorch's function of the same mathematics, called as op(*args, **params)."""
    import torch
    import torch.nn.functional as F

    return lookup(_table(torch, F), torch, torch.special, F, torch.linalg)


def _table(torch: Any, F: Any) -> Binding:
    def dims(x: Any, axis: Any) -> Any:
        """`axis` as PyTorch's `dim`: None (all axes) spelt out, since an empty `dim` means all to some ops only."""
        return tuple(range(x.ndim)) if axis is None else axis

    def reduction(op: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, axis=None, keepdims=False, **kw: op(x, dim=dims(x, axis), keepdim=keepdims, **kw)

    def along(op: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, axis: op(x, dim=axis)

    def prod(x: Any, axis: Any, keepdims: bool) -> Any:
        """torch.prod takes one dim or all."""
        if axis is None and not keepdims:
            return torch.prod(x)
        axes = dims(x, axis)
        for a in sorted((a % x.ndim for a in ((axes,) if isinstance(axes, int) else axes)), reverse=True):
            x = torch.prod(x, dim=a, keepdim=keepdims)
        return x

    return {
        "sum": reduction(torch.sum),
        "mean": reduction(torch.mean),
        "prod": prod,
        "max": reduction(torch.amax),
        "min": reduction(torch.amin),
        "cumulative_sum": along(torch.cumsum),
        "cumulative_prod": along(torch.cumprod),
    }


class TorchSubject:
    """Eager PyTorch through torch.autograd.grad."""

    name = "torch"
    dtypes: tuple[str, ...] = ("float32", "float64")

    def __init__(self, device: str = "cpu", table: Binding | None = None) -> None:
        """`table` replaces single ops, op name -> function of tensors: to judge one's own kernel under an op's name."""
        self.device, self.table = device, dict(table or {})

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "PyTorch is not installed: pip install gradverify[torch]"
        import torch

        if self.device.startswith("cuda") and not torch.cuda.is_available():
            return "PyTorch sees no CUDA device"
        return None

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        import torch

        if dtype not in self.dtypes:
            raise Unsupported(f"the adapter for PyTorch does not run {dtype}")
        dtypes = {"float": getattr(torch, dtype), "int": torch.int64, "bool": torch.bool}

        def constant(node: Constant) -> Any:
            # Through a double: PyTorch then rounds to nearest, as NumPy does for everyone else.
            return torch.tensor(node.value, dtype=dtypes[node.kind], device=self.device).reshape(node.shape)

        return compiled(graph, lambda op: self.table.get(op) or bindings()(op), constant)

    def vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import torch

        leaves = {name: self._tensor(v).requires_grad_(name in wrt) for name, v in values.items()}
        try:
            with torch.enable_grad():
                result = function(*leaves.values())
        except Unsupported:
            raise
        except Exception as e:
            return Observation(raised=e, stage="forward")
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        # An output without a graph (a constant) has no cotangent to take; it contributes zero.
        tracked = [(out, g) for out, g in zip(outputs, cotangent) if out.requires_grad]
        gradients: list[Any] = [None] * len(wrt)
        if tracked and wrt:
            outs, cotangents = [o for o, _ in tracked], [self._tensor(g) for _, g in tracked]
            try:
                gradients = list(
                    torch.autograd.grad(outs, [leaves[n] for n in wrt], cotangents, allow_unused=True)
                )
            except Exception as e:
                return Observation(raised=e, stage="backward")
        labelled = {f"out{i}": o for i, o in enumerate(outputs)} | {f"d{n}": g for n, g in zip(wrt, gradients)}
        expected = torch.device(self.device).type
        return Observation(
            outputs=tuple(_array(o) for o in outputs),
            gradients={n: None if g is None else _array(g) for n, g in zip(wrt, gradients)},
            devices={k: str(t.device) for k, t in labelled.items() if t is not None and t.device.type != expected},
        )

    def _tensor(self, value: np.ndarray) -> Any:
        """A tensor of its own memory; the order of the axes in memory (C, Fortran) is kept."""
        import torch

        return torch.from_numpy(np.array(value)).to(self.device)


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().cpu().resolve_conj().resolve_neg())
