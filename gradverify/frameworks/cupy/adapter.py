"""Functions of CuPy whose VJP was written by hand: as those of NumPy, on a GPU."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from ..numpy.adapter import NumpySubject


class CupySubject(NumpySubject):
    """Arrays are copied to the GPU and back; they are contiguous there."""

    name = "cupy"
    dtypes: tuple[str, ...] = ("float16", "float32", "float64")
    negative_strides = False

    def __init__(self, device: str = "cuda") -> None:
        self.device = device

    def unavailable(self) -> str | None:
        if self.device == "cpu":
            return "CuPy runs on GPUs only"
        if importlib.util.find_spec("cupy") is None:
            return "CuPy is not installed: pip install gradverify[cupy]"
        import cupy

        try:
            cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as e:
            return f"CuPy sees no GPU: {e}"
        return None

    def put(self, value: np.ndarray) -> Any:
        import cupy

        return cupy.asarray(np.array(value))

    def get(self, array: Any) -> np.ndarray:
        import cupy

        return np.array(cupy.asnumpy(array))
