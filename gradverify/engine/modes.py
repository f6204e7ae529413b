"""Grad modes: whether ops are recorded, per thread, as context managers and decorators."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class _State(threading.local):
    """What holds for the ops of one thread.

    enabled    are ops recorded?
    inference  are the results inference tensors?
    level      inside of how many transforms of `func` does this run?
    levels     the levels of forward mode that are open, outermost first
    duals      those that count: none where forward mode is switched off
    birthmark  the attributes that a tensor is born with, given the two; empty most of the time
    saved_hooks  the hooks on what is saved for backward, (pack, unpack), outermost first
    plain      does nothing hold but `enabled`? Then an op may take the fast way
    way        both in one look: 0 not plain, 1 plain, 2 plain and recording
    """

    enabled = True
    inference = False
    level = 0
    levels: tuple[int, ...] = ()
    duals: tuple[int, ...] = ()
    forward = True  # is forward mode switched on?
    replays_views = False  # does a view that is made anew have the nodes of its ops, rather than AsStridedBackward0?
    birthmark: Mapping[str, Any] = {}
    saved_hooks: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = ()
    no_saved_hooks: str | None = None  # why none may be set now
    before_write: Callable[[Any], None] | None = None  # called with a tensor before its memory is written to
    plain = True
    way = 2

    def __setattr__(self, name: str, value: Any) -> None:
        threading.local.__setattr__(self, name, value)
        if name in ("enabled", "plain"):
            threading.local.__setattr__(self, "way", (2 if self.enabled else 1) if self.plain else 0)

    def mark(self, inference: bool, level: int) -> None:
        """Set both, and with them the birthmark."""
        self.inference, self.level = inference, level
        self.birthmark = ({"_inference": True} if inference else {}) | ({"_level": level} if level else {})
        self._update()

    def open(self, duals: tuple[int, ...]) -> None:
        """Set the levels of forward mode."""
        self.levels, self.duals = duals, duals if self.forward else ()
        self._update()

    def switch_forward(self, on: bool) -> None:
        """Forward mode on or off: without it tangents stay where they are, and are not handed on."""
        self.forward = on
        self.open(self.levels)

    def hook_saved(self, hooks: tuple[Any, ...], enabled: bool | None = None) -> None:
        """Set the hooks on what is saved; with them, maybe, whether ops are recorded."""
        self.saved_hooks = hooks
        self.enabled = self.enabled if enabled is None else enabled
        self._update()

    def _update(self) -> None:
        self.plain = not self.birthmark and not self.duals and not self.saved_hooks


state = _State()


def in_thread(run: Callable[[], Result]) -> Result:
    """Run something in a new thread, under the modes of this one. Returns or raises what it does."""
    modes = dict(vars(state))

    def started() -> Result:
        vars(state).update(modes)
        return run()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(started).result()


class recording:
    """Ops inside are recorded. The engine's own `enable_grad`: no decorator, no nesting."""

    def __enter__(self) -> None:
        self.before, state.enabled = state.enabled, True

    def __exit__(self, *exc: object) -> None:
        state.enabled = self.before


NO_SAVED_HOOKS = (
    "torch.func.{grad, vjp, jacrev, hessian} don't yet support saved tensor hooks. "
    "Please open an issue with your use case."
)


class transform:
    """Inside of one more transform of `func`: tensors from outside must not be written to."""

    def __enter__(self) -> None:
        if state.saved_hooks:
            raise RuntimeError(NO_SAVED_HOOKS)
        self.before, state.no_saved_hooks = state.no_saved_hooks, NO_SAVED_HOOKS
        state.mark(state.inference, state.level + 1)

    def __exit__(self, *exc: object) -> None:
        state.no_saved_hooks = self.before
        state.mark(state.inference, state.level - 1)


class dual_numbers:
    """A level of forward mode. Entering gives its number, which no other level ever has."""

    _numbers = itertools.count(1)

    def __enter__(self) -> int:
        self.level = next(self._numbers)
        state.open((*state.levels, self.level))
        return self.level

    def __exit__(self, *exc: object) -> None:
        state.open(tuple(level for level in state.levels if level != self.level))


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
            state.mark(self.inference, state.level)

    def __exit__(self, *exc: object) -> None:
        _restore(self._restore.pop())

    def _again(self) -> _Mode:
        return type(self)()

    def __call__(self, function: Any) -> Any:
        if inspect.isclass(function):
            warnings.warn(
                "Decorating classes is deprecated and will be disabled in future versions. You should only decorate "
                "functions or methods. To preserve the current behavior of class decoration, you can directly decorate the "
                "`__init__` method and nothing else.",
                FutureWarning,
                stacklevel=2,
            )
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                # The mode holds while the generator runs, not while its caller does.
                iterator = function(*args, **kwargs)
                resume = functools.partial(iterator.send, None)
                while True:
                    try:
                        with self._again():
                            item = resume()
                    except StopIteration as stop:
                        return stop.value
                    try:
                        resume = functools.partial(iterator.send, (yield item))
                    except GeneratorExit:
                        with self._again():
                            iterator.close()
                        raise
                    except BaseException as thrown:
                        resume = functools.partial(iterator.throw, thrown)

            return generator

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return wrapped


def _restore(before: tuple[bool, bool]) -> None:
    state.enabled, inference = before
    if inference != state.inference:
        state.mark(inference, state.level)


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
            _restore(self._before)
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
