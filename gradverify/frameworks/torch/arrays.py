"""Tensors of NumPy arrays, and NumPy arrays of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...namespaces.dtypes import numpy_dtype
from ...namespaces.layout import core

_BFLOAT16 = numpy_dtype("bfloat16")


def tensor(value: np.ndarray, device: str = "cpu") -> Any:
    """Return a tensor of its own memory, laid out like `value`.

    Gaps, order of axes, expanded axes and the offset within the base are kept, so that laws about layout reach the
    kernels; only negative strides, which PyTorch lacks, come out contiguous. Gaps hold NaN, which shows a kernel that
    reads them."""
    import torch

    if value.dtype == _BFLOAT16:  # torch.from_numpy knows NumPy's own dtypes only: the same bits as integers
        return tensor(value.view(np.int16), device).view(torch.bfloat16)
    if _is_alone(value):
        made = torch.from_numpy(np.array(value))
        return made if device == "cpu" else made.to(device)
    strides = [s // value.itemsize for s in value.strides]
    own = core(value)
    made = torch.from_numpy(np.array(own, order="C")).to(device)
    if all(s >= 0 for s in strides) and own.size:
        offset = _offset(value)
        room = offset + 1 + sum((n - 1) * s for n, s in zip(own.shape, strides))
        gap = torch.nan if made.is_floating_point() else 0
        memory = torch.full((room,), gap, dtype=made.dtype, device=device)
        made = memory.as_strided(own.shape, strides, offset).copy_(made)
    return made.expand(value.shape)


def _is_alone(value: np.ndarray) -> bool:
    """Is it in order, without gaps, and at the begin of its base?"""
    base = value.base
    part = isinstance(base, np.ndarray) and base.dtype == value.dtype and base.size != value.size
    return value.flags.c_contiguous and value.size > 0 and not part


def _offset(value: np.ndarray) -> int:
    """By how many entries an array begins behind its base."""
    if not isinstance(value.base, np.ndarray) or value.base.dtype != value.dtype:
        return 0
    start, base = (a.__array_interface__["data"][0] for a in (value, value.base))
    return max(start - base, 0) // value.itemsize


def from_numpy(value: np.ndarray) -> Any:
    """A tensor of its own memory, contiguous; of bfloat16 too."""
    return tensor(np.array(value, order="C"))


def plain(t: Any) -> Any:
    """The values of a tensor whose class has a `__torch_dispatch__`, of which PyTorch makes no array, in a common one."""
    import torch

    if type(t).__torch_dispatch__ is torch.Tensor.__torch_dispatch__:
        return t
    return torch.empty(t.shape, dtype=t.dtype, device=t.device).copy_(t.detach())


def to_numpy(t: Any) -> np.ndarray:
    """A dense copy on the host; of bfloat16 in ml_dtypes'."""
    import torch

    t = plain(t)
    if t.layout is not torch.strided:  # an embedding's gradient: duplicates add up
        t = t.to_dense()
    # By force, or of a clone: what is zero throughout may have no memory (sgn's gradient), and conjugates may be lazy.
    if t.dtype == torch.bfloat16:
        host = t.detach().cpu().resolve_conj().resolve_neg()
        return host.clone().view(torch.int16).numpy().copy().view(_BFLOAT16)
    return t.numpy(force=True).copy()


def some_entries(t: Any, most: int) -> np.ndarray:
    """All entries; of more than `most` some, evenly spread, and the smallest and the largest of real ones.

    A copy in any case: a tensor whose memory NumPy has seen cannot be resized any more.
    """
    import torch

    t = plain(t.detach())
    if t.numel() <= most or t.dtype is torch.bool:
        if t.is_cpu and not (t.is_complex() or t.is_neg() or t.dtype is torch.bfloat16):
            copy: np.ndarray = t.clone().numpy()
            return copy
        return to_numpy(t.clone())
    flat = t.reshape(-1)
    some = flat[:: -(-flat.numel() // most)]
    return to_numpy(some.clone() if t.is_complex() else torch.cat([some, *(e.reshape(1) for e in flat.aminmax())]))
