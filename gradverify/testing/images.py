"""How to draw arguments and parameters of the image ops: their shapes hang together more than a shape rule says."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import OPS


def draw(name: str) -> Any:
    """Arguments and parameters of an op, small enough for entry-by-entry differences."""

    def pair(rng: np.random.Generator, lo: int, hi: int) -> tuple[int, int]:
        a, b = rng.integers(lo, hi + 1, 2)
        return int(a), int(b)

    def drawn(rng: np.random.Generator) -> Any:
        values = lambda *shape: rng.standard_normal(shape)
        kernel, stride, dilation = pair(rng, 1, 2), pair(rng, 1, 2), pair(rng, 1, 2)
        h, w = pair(rng, 3, 4)
        if name == "im2col":
            return (values(1, 2, h, w),), {"kernel": kernel, "stride": stride, "dilation": dilation}
        if name == "col2im":
            params: dict[str, Any] = {"kernel": kernel, "stride": stride, "dilation": dilation}
            shape = OPS["im2col"].shape((1, 1, h, w), **params)
            return (values(*shape),), {"size": (h, w), **params}
        if name == "conv2d":
            groups = int(rng.integers(1, 3))
            params = {"stride": stride, "padding": pair(rng, 0, 1), "dilation": dilation, "groups": groups}
            return (values(1, 2, h, w), values(2, 2 // groups, *kernel)), params
        if name == "max_pool2d":
            padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
            return (values(1, 1, h, w),), {"kernel": kernel, "stride": stride, "padding": padding}
        if name == "avg_pool2d":
            padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
            return (values(1, 1, h, w),), {"kernel": kernel, "stride": stride, "padding": padding}
        if name == "adaptive_avg_pool2d":
            return (values(1, 2, h, w),), {"size": pair(rng, 1, 3)}
        return (values(3, 2, *([2] * int(rng.integers(0, 3)))), values(2), values(2)), {}

    return drawn
