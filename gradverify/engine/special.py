"""`torch.special`: the special functions of the op table, under PyTorch's names."""

from __future__ import annotations

from typing import Any

from ..ops import OPS
from .api.call import run
from .api.reduction import logsumexp
from .nn.functional import log_softmax, softmax
from .tensor import Tensor

__all__ = ["log_softmax", "logsumexp", "polygamma", "softmax"]

_OTHER = {"expit": "sigmoid", "psi": "digamma", "gammaln": "lgamma", "digamma": "digamma"}


def __getattr__(name: str) -> Any:
    op = _OTHER.get(name, name)
    if op not in OPS:
        raise AttributeError(f"module 'gradverify.engine.special' has no attribute {name!r}")
    return lambda *args: run(op, *args)


def polygamma(n: int, input: Tensor) -> Tensor:
    return run("polygamma", input, n=n)
