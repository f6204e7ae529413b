"""Weights by their norm: `weight_norm` (Salimans & Kingma 2016) and `spectral_norm` (Miyato et al. 2018).

The one idea: the parameter goes under another name, and a hook computes the weight from it before every forward.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..api.creation import randn
from ..api.elementwise import div, mul
from ..api.linalg import matmul
from ..api.reduction import sum, vector_norm
from ..api.shape import permute, reshape, transpose
from ..dtypes import OF_NUMPY
from ..modes import no_grad
from ..tensor import Tensor
from . import functional as F
from .module import Module
from .parameter import Parameter


class Reparametrization(Protocol):
    """A hook before forward that knows which weight it computes."""

    name: str

    def compute(self, module: Module) -> Tensor: ...

    def __call__(self, module: Module, inputs: Any) -> None: ...


class WeightNorm:
    """weight = g v / |v|, with a norm per entry of `dim` (None: one of all)."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def norms(self, v: Tensor) -> Tensor:
        if self.dim is None:
            return vector_norm(v)
        others = tuple(k for k in range(v.dim()) if k != self.dim % v.dim())
        return vector_norm(v, 2, others, True)

    def compute(self, module: Module) -> Tensor:
        v = getattr(module, self.name + "_v")
        return mul(v, div(getattr(module, self.name + "_g"), self.norms(v)))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Direction and length of a parameter as two: NAME_v and NAME_g. Returns the module.

    Raises RuntimeError where that was done already.
    """
    _refuse_two(module, name, WeightNorm)
    hook, weight = WeightNorm(name, dim), getattr(module, name)
    delattr(module, name)
    module.register_parameter(name + "_g", Parameter(hook.norms(weight).detach()))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    hook(module, ())
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Put one parameter in place of the two again. Raises ValueError where there are none."""
    weight = _take_hook(module, name, WeightNorm, "weight_norm").compute(module).detach()
    for part in ("_g", "_v"):
        delattr(module, name + part)
    delattr(module, name)
    module.register_parameter(name, Parameter(weight))
    return module


class SpectralNorm:
    """weight = W / sigma, sigma = uᵀ W v: its largest singular value, after steps of the power iteration.

    W has `dim` as its rows. u and v are buffers, and constants for the gradient; they move on in training only.
    """

    def __init__(self, name: str, steps: int, dim: int, eps: float) -> None:
        self.name, self.n_power_iterations, self.dim, self.eps = name, steps, dim, eps

    def matrix(self, weight: Tensor) -> Tensor:
        if self.dim:
            weight = permute(weight, (self.dim, *(k for k in range(weight.dim()) if k != self.dim)))
        return reshape(weight, (weight.shape[0], -1))

    def iterate(self, module: Module, steps: int) -> None:
        w = self.matrix(getattr(module, self.name + "_orig"))
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        with no_grad():
            for _ in range(steps):
                v.copy_(F.normalize(matmul(transpose(w, 0, 1), u), dim=0, eps=self.eps))
                u.copy_(F.normalize(matmul(w, v), dim=0, eps=self.eps))

    def compute(self, module: Module) -> Tensor:
        weight = getattr(module, self.name + "_orig")
        # Copies: a second forward moves u and v on, and the first is yet to be differentiated.
        u, v = (getattr(module, self.name + part).clone() for part in ("_u", "_v"))
        return div(weight, sum(mul(u, matmul(self.matrix(weight), v))))

    def __call__(self, module: Module, inputs: Any) -> None:
        if module.training:
            self.iterate(module, self.n_power_iterations)
        setattr(module, self.name, self.compute(module))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """The parameter goes to NAME_orig, and NAME is that divided by its largest singular value. Returns the module.

    dim  which dim of the weight is the rows of the matrix; by default that of the outputs

    Raises ValueError for `n_power_iterations` below 1, RuntimeError where that was done already.
    """
    if n_power_iterations < 1:
        raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
    _refuse_two(module, name, SpectralNorm)
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    hook, weight = SpectralNorm(name, n_power_iterations, dim, eps), getattr(module, name)
    delattr(module, name)
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.data)
    for part, size in zip(("_u", "_v"), hook.matrix(weight).shape):
        start = F.normalize(randn(size, dtype=OF_NUMPY[weight._data.dtype]), dim=0, eps=eps)
        module.register_buffer(name + part, start)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Put the divided weight in place of the original. Raises ValueError where there is none."""
    weight = _take_hook(module, name, SpectralNorm, "spectral_norm").compute(module).detach()
    for part in ("_u", "_v", "_orig"):
        delattr(module, name + part)
    delattr(module, name)
    module.register_parameter(name, Parameter(weight))
    return module


def _refuse_two(module: Module, name: str, kind: type) -> None:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, kind) and hook.name == name:  # type: ignore[attr-defined]
            what = "weight_norm" if kind is WeightNorm else "spectral_norm"
            raise RuntimeError(f"Cannot register two {what} hooks on the same parameter {name}")


def _take_hook(module: Module, name: str, kind: type, what: str) -> Reparametrization:
    """The hook of a weight, taken off the module. Raises ValueError where there is none."""
    hooks = module._hooks.get("forward_pre")
    for key, (hook, _) in list(zip(hooks.hooks, hooks.items())) if hooks is not None else []:
        if isinstance(hook, kind) and hook.name == name:  # type: ignore[attr-defined]
            hooks.hooks.pop(key)
            return hook  # type: ignore[return-value]
    raise ValueError(f"{what} of '{name}' not found in {module}")
