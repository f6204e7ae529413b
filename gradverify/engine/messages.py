"""PyTorch's words for what went wrong in an op or in its backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import dtypes
from .rules import Rule

INFERENCE = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation "
    "tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use "
    "`torch.no_grad()` instead of `torch.inference_mode()`."
)


DETACHED = (
    "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_(). This is not supported, please use "
    "out-of-place `.detach()` instead"
)


def modified_error(data: Any, made: str, now: int, then: int) -> RuntimeError:
    """The error for a saved tensor that was written to; `made` says which op made the tensor, or nothing."""
    kind, shape = dtypes.OF_NUMPY[data.dtype].tensor_type, list(data.shape)
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{kind} {shape}]{made and made + ','} is at version {now}; expected version {then} instead. "
        "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True)."
    )


def translate_error(rule: Rule, raws: Sequence[Any], error: Exception) -> Exception:
    """NumPy's complaint, as PyTorch would have put it."""
    shapes = [tuple(getattr(r, "shape", ())) for r in raws]
    if isinstance(error, TypeError):
        if rule.name == "subtract" and "boolean subtract" in str(error):
            return RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
                "operator instead."
            )
        return error
    if isinstance(error, np.exceptions.AxisError):
        n = max(len(shapes[0]), 1)
        return IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {error.axis})")
    if rule.spec.broadcasts and len(shapes) >= 2:
        for a in shapes:
            for b in shapes:
                for k in range(1, min(len(a), len(b)) + 1):
                    if a[-k] != b[-k] and a[-k] != 1 and b[-k] != 1:
                        return RuntimeError(
                            f"The size of tensor a ({a[-k]}) must match the size of tensor b ({b[-k]}) at non-singleton "
                            f"dimension {max(len(a), len(b)) - k}"
                        )
    if rule.name == "reshape":
        return RuntimeError(f"shape is invalid for input of size {raws[0].size}: {error}")
    if rule.name == "matmul":
        a, b = shapes
        if len(a) == 2 and len(b) == 2:
            return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})")
    return RuntimeError(f"{rule.name}: {error}")
