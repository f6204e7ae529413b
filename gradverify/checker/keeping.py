"""A check leaves the process as it found it: what a judged function changes for everybody is put back.

Random generators are `trace.drawing.kept`, NumPy's error state is `np.errstate`. What is not put back stands in
docs/security.md.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from ..frameworks.registry import loaded


@contextmanager
def kept_process(function: Callable[..., Any]) -> Iterator[None]:
    """A block that leaves as they were: folder, environment, warning filters, import path, recursion limit, NumPy's error
    and print options, and what the loaded frameworks keep (`Framework.kept_modes`)."""
    folder, environment = _folder(), _environment()
    filters, shown, path = list(warnings.filters), warnings.showwarning, list(sys.path)
    modules = set(sys.modules)
    depth, errors, printed = sys.getrecursionlimit(), np.geterr(), np.get_printoptions()
    try:
        with ExitStack() as stack:
            for framework in loaded():
                stack.enter_context(framework.kept_modes(function))
            yield
    finally:
        if folder and _folder() != folder:
            with suppress(OSError):  # the function may have removed it
                os.chdir(folder)
        if _environment() != environment:
            before = {os.environ.decodekey(k): os.environ.decodevalue(v) for k, v in environment.items()}
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)
        # What a package adds when it is imported is the package's, and stays.
        if warnings.filters != filters and not sys.modules.keys() - modules:
            warnings.filters[:] = filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]
        warnings.showwarning = shown
        if sys.path != path:
            sys.path[:] = path
        if sys.getrecursionlimit() != depth:
            sys.setrecursionlimit(depth)
        if np.geterr() != errors:
            np.seterr(**errors)
        if repr(np.get_printoptions()) != repr(printed):
            np.set_printoptions(**printed)


def _environment() -> dict[Any, Any]:
    """The environment as the system has it: `os.environ` makes a text of each name and value, by calls of Python's."""
    data = vars(os.environ).get("_data")
    return dict(os.environb if data is None else data)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""
