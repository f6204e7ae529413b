"""PyTorch without its users' hooks: an experiment on a gradient that is wrong."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ...trace.call_site import folder_of, frames, place


@contextmanager
def without_hooks() -> Iterator[list[str]]:
    """A block without hooks on tensors, modules and saved tensors. The list says which were left out."""
    import torch
    from torch.utils.hooks import RemovableHandle

    left: list[str] = []
    root = folder_of(torch)

    def skip(what: str) -> None:
        *_, caller = frames(root)
        left.append(f"{what} at {place(caller)}")

    def on_tensor(self: Any, hook: Any) -> Any:
        skip("the hook that is registered on a tensor")
        return RemovableHandle(OrderedDict())

    def on_module(self: Any) -> tuple[list[Any], list[Any]]:
        if self._backward_hooks or torch.nn.modules.module._global_backward_hooks:
            left.append(f"the backward hook of a {type(self).__name__}")
        return [], []

    def on_module_before(self: Any) -> list[Any]:
        if self._backward_pre_hooks or torch.nn.modules.module._global_backward_pre_hooks:
            left.append(f"the backward pre-hook of a {type(self).__name__}")
        return []

    def on_saved(self: Any) -> None:
        skip("the hooks on saved tensors that are entered")

    saved, module = torch.autograd.graph.saved_tensors_hooks, torch.nn.Module
    with (
        mock.patch.object(torch.Tensor, "register_hook", on_tensor),
        mock.patch.object(module, "_get_backward_hooks", on_module),
        mock.patch.object(module, "_get_backward_pre_hooks", on_module_before),
        mock.patch.object(saved, "__enter__", on_saved),
        mock.patch.object(saved, "__exit__", return_value=None),
    ):
        yield left
