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
    def reduction(op: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, axis: Any = None, keepdims: bool = False, **params: Any) -> Any:
            dim = tuple(range(x.ndim)) if axis is None else axis
            if dim == ():  # PyTorch reads an empty `dim` as all axes
                return op(x.unsqueeze(-1), dim=-1, **params)
            return op(x, dim=dim, keepdim=keepdims, **params)

        return call

    def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        """torch.prod takes all axes or one."""
        if axis is None and not keepdims:
            return torch.prod(x)
        for a in sorted((a % x.ndim for a in _axes(x, axis)), reverse=True):
            x = torch.prod(x, dim=a, keepdim=keepdims)
        return x

    def pick(op: Callable[..., Any]) -> Callable[..., Any]:
        """argmax and argmin: `dim=None` flattens; PyTorch ignores keepdim then."""

        def call(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
            out = op(x, dim=axis, keepdim=keepdims and axis is not None)
            return out.reshape((1,) * x.ndim) if keepdims and axis is None else out

        return call

    def along(op: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
        return lambda x, axis=-1, **params: op(x, dim=axis, **fixed, **params)

    def forwards(x: Any, index: Any) -> tuple[Any, list[int]]:
        """The index with its negative steps, which PyTorch lacks, turned round; and the axes of x[index] to flip."""
        entries = list(native_index(index))
        if Ellipsis not in entries:
            entries.append(Ellipsis)
        at = entries.index(Ellipsis)
        rest = x.ndim - sum(e is not None and e is not Ellipsis for e in entries)
        entries[at : at + 1] = [slice(None)] * rest
        flips, axis, out = [], 0, 0
        for k, e in enumerate(entries):
            if isinstance(e, slice) and e.step is not None and e.step < 0:
                picked = range(*e.indices(x.shape[axis]))[::-1]
                entries[k] = slice(picked.start, picked.stop, picked.step) if len(picked) else slice(0, 0)
                flips.append(out)
            axis += e is not None
            out += not isinstance(e, int)
        return tuple(entries), flips

    def getitem(x: Any, index: Any) -> Any:
        at, flips = forwards(x, index)
        return x[at].flip(flips) if flips else x[at]

    def embed(x: Any, index: Any, shape: Any) -> Any:
        out = x.new_zeros(shape)
        at, flips = forwards(out, index)
        out[at] = x.flip(flips) if flips else x
        return out

    def take(x: Any, indices: Any, axis: int = 0) -> Any:
        return x[(slice(None),) * (axis % x.ndim) + (indices,)]

    def index_add(x: Any, indices: Any, updates: Any, axis: int = 0) -> Any:
        """torch.index_add takes a list of indices."""
        a = axis % x.ndim
        rows = updates.reshape(*x.shape[:a], indices.numel(), *x.shape[a + 1 :])
        return torch.index_add(x, a, indices.reshape(-1), rows)

    def solve(a: Any, b: Any) -> Any:
        """PyTorch takes b of shape a.shape[:-1] for a batch of vectors, the standard only b of one axis: spell it out."""
        if b.ndim == 1 and a.ndim == 2:
            return torch.linalg.solve(a, b)
        columns = b.unsqueeze(-1) if b.ndim == 1 else b
        x = torch.linalg.solve(a, columns.expand(*torch.broadcast_shapes(a.shape[:-2], columns.shape[:-2]),
                                                 *columns.shape[-2:]))  # fmt: skip
        return x.squeeze(-1) if b.ndim == 1 else x

    def standardize(x: Any, axis: int = -1, eps: float = 1e-5) -> Any:
        last = x.movedim(axis, -1)
        return F.layer_norm(last, last.shape[-1:], eps=eps).movedim(-1, axis)

    def of_classes(loss: Callable[..., Any]) -> Callable[..., Any]:
        """Losses over class indices take the classes along axis 1: one batch axis makes that the last."""
        return lambda x, targets: loss(x.reshape(-1, x.shape[-1]), targets.reshape(-1))

    return {
        # elementwise
        "equal": torch.eq,  # torch.equal gives one bool
        "clip": lambda x, min=None, max=None: x.clone() if min is None and max is None else torch.clip(x, min, max),
        "log_sigmoid": F.logsigmoid,
        # reductions
        "sum": reduction(torch.sum),
        "mean": reduction(torch.mean),
        "prod": prod,
        "max": reduction(torch.amax),
        "min": reduction(torch.amin),
        "var": reduction(torch.var),
        "std": reduction(torch.std),
        "logsumexp": reduction(torch.logsumexp),
        "vector_norm": reduction(torch.linalg.vector_norm),
        "any": reduction(torch.any),
        "all": reduction(torch.all),
        "argmax": pick(torch.argmax),
        "argmin": pick(torch.argmin),
        "argsort": along(torch.argsort, stable=True),
        "sort": lambda x, axis=-1, descending=False: torch.sort(x, dim=axis, descending=descending, stable=True)[0],
        "cumulative_sum": along(torch.cumsum),
        "cumulative_prod": along(torch.cumprod),
        # shape
        "permute_dims": lambda x, axes: torch.permute(x, axes),
        "matrix_transpose": lambda x: x.mT,
        "expand_dims": lambda x, axis=0: torch.unsqueeze(x, axis),
        "squeeze": lambda x, axis=None: torch.squeeze(x) if axis is None else torch.squeeze(x, axis),
        "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
        "concat": lambda *xs, axis=0: torch.cat(xs, axis),
        "stack": lambda *xs, axis=0: torch.stack(xs, axis),
        "flip": lambda x, axis=None: torch.flip(x, _axes(x, axis)),
        "roll": lambda x, shift, axis=None: torch.roll(x, shift) if axis is None else torch.roll(x, shift, axis),
        "repeat": lambda x, repeats, axis=-1: torch.repeat_interleave(x, repeats, dim=axis),
        "tile": lambda x, repetitions: torch.tile(x, repetitions),
        "pad": lambda x, pads: F.pad(x, [n for pair in reversed(pads) for n in pair]),
        "tril": lambda x, k=0: torch.tril(x, k),
        "triu": lambda x, k=0: torch.triu(x, k),
        "diagonal": lambda x: torch.diagonal(x, dim1=-2, dim2=-1),
        # indexing
        "getitem": getitem,
        "embed": embed,
        "take": take,
        "index_add": index_add,
        "take_along_axis": lambda x, indices, axis=-1: torch.gather(x, axis, indices),
        "scatter_add": lambda x, indices, updates, axis=-1: torch.scatter_add(x, axis, indices, updates),
        # linear algebra
        "einsum": lambda *xs, subscripts: torch.einsum(subscripts, *xs),
        "vecdot": lambda a, b, axis=-1: torch.linalg.vecdot(a, b, dim=axis),
        "tensordot": lambda a, b, axes=2: torch.tensordot(a, b, axes),
        "cross": lambda a, b, axis=-1: torch.linalg.cross(a, b, dim=axis),
        "trace": lambda x: torch.trace(x) if x.ndim == 2 else torch.diagonal(x, dim1=-2, dim2=-1).sum(-1),
        "logabsdet": lambda x: torch.linalg.slogdet(x)[1],
        "solve": solve,
        "cholesky": torch.linalg.cholesky,  # torch.cholesky is an older one
        "solve_triangular": lambda a, b, upper=False, unit_diagonal=False: torch.linalg.solve_triangular(
            a, b, upper=upper, unitriangular=unit_diagonal
        ),
        # compositions
        "softmax": along(torch.softmax),
        "log_softmax": along(torch.log_softmax),
        "standardize": standardize,
        "layer_norm": lambda x, w, b, eps=1e-5: F.layer_norm(x, x.shape[-1:], w, b, eps),
        "rms_norm": lambda x, w, eps=1e-5: F.rms_norm(x, x.shape[-1:], w, eps),
        "normalize": lambda x, axis=-1, eps=1e-12: F.normalize(x, dim=axis, eps=eps),
        "cosine_similarity": lambda a, b, axis=-1, eps=1e-8: F.cosine_similarity(a, b, axis, eps),
        "nll_loss": of_classes(F.nll_loss),
        "cross_entropy": of_classes(F.cross_entropy),
    }


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis


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
        given = [self._tensor(g) for g in cotangent]
        try:
            with torch.enable_grad():
                result = function(*leaves.values())
        except Unsupported:
            raise
        except Exception as e:
            return Observation(raised=e, stage="forward")
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        gradients: list[Any] = [None] * len(wrt)
        # An output without a graph (a constant) takes no cotangent; it contributes zero.
        tracked = [(out, g) for out, g in zip(outputs, given) if out.requires_grad]
        if tracked and wrt:
            outs, cotangents = zip(*tracked)
            try:
                gradients = list(torch.autograd.grad(outs, [leaves[n] for n in wrt], cotangents, allow_unused=True))
            except Exception as e:
                return Observation(raised=e, stage="backward")
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

        strides = [s // value.itemsize for s in value.strides]
        # One entry stands for those of an expanded axis (stride 0).
        core = value[tuple(slice(0, 1) if s == 0 and n > 1 else slice(None) for s, n in zip(strides, value.shape))]
        tensor = torch.from_numpy(np.array(core, order="C")).to(self.device)
        if all(s >= 0 for s in strides):
            tensor = torch.empty_strided(core.shape, strides, dtype=tensor.dtype, device=self.device).copy_(tensor)
        return tensor.expand(value.shape)


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().resolve_conj().resolve_neg().numpy().copy()
