"""PyTorch's functions for the ops of the table.

Most ops bind by name (torch, torch.special, torch.nn.functional, torch.linalg); the table below holds the exceptions:
other names, other parameter names, or a native op behind another shape of call. None re-derives an op for which
PyTorch has a kernel with a backward of its own, since that backward is what is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...namespaces.numpy import native_index
from ..graphs import Binding, lookup


@cache
def bindings() -> Callable[[str], Callable[..., Any]]:
    """Op name -> PyTorch's function of the same mathematics, called as op(*args, **params)."""
    import torch
    import torch.nn.functional as F

    return lookup(_table(), torch, torch.special, F, torch.linalg)


def _table() -> Binding:
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    def reduction(op: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Tensor, axis: Any = None, keepdims: bool = False, **params: Any) -> Tensor:
            dim = tuple(range(x.ndim)) if axis is None else axis
            if dim == ():  # PyTorch reads an empty `dim` as all axes
                return op(x.unsqueeze(-1), dim=-1, **params)
            return op(x, dim=dim, keepdim=keepdims, **params)

        return call

    def prod(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor:
        """torch.prod takes all axes or one."""
        if axis is None and not keepdims:
            return torch.prod(x)
        for a in sorted((a % x.ndim for a in _axes(x, axis)), reverse=True):
            x = torch.prod(x, dim=a, keepdim=keepdims)
        return x

    def pick(op: Callable[..., Any]) -> Callable[..., Any]:
        """argmax and argmin: `dim=None` flattens; PyTorch ignores keepdim then."""

        def call(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
            out = op(x, dim=axis, keepdim=keepdims and axis is not None)
            return out.reshape((1,) * x.ndim) if keepdims and axis is None else out

        return call

    def along(op: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
        return lambda x, axis=-1, **params: op(x, dim=axis, **fixed, **params)

    def forwards(x: Tensor, index: Any) -> tuple[Any, list[int]]:
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

    def getitem(x: Tensor, index: Any) -> Tensor:
        at, flips = forwards(x, index)
        return x[at].flip(flips) if flips else x[at]

    def embed(x: Tensor, index: Any, shape: Any) -> Tensor:
        out = x.new_zeros(shape)
        at, flips = forwards(out, index)
        out[at] = x.flip(flips) if flips else x
        return out

    def take(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
        return x[(slice(None),) * (axis % x.ndim) + (indices,)]

    def index_add(x: Tensor, indices: Tensor, updates: Tensor, axis: int = 0) -> Tensor:
        """torch.index_add takes a list of indices."""
        a = axis % x.ndim
        rows = updates.reshape(*x.shape[:a], indices.numel(), *x.shape[a + 1 :])
        return torch.index_add(x, a, indices.reshape(-1), rows)

    def solve(a: Tensor, b: Tensor) -> Tensor:
        """PyTorch takes b of shape a.shape[:-1] for a batch of vectors, the standard only b of one axis: spell it out."""
        if b.ndim == 1 and a.ndim == 2:
            return torch.linalg.solve(a, b)
        columns = b.unsqueeze(-1) if b.ndim == 1 else b
        x = torch.linalg.solve(a, columns.expand(*torch.broadcast_shapes(a.shape[:-2], columns.shape[:-2]),
                                                 *columns.shape[-2:]))  # fmt: skip
        return x.squeeze(-1) if b.ndim == 1 else x

    def standardize(x: Tensor, axis: int = -1, eps: float = 1e-5) -> Tensor:
        last = x.movedim(axis, -1)
        return F.layer_norm(last, last.shape[-1:], eps=eps).movedim(-1, axis)

    def of_classes(loss: Callable[..., Any]) -> Callable[..., Any]:
        """Losses over class indices take the classes along axis 1: one batch axis makes that the last."""
        return lambda x, targets: loss(x.reshape(-1, x.shape[-1]), targets.reshape(-1))

    def im2col(x: Tensor, kernel: Any, stride: Any = (1, 1), dilation: Any = (1, 1)) -> Tensor:
        height, width = ((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation))
        return F.unfold(x, kernel, dilation, stride=stride).reshape(*x.shape[:2], kernel[0] * kernel[1], height, width)

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
        "cumulative_logsumexp": along(torch.logcumsumexp),
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
        # complex numbers
        **{
            name: lambda z, n=None, axis=-1, norm="backward", name=name: getattr(torch.fft, name)(z, n, axis, norm)
            for name in ("fft", "ifft", "rfft", "irfft")
        },
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
        # special functions
        "polygamma": lambda x, n: torch.special.polygamma(n, x),
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
        # images; F.unfold keeps channels and kernel in one axis, places in another
        "im2col": im2col,
        "col2im": lambda x, size, kernel, stride=(1, 1), dilation=(1, 1): F.fold(
            x.flatten(3, 4).flatten(1, 2), size, kernel, dilation, stride=stride
        ),
        "conv2d": lambda x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1: F.conv2d(
            x, w, None, stride, padding, dilation, groups
        ),
        "max_pool2d": lambda x, kernel, stride, padding=0, dilation=1: F.max_pool2d(
            x, kernel, stride, padding, dilation
        ),
        "avg_pool2d": lambda x, kernel, stride, padding=0: F.avg_pool2d(x, kernel, stride, padding),
        "adaptive_avg_pool2d": lambda x, size: F.adaptive_avg_pool2d(x, size),
        "batch_norm": lambda x, w, b, eps=1e-5: F.batch_norm(x, None, None, w, b, training=True, eps=eps),
    }


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
