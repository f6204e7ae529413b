"""`torch.nn.utils`: clipping gradients, parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..api.joining import cat
from ..api.shape import reshape
from ..tensor import Tensor, wrap
from .normed_weights import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "remove_spectral_norm",
    "remove_weight_norm", "spectral_norm", "vector_to_parameters", "weight_norm",
]  # fmt: skip


def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scales all gradients so that their norm, taken together, is at most `max_norm`; returns the norm before.

    error_if_nonfinite  raise RuntimeError where that norm is infinite or NaN
    foreach             PyTorch's choice between two ways to compute the same
    """
    grads = [p._grad for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p._grad is not None]
    if not grads:
        return wrap(np.float32(0.0))
    norms = np.array([np.linalg.norm(g._data.ravel(), norm_type) for g in grads])
    total = float(np.linalg.norm(norms, norm_type))
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be clipped. "
            "To disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    scale = min(max_norm / (total + 1e-6), 1.0)
    for g in grads:
        g.mul_(scale)
    return wrap(grads[0]._data.dtype.type(total))


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    for p in [parameters] if isinstance(parameters, Tensor) else parameters:
        if p._grad is not None:
            p._grad.clamp_(-clip_value, clip_value)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the parts of a vector into the parameters, in order."""
    start = 0
    for p in parameters:
        n = p.numel()
        p.data = reshape(vec[start : start + n], tuple(p.shape)).data
        start += n


def get_total_norm(tensors: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """The norm of all tensors taken together."""
    norms = [np.linalg.norm(x._data.ravel(), norm_type) for x in tensors]
    return wrap(np.float32(np.linalg.norm(np.array([0.0, *norms]), norm_type)))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    return cat([reshape(p, -1) for p in parameters])
