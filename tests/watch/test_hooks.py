"""Hooks that replace gradients are listed, and nothing changes beside them."""

from __future__ import annotations

import functools
import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gradverify
from gradverify.frameworks.watching import unwatched
from gradverify.watch.pins import Pin
from gradverify.watch.record import Recorder
from gradverify.watch.table import merged, rows, table_lines

from .helpers import record


def halve(grad: torch.Tensor) -> torch.Tensor:
    return grad / 2


def clip(grad: torch.Tensor, limit: float) -> torch.Tensor:
    return grad.clamp(-limit, limit)


def copied(grad: torch.Tensor) -> torch.Tensor:
    return grad.clone()


def printed(grad: torch.Tensor) -> None:
    grad.abs().sum()


def written(grad: torch.Tensor) -> None:
    grad.mul_(2)


class Scale:
    def __call__(self, grad: torch.Tensor) -> torch.Tensor:
        return 3 * grad

    def method(self, grad: torch.Tensor) -> torch.Tensor:
        return 3 * grad


def of_module(module: Any, grad_input: Any, grad_output: Any) -> Any:
    return tuple(None if g is None else -g for g in grad_input)


def of_module_seen(module: Any, grad_input: Any, grad_output: Any) -> None:
    return None


def before_module(module: Any, grad_output: Any) -> Any:
    return tuple(2 * g for g in grad_output)


def on_tensor(hook: Callable[..., Any]) -> Callable[[], list[Any]]:
    def run() -> list[Any]:
        x = torch.tensor([0.5, -2.0], requires_grad=True)
        y = x * 3
        y.register_hook(hook)
        (y * y).sum().backward()
        return [x.grad]

    return run


def on_module(name: str, hook: Callable[..., Any]) -> Callable[[], list[Any]]:
    def run() -> list[Any]:
        layer = torch.nn.Linear(2, 2)
        with torch.no_grad():
            for p in layer.parameters():
                p.fill_(0.5)
        getattr(layer, name)(hook)
        x = torch.tensor([[0.5, -2.0]], requires_grad=True)
        layer(x * 2).square().sum().backward()
        return [x.grad, *(p.grad for p in layer.parameters())]

    return run


RUNS: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "a function": (on_tensor(halve), "halve"),
    "a partial function": (on_tensor(functools.partial(clip, limit=0.5)), "clip"),
    "an object": (on_tensor(Scale()), "Scale.__call__"),
    "a method": (on_tensor(Scale().method), "Scale.method"),
    "in place": (on_tensor(written), "written"),
    "a module's": (on_module("register_full_backward_hook", of_module), "of_module"),
    "a module's pre-hook": (on_module("register_full_backward_pre_hook", before_module), "before_module"),
    "a copy": (on_tensor(copied), ""),
    "the same": (on_tensor(lambda grad: grad), ""),
    "clipping that clips nothing": (on_tensor(functools.partial(clip, limit=1e9)), ""),
    "none": (on_tensor(printed), ""),
    "a module's that looks": (on_module("register_full_backward_hook", of_module_seen), ""),
}


@pytest.mark.parametrize(("run", "name"), RUNS.values(), ids=RUNS)
def test_who_replaces_gradients_is_listed(run: Callable[[], list[Any]], name: str) -> None:
    found: list[list[Any]] = []
    recorder = record(lambda: found.append(run()))
    assert all(torch.equal(a, b) for a, b in zip(found[0], run(), strict=True))
    names = [h.definition.name for h in recorder.hooks.values()]
    assert names == ([f"{__name__}.{name}"] if name else [])
    lines = [line for line in table_lines(rows(recorder, [])) if "replaces gradients" in line]
    assert len(lines) == len(names)
    assert all("test_hooks.py:" in line for line in lines)


def test_it_is_counted_and_merged_between_workers() -> None:
    recorder = Recorder()
    recorder.test = "test_a"
    record_into(recorder, on_tensor(halve), on_tensor(halve))
    line = next(line for line in table_lines(merged([rows(recorder, []), rows(recorder, [])])) if "hook" in line)
    assert "4 times" in line
    assert "first in test_a" in line
    assert "nobody judges" in line


def record_into(recorder: Recorder, *runs: Callable[[], Any]) -> None:
    from gradverify.watch.imports import watching

    with watching(recorder):
        for run in runs:
            run()


def test_a_pin_says_that_it_is_meant(tmp_path: Path) -> None:
    (tmp_path / "gradverify.toml").write_text(
        f'[pin."{__name__}.halve"]\nkind = "hook"\nreason = "half of it is enough"\n'
    )
    with gradverify.watch("all", root=tmp_path) as watched:
        on_tensor(halve)()
        on_tensor(Scale())()
    meant, other = (line for line in watched.lines() if "replaces gradients" in line)
    assert "it is meant (half of it is enough)" in meant
    assert "nobody judges" in other


def test_a_pin_of_another_kind_says_nothing_of_it() -> None:
    recorder = record(on_tensor(halve))
    (row,) = (r for r in rows(recorder, [], {f"{__name__}.halve": Pin("factor")}) if r["replaced"])
    assert not row["meant"]


def test_hooks_outside_the_scope_and_in_judgements_are_not_listed() -> None:
    def judged() -> None:
        with unwatched():
            on_tensor(halve)()

    assert not record(on_tensor(halve), wanted=lambda d: False).hooks
    assert not record(judged).hooks


def test_a_hook_can_be_removed_and_ends_with_the_watch() -> None:
    x = torch.ones(2, requires_grad=True)

    def run() -> None:
        x.register_hook(halve).remove()
        x.register_hook(halve)

    recorder = record(run)
    x.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.5, 0.5]
    assert not recorder.hooks
    assert torch.Tensor.register_hook.__module__ == "torch._tensor"
    reference = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert reference() is None


def test_a_module_with_hooks_is_pickled() -> None:
    layer = torch.nn.Linear(2, 2)

    def run() -> bytes:
        layer.register_full_backward_hook(of_module)
        layer(torch.ones(1, 2, requires_grad=True)).sum().backward()
        return pickle.dumps(layer)

    found: list[bytes] = []
    record(lambda: found.append(run()))
    assert b"gradverify.frameworks" not in found[0]
    assert list(pickle.loads(found[0])._backward_hooks.values()) == [of_module]
