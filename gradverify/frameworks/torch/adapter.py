"""PyTorch as a subject: its own ops, its own backward, on the CPU or on CUDA.

The ops are in `bindings.torch`, the formulas of PyTorch that are known to lose digits in `forms.torch`.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...core.errors import Unsupported
from ...core.graph import Constant, Graph
from ...namespaces.dtypes import complex_name, numpy_dtype
from ...namespaces.layout import core
from ...ops.complex.lowering import is_complex
from ..base import Binding, Form, Observation, Pushed, compiled, mutated, over_pairs, places, restricted, several
from ..tape import Tape
from .bindings import bindings
from .forms import FORMS

_BFLOAT16 = numpy_dtype("bfloat16")

LACKING = re.compile(
    r"not implemented for '(Half|BFloat16)'|Low precision dtypes not supported"
    r"|[Tt]he derivative (for|of) .* (is not implemented|depends on)|derivative for .* is not implemented"
    r"|is not differentiable when"
)
"""What PyTorch says where it has no kernel for a 16-bit dtype, and where it has no derivative and says so; not always in
a NotImplementedError."""

CREATE_GRAPH = "create_graph=True"
EDITED = "the inputs edited in place before the backward pass"
BATCHED = "a batch of cotangents (is_grads_batched)"
VIEWS = "inputs that are views of tensors that require grad"


class TorchSubject:
    """Eager PyTorch through torch.autograd.grad."""

    name = "torch"
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    ways = (CREATE_GRAPH, EDITED, BATCHED, VIEWS)

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

    def tape(self) -> Tape:
        import torch

        return Tape(torch, self._tensor, to_numpy)

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
        return self._vjp("", function, values, wrt, cotangent)

    def vjp_by(
        self,
        way: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """By one of `ways`. After an edit of what the forward pass was given, autograd raises where that was saved
        ("In-place correctness checks" in PyTorch's notes on autograd mechanics); what was kept elsewhere is read anew."""
        return self._vjp(way, function, values, wrt, cotangent)

    def _vjp(
        self,
        way: str,
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
                result = function(*(t.view_as(t) if way == VIEWS else t for t in leaves.values()))
            if way == EDITED:
                given_memory = {t.untyped_storage()._cdata for t in leaves.values() if t.layout is torch.strided}
                if any(torch.is_tensor(o) and o.layout is torch.strided and o.untyped_storage()._cdata in given_memory
                       for o in several(result)):  # fmt: skip
                    why = Unsupported("a view of an input is edited with it: autograd gives it another history")
                    return Observation(raised=why, stage="forward")
                with torch.no_grad():
                    for leaf in leaves.values():
                        if leaf.is_floating_point():
                            leaf.mul_(-1.5).sub_(1)
        except Unsupported:
            raise
        except Exception as e:
            return Observation(raised=_lacking(e), stage="forward")
        outputs = several(result)
        gradients: list[Any] = [None] * len(wrt)
        # An output without a graph (a constant) takes no cotangent; it contributes zero.
        tracked = [(out, g) for out, g in zip(outputs, given) if out.requires_grad]
        if tracked and wrt:
            outs, cotangents = zip(*tracked)
            try:
                again = None if way == EDITED else lambda: function(*leaves.values())
                gradients = _PULLS.get(way, _pulled)(outs, [leaves[n] for n in wrt], cotangents, again)
            except Exception as e:
                return Observation(raised=_lacking(e), stage="backward")
        named = dict(zip(wrt, gradients))
        arrays = {f"out{i}": o for i, o in enumerate(outputs)} | {f"d{n}": d for n, d in named.items() if d is not None}
        wanted = torch.device(self.device).type
        return Observation(
            outputs=tuple(to_numpy(o) for o in outputs),
            gradients={n: None if d is None else to_numpy(d) for n, d in named.items()},
            devices={label: str(t.device) for label, t in arrays.items() if t.device.type != wanted},
            mutated=mutated(values, leaves.values(), cotangent, given, to_numpy),
        )

    def _tensor(self, value: np.ndarray) -> Any:
        """A tensor of its own memory, laid out like `value` (gaps, order of axes, expanded axes, where it begins within
        its base), so that laws about layout reach the kernels; only negative strides, which PyTorch lacks, come out
        contiguous. Gaps hold NaN, so that who reads them does not get away with it."""
        import torch

        if value.dtype == _BFLOAT16:  # torch.from_numpy knows NumPy's own dtypes only: the same bits as integers
            return self._tensor(value.view(np.int16)).view(torch.bfloat16)
        strides = [s // value.itemsize for s in value.strides]
        own = core(value)
        tensor = torch.from_numpy(np.array(own, order="C")).to(self.device)
        if all(s >= 0 for s in strides) and own.size:
            offset = _offset(value)
            room = offset + 1 + sum((n - 1) * s for n, s in zip(own.shape, strides))
            gap = torch.nan if tensor.is_floating_point() else 0
            memory = torch.full((room,), gap, dtype=tensor.dtype, device=self.device)
            tensor = memory.as_strided(own.shape, strides, offset).copy_(tensor)
        return tensor.expand(value.shape)


def _offset(value: np.ndarray) -> int:
    """By how many entries an array begins behind its base."""
    if not isinstance(value.base, np.ndarray) or value.base.dtype != value.dtype:
        return 0
    start, base = (a.__array_interface__["data"][0] for a in (value, value.base))
    return max(start - base, 0) // value.itemsize


def _batched(outs: Any, leaves: list[Any], cotangents: Any, again: Any) -> list[Any]:
    """The gradients for a batch of g, -g and 2g: half of the last, which no scaling rounds. Raises where an operation of
    the backward pass cannot be batched."""
    import torch

    batch = [torch.stack([g, -g, 2 * g]) for g in cotangents]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        found = torch.autograd.grad(outs, leaves, batch, allow_unused=True, is_grads_batched=True)
    return [d if d is None else d[2] / 2 for d in found]


def _pulled(
    outs: Any, leaves: list[Any], cotangents: Any, again: Callable[[], Any] | None, create_graph: bool = False
) -> list[Any]:
    """The gradients by autograd.grad, or by .backward() where that alone works or says what is the matter; `again`
    computes the outputs once more (None: they would be others by now)."""
    import torch

    # Behind what once_differentiable gives there is nothing for autograd.grad; running into it raises the reason.
    once = any(o.grad_fn is not None and o.grad_fn.name() == "torch::autograd::Error" for o in outs)
    if not once:
        try:
            return list(torch.autograd.grad(outs, leaves, cotangents, allow_unused=True, create_graph=create_graph))
        except RuntimeError as e:
            if again is None or "use_reentrant=True" not in str(e):  # reentrant checkpointing refuses autograd.grad
                raise
            outs = [o for o in several(again()) if o.requires_grad]
    torch.autograd.backward(outs, cotangents)
    return [leaf.grad for leaf in leaves]


_PULLS: Mapping[str, Callable[..., list[Any]]] = {CREATE_GRAPH: partial(_pulled, create_graph=True), BATCHED: _batched}


def _lacking(e: Exception) -> Exception:
    return Unsupported(str(e).splitlines()[0]) if LACKING.search(str(e)) else e


def from_numpy(value: np.ndarray) -> Any:
    """A tensor of its own memory, contiguous; of bfloat16 too."""
    return TorchSubject()._tensor(np.array(value, order="C"))


def to_numpy(tensor: Any) -> np.ndarray:
    """A dense copy on the host; of bfloat16 in ml_dtypes'."""
    import torch

    if tensor.layout is not torch.strided:  # an embedding's gradient: duplicates add up
        tensor = tensor.to_dense()
    host = tensor.detach().cpu().resolve_conj().resolve_neg()
    if host.dtype == torch.bfloat16:
        return host.view(torch.int16).numpy().copy().view(_BFLOAT16)
    return host.numpy(force=True).copy()  # what is zero throughout may have no memory (sgn's gradient)


def run_jvp(
    function: Any, values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray], batched: bool
) -> Pushed:
    """(outputs, tangents of the outputs) along `tangents`; with `batched`, under vmap."""
    import torch
    from torch.autograd import forward_ad

    def pushed(*along: Any) -> Any:
        given = dict(zip(tangents, along))
        with forward_ad.dual_level():
            inputs = [forward_ad.make_dual(p, given[n]) if n in given else p for n, p in primals.items()]
            pairs = [forward_ad.unpack_dual(o) for o in function(*inputs)]
            outs = tuple(p.primal for p in pairs)
            return outs, tuple(torch.zeros_like(p.primal) if p.tangent is None else p.tangent for p in pairs)

    primals = {n: from_numpy(v) for n, v in values.items()}
    of_wrt = restricted(function, list(primals.values()), places(values, tangents))
    along = [from_numpy(t) for t in tangents.values()]
    if batched:
        outs, _ = pushed(*along)
        push = lambda *a: torch.func.jvp(of_wrt, tuple(primals[n] for n in tangents), a)[1]
        many = [torch.stack([t, -t, 2 * t]) for t in along]
        result = tuple(r[0] for r in torch.func.vmap(push, randomness="same")(*many))
    else:
        try:
            outs, result = pushed(*along)
        except RuntimeError as e:
            if "Nested forward mode" not in str(e):
                raise
            # The function is a JVP itself: levels of torch.func nest, those of forward_ad do not.
            outs, result = torch.func.jvp(of_wrt, tuple(primals[n] for n in tangents), tuple(along))[:2]
    return tuple(map(to_numpy, outs)), tuple(map(to_numpy, result))
