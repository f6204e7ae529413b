"""PyTorch as a subject: its own ops, its own backward, on the CPU or on CUDA.

The ops are in `bindings.torch`, the formulas of PyTorch that are known to lose digits in `forms.torch`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Constant, Graph
from ..namespaces.dtypes import complex_name, numpy_dtype
from ..ops.pairs import is_complex
from .base import Binding, Form, Observation, compiled, over_pairs
from .bindings.torch import bindings
from .forms.torch import FORMS

_BFLOAT16 = numpy_dtype("bfloat16")

LACKING = re.compile(
    r"not implemented for '(Half|BFloat16)'|Low precision dtypes not supported"
    r"|[Tt]he derivative (for|of) .* (is not implemented|depends on)|derivative for .* is not implemented"
    r"|is not differentiable when"
)
"""What PyTorch says where it has no kernel for a 16-bit dtype, and where it has no derivative and says so; not always in
a NotImplementedError."""


class TorchSubject:
    """Eager PyTorch through torch.autograd.grad."""

    name = "torch"
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")

    def __init__(self, device: str = "cpu", table: Binding | None = None) -> None:
        """`table` replaces single ops, op name -> function of tensors: to judge one's own kernel under an op's name."""
        self.device, self.table = device, dict(table or {})
        self.forms: Mapping[str, Form] = {op: form for op, form in FORMS.items() if op not in self.table}

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
        if is_complex(graph):
            dtypes["complex"] = getattr(torch, complex_name(dtype))

        def constant(node: Constant) -> Any:
            # Through a double: PyTorch then rounds to nearest, as NumPy does for everyone else.
            return torch.tensor(node.value, dtype=dtypes[node.kind], device=self.device).reshape(node.shape)

        def widen(x: Any) -> Any:
            return x.to(dtypes["complex"])

        return compiled(graph, self._bind, constant, widen)

    def pairs(self, function: Callable[..., Any], graph: Graph) -> Callable[..., Any]:
        """A function of complex tensors as one of their parts; see `base.over_pairs`."""
        return over_pairs(function, graph, self._bind)

    def _bind(self, op: str) -> Callable[..., Any]:
        return self.table.get(op) or bindings()(op)

    def vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import torch

        leaves = {name: self._tensor(v).requires_grad_(name in wrt) for name, v in values.items()}
        given = [self._tensor(g) for g in cotangent]
        try:
            with torch.enable_grad():
                result = function(*leaves.values())
        except Unsupported:
            raise
        except Exception as e:
            return Observation(raised=_lacking(e), stage="forward")
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        gradients: list[Any] = [None] * len(wrt)
        # An output without a graph (a constant) takes no cotangent; it contributes zero.
        tracked = [(out, g) for out, g in zip(outputs, given) if out.requires_grad]
        if tracked and wrt:
            outs, cotangents = zip(*tracked)
            try:
                gradients = _pulled(outs, [leaves[n] for n in wrt], cotangents, lambda: function(*leaves.values()))
            except Exception as e:
                return Observation(raised=_lacking(e), stage="backward")
        named = dict(zip(wrt, gradients))
        arrays = {f"out{i}": o for i, o in enumerate(outputs)} | {f"d{n}": d for n, d in named.items() if d is not None}
        wanted = torch.device(self.device).type
        held = [(n, leaves[n], v) for n, v in values.items()]
        held += [(f"cotangent {i}", t, g) for i, (t, g) in enumerate(zip(given, cotangent))]
        return Observation(
            outputs=tuple(_array(o) for o in outputs),
            gradients={n: None if d is None else _array(d) for n, d in named.items()},
            devices={label: str(t.device) for label, t in arrays.items() if t.device.type != wanted},
            mutated=tuple(label for label, t, was in held if _array(t).tobytes() != was.tobytes()),
        )

    def _tensor(self, value: np.ndarray) -> Any:
        """A tensor of its own memory, laid out like `value` (gaps, order of axes, expanded axes), so that laws about
        layout reach the kernels; only negative strides, which PyTorch lacks, come out contiguous."""
        import torch

        if value.dtype == _BFLOAT16:  # torch.from_numpy knows NumPy's own dtypes only: the same bits as integers
            return self._tensor(value.view(np.int16)).view(torch.bfloat16)
        strides = [s // value.itemsize for s in value.strides]
        # One entry stands for those of an expanded axis (stride 0).
        core = value[tuple(slice(0, 1) if s == 0 and n > 1 else slice(None) for s, n in zip(strides, value.shape))]
        tensor = torch.from_numpy(np.array(core, order="C")).to(self.device)
        if all(s >= 0 for s in strides):
            tensor = torch.empty_strided(core.shape, strides, dtype=tensor.dtype, device=self.device).copy_(tensor)
        return tensor.expand(value.shape)


def _pulled(outs: Any, leaves: list[Any], cotangents: Any, again: Callable[[], Any]) -> list[Any]:
    """The gradients by autograd.grad, or by .backward() where that alone works or says what is the matter; `again`
    computes the outputs once more."""
    import torch

    # Behind what once_differentiable gives there is nothing for autograd.grad; running into it raises the reason.
    once = any(o.grad_fn is not None and o.grad_fn.name() == "torch::autograd::Error" for o in outs)
    if not once:
        try:
            return list(torch.autograd.grad(outs, leaves, cotangents, allow_unused=True))
        except RuntimeError as e:
            if "use_reentrant=True" not in str(e):  # reentrant checkpointing refuses autograd.grad
                raise
            result = again()
            outs = [o for o in (result if isinstance(result, tuple | list) else (result,)) if o.requires_grad]
    torch.autograd.backward(outs, cotangents)
    return [leaf.grad for leaf in leaves]


def _lacking(e: Exception) -> Exception:
    return Unsupported(str(e).splitlines()[0]) if LACKING.search(str(e)) else e


def _array(tensor: Any) -> np.ndarray:
    import torch

    host = tensor.detach().cpu().resolve_conj().resolve_neg()
    if host.dtype == torch.bfloat16:
        return host.view(torch.int16).numpy().copy().view(_BFLOAT16)
    return host.numpy(force=True).copy()  # what is zero throughout may have no memory (sgn's gradient)
