"""Moving tensors between the CPU and a CUDA device (through CuPy, where it is installed)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes
from .kernels import Kernels, gpu
from .tensor import Tensor, wrap


def cuda_available() -> bool:
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount())
    except Exception:  # no CuPy, no driver, no device: all mean no
        return False


def move(x: Tensor, to: dtypes.device) -> Tensor:
    """The tensor on another device; the tensor itself where it already is there."""
    here = x.device
    if here.type == to.type and (to.index is None or to.index == here.index):
        return x
    if to.type == "cpu":
        import cupy

        return wrap(cupy.asnumpy(x._data))
    return wrap(on(to, x._data))


def on(device: dtypes.device | str | None, data: Any) -> Any:
    """A NumPy array as an array on `device`."""
    if device is None:
        return data
    device = dtypes.device(device)
    if device.type == "cpu":
        return data
    if not cuda_available():
        raise RuntimeError(
            "No CUDA device is available: the engine uses CUDA through CuPy; install cupy and check that a GPU is there"
        )
    import cupy

    if gpu.kernels is None:
        gpu.kernels = Kernels(cupy, "cupy")
    with cupy.cuda.Device(device.index or 0):
        return cupy.asarray(np.asarray(data))
