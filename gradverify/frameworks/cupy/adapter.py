"""Functions of CuPy whose VJP was written by hand: as those of NumPy, on a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...trace import Traced
from ..numpy.adapter import NumpyFramework


class CupyFramework(NumpyFramework):
    """Arrays are copied to the GPU and back; they are contiguous there."""

    name = "cupy"
    title = "CuPy"
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

    def owns(self, cls: type) -> bool:
        return any(t.__module__.partition(".")[0] == "cupy" and t.__name__ == "ndarray" for t in cls.__mro__)

    def is_array(self, x: Any) -> bool:
        return self.owns(type(x))

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        from .tracer import replaced

        return replaced(change, args)

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(fn, args, kwargs, seed=seed, confirm=confirm, strict=strict)

    def keeps_results(self, custom: bool) -> bool:
        return False
