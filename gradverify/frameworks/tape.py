"""A tape in PyTorch's dialect: what the laws about autograd itself are asked of (`Framework.tape`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .values import several


@dataclass(frozen=True)
class Tape:
    """The dialect: tensors with `.grad`, `.backward`, `.detach`, `.requires_grad_`, and a module with `no_grad` and
    `autograd.grad`.

    module  `torch`, or what speaks like it
    tensor  NumPy array -> the framework's tensor, in memory of its own
    array   tensor -> NumPy array, a copy
    """

    module: Any
    tensor: Callable[[np.ndarray], Any]
    array: Callable[[Any], np.ndarray]

    def leaves(self, values: Mapping[str, np.ndarray], wrt: Sequence[str]) -> dict[str, Any]:
        """The inputs as leaves; those of `wrt` require grad."""
        return {n: self.tensor(v).requires_grad_(n in wrt) for n, v in values.items()}

    def run(self, function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[Any, ...]:
        """The outputs."""
        return several(function(*given.values()))

    def roots(self, outputs: Sequence[Any], cotangent: Sequence[np.ndarray]) -> tuple[list[Any], list[Any]]:
        """The outputs that have a history, and their cotangents; for `autograd.backward` and `autograd.grad`."""
        pairs = [(o, self.tensor(g)) for o, g in zip(outputs, cotangent) if o.requires_grad]
        return [o for o, _ in pairs], [g for _, g in pairs]

    def grads(self, tensors: Mapping[str, Any], names: Sequence[str]) -> dict[str, np.ndarray | None]:
        """What stands in `.grad`."""
        return {n: None if tensors[n].grad is None else self.array(tensors[n].grad) for n in names}
