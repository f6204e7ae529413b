"""What each FAIL is: the finding of bench/findings.py that it is an instance of, by operator."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MATRIX_EXP = "matrix_exp, gradient for a cotangent of 2^20"
NORMAL = "normal, gradient of the mean for a given draw"
SCATTER = "as_strided_scatter, gradient of what is written over"
UNPOOL = "max_unpool2d with indices that are not contiguous, gradient"

FINDINGS: Mapping[str, str] = MappingProxyType(
    {
        "as_strided_scatter": SCATTER,
        "matrix_exp": MATRIX_EXP,
        "nn_functional_max_unpool2d": UNPOOL,
        "nn_functional_max_unpool2d_grad": UNPOOL,
        "nn_functional_max_unpool3d": UNPOOL,
        "nn_functional_max_unpool3d_grad": UNPOOL,
        "nn_functional_nll_loss": "nll_loss over channels-last images, gradient",
        "normal": NORMAL,
        "normal_number_mean": NORMAL,
    }
)


def finding(operator: str) -> str:
    """The finding's title; "" for a FAIL that nobody has looked at."""
    return FINDINGS.get(operator, "")
