"""The reference engine: PyTorch's autograd, readable, over NumPy (or CuPy).

    import gradverify.engine as torch

From `x * y` to its derivative, in six steps:

    api/methods.py: _arithmetic     `x * y` is a method of Tensor that runs the op "multiply"
    fast.py: binary                 its kernel runs over the two arrays; the result is a Tensor
    dispatch.py: leaver             the result gets an OpNode, with an edge to the node of x and of y
    rules.py: Rule.plan             what the node keeps: what the VJPs of x and of y read (`op_facts`: each reads the other)
    nodes.py: runner                how the node will run: it takes what was kept, unless that was written to, and reads the
                                    VJP texts, `g * y` and `g * x`, over arrays (`backward`: or over tensors, create_graph)
    autograd/walk.py: walk          `backward()` sends gradients along the edges and runs the nodes, the last one first

docs/how-autograd-works.md builds a small engine of this kind in eight steps. How to differentiate stands in none of these
files, but in the op table, `gradverify.ops`. `tensor` says what a tensor is, `tape`
what a node is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import autograd, dtypes, fft, legacy, linalg, special
from .api import aliases, methods
from .api.conversion import contiguous_format, preserve_format
from .api.creation import *  # noqa: F403
from .api.creation import Generator, manual_seed
from .autograd import is_anomaly_enabled
from .composite import record_composite
from .devices import cuda_available
from .dispatch import above
from .dtypes import device, dtype, get_default_dtype, set_default_dtype
from .forward import apply_dual
from .modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .namespace import ENGINE, EngineNamespace
from .tensor import Size, Tensor

above.record_composite, above.apply_dual = record_composite, apply_dual
_functions = aliases.functions_by_name()
methods.install(_functions)
globals().update(aliases.functions_of_the_module(_functions))
globals().update(dtypes.DTYPES)
globals().update(legacy.CONSTRUCTORS)

# What is written in terms of the operators comes after they are installed.
from . import distributions, func, nn, optim, testing, utils  # noqa: E402
from .nn.functional import log_softmax, softmax  # noqa: E402
from .nn.functional import relu_ as relu_  # noqa: E402
from .serialization import load, save  # noqa: E402

Tensor.softmax, Tensor.log_softmax = softmax, log_softmax
pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
vmap = func.vmap


def result_type(a: Any, b: Any) -> dtype:
    """The dtype that an arithmetic op of the two gives."""
    raws = [x._data if isinstance(x, Tensor) else x for x in (a, b)]
    return dtypes.of_numpy(dtypes.result_type(raws))


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape of what the shapes are broadcast to. Raises RuntimeError where they do not fit."""
    try:
        return Size(np.broadcast_shapes(*((s,) if isinstance(s, int) else tuple(s) for s in shapes)))
    except ValueError:
        raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape") from None


def is_floating_point(input: Tensor) -> bool:
    return input.is_floating_point()


def is_nonzero(input: Tensor) -> bool:
    return bool(input)


def is_inference(input: Tensor) -> bool:
    return input.is_inference()


def _limits(of: Any) -> Any:
    """`finfo` and `iinfo`: NumPy's, of a dtype of PyTorch."""

    def info(kind: dtype | None = None) -> Any:
        return of((get_default_dtype() if kind is None else kind).numpy)

    return info


finfo, iinfo = _limits(np.finfo), _limits(np.iinfo)


class cuda:
    """`torch.cuda`, as far as scripts ask for it."""

    is_available = staticmethod(cuda_available)

    @staticmethod
    def synchronize() -> None:
        """Waits for the GPU, where there is one."""
        if cuda_available():
            import cupy

            cupy.cuda.Device().synchronize()


class _NoBackend:
    """A library that PyTorch may have below it: the engine has not, and takes the switches that scripts set."""

    enabled = benchmark = deterministic = allow_tf32 = False
    supported_engines, engine = ("none",), "none"

    def is_available(self) -> bool:
        return False

    is_built = is_available


class backends:
    """`torch.backends`."""

    cudnn, mha, mkl, mkldnn, mps, nnpack, openmp, quantized = (_NoBackend() for _ in range(8))

    class cuda:
        matmul = _NoBackend()


class accelerator:
    """`torch.accelerator`, as far as scripts ask for it: a CUDA device, where there is one."""

    is_available = staticmethod(cuda_available)

    @staticmethod
    def current_accelerator(check_available: bool = False) -> device | None:
        return device("cuda") if cuda_available() else None

    @staticmethod
    def device_count() -> int:
        return int(cuda_available())


__all__ = [
    "ENGINE", "EngineNamespace", "Generator", "Size", "Tensor", "accelerator", "autograd", "backends", "broadcast_shapes",
    "contiguous_format", "cuda", "device", "distributions", "dtype", "enable_grad", "fft", "finfo", "func",
    "get_default_dtype", "iinfo", "inference_mode", "is_anomaly_enabled", "is_floating_point", "is_grad_enabled",
    "is_inference", "is_inference_mode_enabled", "is_nonzero", "linalg", "load", "log_softmax", "manual_seed", "nn",
    "no_grad", "optim", "preserve_format", "result_type", "save", "set_default_dtype", "set_grad_enabled", "softmax",
    "special", "testing", "utils", "vmap",
]  # fmt: skip
