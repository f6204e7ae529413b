"""Each framework is watched as soon as it is imported. None is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ..frameworks.recognise import known_frameworks
from .record import Recorder


@contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Watch every framework in this block: those that are imported now, and those that will be."""
    with ExitStack() as stack:
        for framework in known_frameworks():
            if framework.watches:
                start = _starter(stack, framework, recorder)
                if framework.watches in sys.modules:
                    start()
                else:
                    stack.enter_context(_after_import(framework.watches, start))
        yield


def _starter(stack: ExitStack, framework: Any, recorder: Recorder) -> Callable[[], None]:
    return lambda: stack.enter_context(framework.watch(recorder))


@contextmanager
def _after_import(package: str, then: Callable[[], None]) -> Iterator[None]:
    """Within the block, call `then` once, right after `package` has been imported."""
    finder = _Finder(package, then)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Stands in front of the finders for one package. Whoever asks for its spec alone imports nothing."""

    def __init__(self, package: str, then: Callable[[], None]) -> None:
        self.package, self.then, self.asking = package, then, False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.package or self.asking:
            return None
        self.asking = True
        try:
            spec = find_spec(fullname)
        finally:
            self.asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.then)
        return spec


class _Loader(Loader):
    """The package's own loader, and `then` behind it. The package keeps its own loader in `__spec__` and `__loader__`."""

    def __init__(self, inner: Any, then: Callable[[], None]) -> None:
        self.inner, self.then, self.done = inner, then, False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self.inner.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        module.__loader__ = self.inner
        self.inner.exec_module(module)
        if not self.done:
            self.done = True
            self.then()
