"""What a function may leave changed in PyTorch: the modes of the process, and the Python attributes of modules."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from ...trace.calls import closed_over


def _modes() -> Mapping[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Name -> how a mode is read, and set."""
    import torch

    return {
        "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "default device": (torch.get_default_device, torch.set_default_device),
        "grad": (torch.is_grad_enabled, torch._C._set_grad_enabled),
        "threads": (torch.get_num_threads, torch.set_num_threads),
        "matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        "deterministic": (
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda v: torch.use_deterministic_algorithms(v[0], warn_only=v[1]),
        ),
        "anomaly": (
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda v: torch.autograd.set_detect_anomaly(v[0], check_nan=v[1]),
        ),
        "autocast": (lambda: torch.is_autocast_enabled("cpu"), lambda v: torch.set_autocast_enabled("cpu", v)),
        "backends": (_flags, _set_flags),
    }


_FLAGS = ("cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32", "cuda.matmul.allow_tf32")


def _flags() -> tuple[Any, ...]:
    import torch

    return tuple(attrgetter(name)(torch.backends) for name in _FLAGS)


def _set_flags(values: tuple[Any, ...]) -> None:
    import torch

    for name, value, now in zip(_FLAGS, values, _flags()):
        if value != now:
            owner, _, flag = name.rpartition(".")
            setattr(attrgetter(owner)(torch.backends), flag, value)


@contextmanager
def kept_modes(function: Callable[..., Any]) -> Iterator[None]:
    """A block that leaves the modes, the generators, and the function's modules (attributes, buffers) as they were.

    Modes that cannot be read (`set_flush_denormal`) and what lies deeper than an attribute, its entries or its items stay
    changed; a lazy module is made by its first call, as always.
    """
    import torch

    modes = _modes()
    before = {name: get() for name, (get, _) in modes.items()}
    drawn = torch.get_rng_state()
    on_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    modules = _modules(function)
    attributes = [(m, _attributes(m)) for m in modules]
    dense = lambda b: b is not None and b.layout is torch.strided and b.device.type != "meta"
    buffers = [
        (m, {n: (b, b.detach().clone(), b._version) for n, b in m._buffers.items() if dense(b)}) for m in modules
    ]
    try:
        yield
    finally:
        torch.set_rng_state(drawn)
        if on_cuda:
            torch.cuda.set_rng_state_all(on_cuda)
        for module, kept in buffers:
            _restore_buffers(module, kept)
        for name, (get, put) in modes.items():
            if get() != before[name]:
                put(before[name])
        for module, values in attributes:
            _restore(module, values)


def _restore_buffers(module: Any, kept: Mapping[str, tuple[Any, Any, int]]) -> None:
    import torch

    for name, (buffer, value, version) in kept.items():
        if name in module._buffers:
            module._buffers[name] = buffer
        # A batch norm writes its statistics without a new version.
        if buffer._version != version or not torch.equal(buffer, value):
            with torch.no_grad():
                buffer.copy_(value)


def _modules(function: Any) -> list[Any]:
    """The modules that a function is, is a method of, or closes over, with theirs; but for lazy ones."""
    import torch
    from torch.nn.modules.lazy import LazyModuleMixin

    found: dict[int, Any] = {}
    for value in (function, getattr(function, "__self__", None), *closed_over(function).values()):
        if isinstance(value, torch.nn.Module):
            found |= {id(m): m for m in value.modules() if not isinstance(m, LazyModuleMixin)}
    return list(found.values())


_CONTAINERS = (list, dict, set, deque)


def _own(module: Any) -> dict[str, Any]:
    """The attributes that are no part of every Module (its tables of parameters, buffers, modules and hooks)."""
    import torch

    common = vars(torch.nn.Module()).keys() - {"training"}
    return {name: value for name, value in vars(module).items() if name not in common}


def _attributes(module: Any) -> dict[str, tuple[Any, Any]]:
    """Attribute -> (its value, a copy of it if it is a container)."""
    copied = lambda v: type(v).copy(v) if type(v) in _CONTAINERS else None
    return {name: (value, copied(value)) for name, value in _own(module).items()}


def _restore(module: Any, before: Mapping[str, tuple[Any, Any]]) -> None:
    for name in _own(module).keys() - before.keys():
        del module.__dict__[name]
    for name, (value, content) in before.items():
        if module.__dict__.get(name) is not value:
            module.__dict__[name] = value
        if content is not None and not _is_same(value, content):
            value.clear()
            value.extend(content) if isinstance(value, list | deque) else value.update(content)


def _is_same(a: Any, b: Any) -> bool:
    """Do two containers of one type hold the same objects?"""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(a[k] is b[k] for k in a)
    return a == b if isinstance(a, set) else len(a) == len(b) and all(x is y for x, y in zip(a, b))
