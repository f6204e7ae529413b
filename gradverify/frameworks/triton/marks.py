"""Marks that the interpreter's handles carry beside their numbers, and how a step marks the handle that it makes.

`attr["codes"]` says, lane by lane, which entry of which node a lane is (`trace/lanes`); without it all are known.
`attr["exact"]` has in doubles what is made of literals, integers and known memory alone. `attr["taint"]` says why nothing
made of a handle passes for known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter as ti

from ...trace.call_site import called_from, folder_of
from ...trace.lanes import KNOWN, Codes, Lanes
from ...trace.value import Value
from ..torch.tracer import TorchTracer
from .bounds import Handle
from .interpreter import floats, is_float

DTYPES = {tl.float16: "float16", tl.bfloat16: "bfloat16", tl.float32: "float32", tl.float64: "float64"}

ROOT = str(Path(triton.__file__).parent)
TORCH = folder_of(torch)


class Marks:
    """Marks handles, and records steps over the marked ones.

    kernel  the name of the kernel that runs
    """

    def __init__(self, xp: TorchTracer) -> None:
        self.xp, self.lanes = xp, Lanes(xp)
        self.kernel = ""

    def here(self) -> str:
        """The kernel, and the line of it that runs."""
        return f"{self.kernel} ({called_from(ROOT, TORCH)})"

    def mark(self, out: Handle, codes: Codes | None) -> Handle:
        if codes is not None and (codes != KNOWN).any():
            out.attr["codes"] = codes
        return out

    def operation(self, out: Handle, make: Callable[..., Value], args: Sequence[Handle]) -> Handle:
        """`out` with what `make` records of the arguments' lanes."""
        self.taint(out, args)
        if not any("codes" in a.attr for a in args):
            return out
        operands = [(a.attr.get("codes"), exact(a)) for a in args]
        return self.mark(out, self.lanes.elementwise(make, operands, out.data.shape, dtype_of(out)))

    def taint(self, out: Handle, args: Sequence[Handle]) -> None:
        """Integers made of the bits of recorded numbers are followed, so that nothing made of them passes for known."""
        why = next((a.attr["taint"] for a in args if "taint" in a.attr), None)
        if why is not None:
            out.attr["taint"] = why
            if is_float(out):
                out.attr["codes"] = self.lanes.refuse(why, out.data.shape)

    def refuse(self, out: Any, op: Any, args: Sequence[Handle]) -> Any:
        """Refuse what has no counterpart, where a recorded lane goes into it."""
        if any("codes" in a.attr for a in args):
            name = getattr(op, "__name__", str(op)).removeprefix("create_")
            why = f"{self.here()}: {name} has no counterpart in the op table"
            for o in out if isinstance(out, tuple) else (out,):
                if isinstance(o, ti.TensorHandle):
                    o.attr["taint"] = why
        for o in out if isinstance(out, tuple) else (out,):
            if isinstance(o, ti.TensorHandle):
                self.taint(o, (o, *args))
        return out

    def add(self, a: Codes, x: np.ndarray, b: Codes, y: np.ndarray, dtype: str) -> Codes:
        found = self.lanes.elementwise(
            lambda u, v: self.xp.add(u, v), [(a, x), (b, y)], a.shape, dtype, _adds(a, x, b, y)
        )
        out = np.full(a.shape, KNOWN, dtype=np.int64) if found is None else found
        return np.where((b == KNOWN) & (y == 0), a, np.where((a == KNOWN) & (x == 0), b, out))


def exact(h: Handle) -> np.ndarray:
    """The numbers of a handle: those that are made of literals and integers as they are in doubles."""
    found = h.attr.get("exact")
    return floats(h) if found is None else found


def widen(out: Handle, op: Any, *args: Handle) -> None:
    """Keep `out` in doubles as well where all that it is made of is known: 1 / n, exp of a target without a gradient."""
    if is_float(out) and any("exact" in a.attr for a in args) and not any("codes" in a.attr for a in args):
        with np.errstate(all="ignore"):
            out.attr["exact"] = np.asarray(op(*(np.asarray(exact(a), dtype=np.float64) for a in args)))


def dtype_of(out: Handle) -> str:
    """The name of a handle's dtype; "" for integers and booleans."""
    return DTYPES.get(out.dtype.scalar, "") if is_float(out) else ""


def codes_of(h: Handle) -> Codes:
    codes = h.attr.get("codes")
    return np.full(np.shape(h.data), KNOWN, dtype=np.int64) if codes is None else codes


def is_float_type(dtype: Any) -> bool:
    return dtype is not None and not isinstance(dtype, tl.pointer_type) and bool(dtype.is_floating())


def _adds(a: Codes, x: np.ndarray, b: Codes, y: np.ndarray) -> np.ndarray:
    return ~(((b == KNOWN) & (y == 0)) | ((a == KNOWN) & (x == 0)))
