"""`torch.optim.swa_utils`: the schedule of stochastic weight averaging (Izmailov et al. 2018)."""

from __future__ import annotations

import math
from typing import Any

from .lr_scheduler import LRScheduler, _as_optimizer, _per_group

__all__ = ["SWALR"]


class SWALR(LRScheduler):
    """From the rates that the groups have to `swa_lr` within `anneal_epochs`, and on at that rate.

    swa_lr           one rate, or one per group
    anneal_strategy  "cos" or "linear"

    Raises ValueError for another strategy, for `anneal_epochs` that is negative or no int, and for a list of another
    length than the groups.
    """

    def __init__(
        self, optimizer: Any, swa_lr: float | list[float], anneal_epochs: int = 10, anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if isinstance(swa_lr, list | tuple) and len(swa_lr) != len(optimizer.param_groups):
            raise ValueError(
                f"swa_lr must have the same length as optimizer.param_groups: swa_lr has {len(swa_lr)}, "
                f"optimizer.param_groups has {len(optimizer.param_groups)}"
            )
        for group, rate in zip(optimizer.param_groups, _per_group(swa_lr, _as_optimizer(optimizer, "SWALR"), "swa_lr")):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of `swa_lr` is in the rate after a number of steps, from 0 to 1."""
        t = min(max(step / max(1, self.anneal_epochs), 0.0), 1.0)
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[float]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        out = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            # The rate is end·before + start·(1 - before): where it started from follows, whatever other schedules did.
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            out.append(end * now + start * (1 - now))
        return out
