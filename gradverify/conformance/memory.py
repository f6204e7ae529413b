"""Memory that an engine holds, counted: what backward frees and whether a training loop grows.

An engine over NumPy is counted by tracemalloc, which sees every array. PyTorch allocates beside Python, so there the
storages are asked themselves: what the graph saves passes through `saved_tensors_hooks`, and a weak reference to each
storage says whether it is still alive ("Hooks for saved tensors", PyTorch's tutorials).
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

SIDE = 64
ARRAY = SIDE * SIDE * 4
"""Bytes of one array of the programs below, 16 KiB: some ten times what the Python objects of a step take, so that less
than one array more means that none was kept."""


class Traced:
    """Bytes of the arrays that are alive, by tracemalloc."""

    def __enter__(self) -> Traced:
        self.ours = not tracemalloc.is_tracing()
        if self.ours:
            tracemalloc.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.ours:
            tracemalloc.stop()

    def watched(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def alive(self) -> int:
        return tracemalloc.get_traced_memory()[0]


class Storages:
    """The bytes that PyTorch's graphs saved and that are still alive."""

    def __enter__(self) -> Storages:
        self.refs: dict[int, tuple[Any, int]] = {}
        return self

    def __exit__(self, *exc: object) -> None:
        self.refs.clear()

    def watched(self) -> AbstractContextManager[Any]:
        """Within the block, saved storages are counted."""
        import torch
        from torch.multiprocessing.reductions import StorageWeakRef

        def pack(x: Any) -> Any:
            storage = x.untyped_storage()
            ref = StorageWeakRef(storage)
            self.refs[ref.cdata] = ref, storage.nbytes()
            return x

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)

    def alive(self) -> int:
        return sum(size for ref, size in self.refs.values() if not ref.expired())


def counter(torch: Any) -> Traced | Storages:
    return Storages() if torch.__name__ == "torch" else Traced()


def freed(torch: Any) -> tuple[int, int]:
    """The bytes of a root's graph before and after its backward, while the root is alive."""
    _freed(torch)  # what is made once and for all (rules, imports) is not counted
    return _freed(torch)


def _freed(torch: Any) -> tuple[int, int]:
    with counter(torch) as count:
        x = torch.ones(SIDE, SIDE, requires_grad=True)
        x.grad = torch.zeros(SIDE, SIDE)
        start = count.alive()
        with count.watched():
            y = torch.tanh(torch.tanh(torch.tanh(x) * 2.0) * 2.0).sum()
        before = count.alive() - start
        y.backward()
        return before, count.alive() - start


def grown(torch: Any, step: Callable[[Any, Any], None] | None = None) -> int:
    """Bytes that a training loop holds more after its twelfth step than after its fourth."""
    with counter(torch) as count:
        w = torch.ones(SIDE, SIDE, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.125, momentum=0.5)
        alive_bytes = []
        gc.disable()
        try:
            for _ in range(12):
                with count.watched():
                    (step or _step)(torch, w)
                optimizer.step()
                optimizer.zero_grad()
                alive_bytes.append(count.alive())
        finally:
            gc.enable()
        return alive_bytes[-1] - alive_bytes[3]


def _step(torch: Any, w: Any) -> None:
    torch.tanh(torch.tanh(w) * w).sum().backward()
