"""Grad modes: whether ops are recorded, per thread, as context managers and decorators."""

from __future__ import annotations

import functools
import inspect
import threading
from typing import Any


class _State(threading.local):
    enabled = True
    inference = False


state = _State()


class recording:
    """Ops inside are recorded. The engine's own `enable_grad`: no decorator, no nesting."""

    def __enter__(self) -> None:
        self.before, state.enabled = state.enabled, True

    def __exit__(self, *exc: object) -> None:
        state.enabled = self.before


class _Mode:
    """A context manager that is a decorator too; each entry remembers what to restore, so one object nests."""

    enabled = True
    inference: bool | None = None

    def __init__(self) -> None:
        self._restore: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._restore.append((state.enabled, state.inference))
        state.enabled = self.enabled
        if self.inference is not None:
            state.inference = self.inference

    def __exit__(self, *exc: object) -> None:
        state.enabled, state.inference = self._restore.pop()

    def _again(self) -> _Mode:
        return type(self)()

    def __call__(self, function: Any) -> Any:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                # The mode holds while the generator runs, not while its caller does.
                iterator, sent = function(*args, **kwargs), None
                while True:
                    try:
                        with self._again():
                            item = iterator.send(sent)
                    except StopIteration as stop:
                        return stop.value
                    sent = yield item

            return generator

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return wrapped


class no_grad(_Mode):
    """Ops inside are not recorded; their results do not require grad. `@no_grad` and `@no_grad()` both decorate."""

    enabled = False

    def __new__(cls, function: Any = None) -> Any:
        return object.__new__(cls) if function is None else object.__new__(cls)._init(function)

    def _init(self, function: Any) -> Any:
        _Mode.__init__(self)
        return self(function)

    def __init__(self, function: Any = None) -> None:
        super().__init__()


class enable_grad(no_grad):
    """Ops inside are recorded, even within `no_grad`."""

    enabled = True


class set_grad_enabled(_Mode):
    """Sets the mode at once, for good; as a context manager, until the end of the block."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.enabled = bool(mode)
        self._before: tuple[bool, bool] | None = (state.enabled, state.inference)
        state.enabled = self.enabled

    def __enter__(self) -> None:
        before = self._before if self._before is not None else (state.enabled, state.inference)
        self._restore.append(before)
        self._before = None
        state.enabled = self.enabled

    def __call__(self, function: Any) -> Any:
        # As a decorator it must not change the caller's mode.
        if self._before is not None:
            state.enabled, state.inference = self._before
            self._before = None
        return super().__call__(function)

    def _again(self) -> _Mode:
        return set_grad_enabled(self.enabled)


class inference_mode(_Mode):
    """Like `no_grad`; its tensors, moreover, can never take part in a recording."""

    def __new__(cls, mode: Any = True) -> Any:
        if callable(mode):
            return cls()(mode)
        return object.__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.inference = bool(mode)
        self.enabled = not mode

    def __enter__(self) -> None:
        super().__enter__()
        if not self.inference:
            state.enabled = self._restore[-1][0]

    def _again(self) -> _Mode:
        return inference_mode(bool(self.inference))


def is_grad_enabled() -> bool:
    return state.enabled


def is_inference_mode_enabled() -> bool:
    return state.inference
