"""Triton kernels under their interpreter, recorded beneath a trace of PyTorch."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager


def unavailable() -> str | None:
    """Why kernels cannot be run here; None where they can."""
    missing = [p for p in ("triton", "torch") if importlib.util.find_spec(p) is None]
    return "kernels are run by Triton and PyTorch: pip install gradverify[torch] triton" if missing else None


def mended() -> AbstractContextManager[None]:
    """Within the block, the interpreter computes what the language says; raises ImportError where `unavailable`."""
    from . import interpreter

    return interpreter.mended()
