"""Recording calls, and judging them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gradverify.frameworks.watching import Sample
from gradverify.watch.imports import watching
from gradverify.watch.judge import Judged, judge
from gradverify.watch.record import Recorder


def record(run: Callable[[], Any], **how: Any) -> Recorder:
    """What a watch keeps of `run()`."""
    recorder = Recorder(**how)
    with watching(recorder):
        run()
    return recorder


def sample_of(run: Callable[[], Any]) -> Sample:
    """The one call that `run()` makes."""
    (sample,) = record(run).samples
    return sample


def judged(function: Any, *args: Any, loss: Callable[[Any], torch.Tensor] = lambda out: (out * out).sum()) -> Judged:
    """The judgement of a call whose gradient is asked for by .backward()."""
    return judge(sample_of(lambda: loss(function.apply(*args)).backward()))


def drawn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
