"""A recorder beneath Triton's interpreter: kernels that a traced function launches become nodes of its graph.

Every handle of the interpreter has, beside its numbers, the codes of what is recorded in its lanes (`marks`). Loads and
stores carry codes between blocks and the tensors' memory (`accesses`), arithmetic records nodes (`ops`, `blocks`), the
tracer of PyTorch carries codes between launches. Integers, pointers and masks that do not depend on the inputs are what
they are at the point. What has no counterpart in the op table is refused where it is used, with its name.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton.language as tl
from torch.utils._python_dispatch import _disable_current_modes
from triton.runtime import interpreter as ti
from triton.runtime.autotuner import Autotuner

from ...trace.unwritten import PAYLOAD, never_written, payload_of
from ...trace.value import Launches
from ..torch.beneath import Beneath
from ..torch.tracer import TorchTracer
from .accesses import Accesses
from .blocks import Blocks
from .interpreter import Patches, mended
from .marks import ROOT, Marks
from .ops import Ops
from .runs import Configurations, configurations_of

UNTOUCHED = (
    "create_load create_store create_get_program_id create_get_num_programs create_print create_assert "
    "create_assume create_barrier create_make_block_ptr create_advance create_make_tensor_descriptor create_descriptor_load "
    "create_descriptor_store create_tensor_pointer_load create_tensor_pointer_store create_extern_elementwise "
    "create_addptr create_device_function create_histogram"
)
"""The builder's methods that compute nothing from floating-point numbers, or call others that are recorded."""

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Recorder(Beneath):
    """Records the kernels that run while one function is traced."""

    roots = (ROOT,)

    def __init__(self, xp: TorchTracer) -> None:
        self.xp = xp
        self.marks = Marks(xp)
        self.ops, self.over_blocks, self.accesses = Ops(self.marks), Blocks(self.marks), Accesses(self.marks)
        self.launched = False
        self.instances = 0
        self.autotuned: dict[str, Configurations] = {}

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        patches = Patches()
        with mended():
            try:
                self._patch(patches)
                yield
            finally:
                patches.undo()

    def allocated(self, t: torch.Tensor) -> None:
        """Fill memory that nobody has written with NaNs of our own."""
        storage = t.untyped_storage()
        size = t.element_size()
        if not t.is_floating_point() or t.device.type != "cpu" or size not in PAYLOAD or storage.nbytes() % size:
            return
        with _disable_current_modes():
            torch.empty(0, dtype=BITS[size]).set_(storage).fill_(payload_of(size, t.dtype is torch.float16))
        self.accesses.unwritten[storage._cdata] = t.detach()

    def launches(self) -> Launches:
        return Launches(
            instances=self.instances,
            blocks=frozenset(self.over_blocks.ranges),
            autotuned=self.autotuned,
            summed=tuple(self.accesses.summed),
            waits=self.accesses.waits,
            largest=self.accesses.largest,
            totals=frozenset(self.accesses.totals),
        )

    def faults(self, outputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
        for k, t in enumerate(outputs if not self.accesses.found else ()):
            if self.launched and t.untyped_storage()._cdata in self.accesses.unwritten and (n := self._unwritten(t)):
                name = "the result" if len(outputs) == 1 else f"result {k}"
                self.accesses.found[never_written(n, t.numel(), name)] = None
        asked = self.launched and not self.accesses.found and not self.accesses.given_nan
        for t in outputs if asked else ():
            if t.is_floating_point() and self._is_nan(t):
                self._name_unwritten()
        return tuple(self.accesses.found)

    def _is_nan(self, t: torch.Tensor) -> bool:
        with _disable_current_modes():
            return bool(torch.isnan(t.detach()).any())

    def _name_unwritten(self) -> None:
        """Note the memory of kernels that kept our NaNs: what is NaN afterwards may be made of it."""
        for key, t in self.accesses.unwritten.items():
            name = self.accesses.names.get(key)
            if name is not None and (n := self._unwritten(t)):
                self.accesses.found[f"{never_written(n, t.numel(), name)}, and the result is made of them"] = None

    def _unwritten(self, t: torch.Tensor) -> int:
        size = t.element_size()
        with _disable_current_modes():
            bits = t.detach().view(BITS[size])
            return int(torch.eq(bits, payload_of(size, t.dtype is torch.float16)).sum())

    def _launch(self, old: Any) -> Any:
        def run(executor: Any, *args: Any, **kwargs: Any) -> Any:
            self.launched = True
            self.accesses.begin(executor, args, kwargs)
            escaping, self.xp.escapes.ours = self.xp.escapes.ours, True
            try:
                with _disable_current_modes():
                    out = old(executor, *args, **kwargs)
                    self.accesses.commit()
                self.instances = max(self.instances, math.prod(ti.interpreter_builder.grid_dim))
            finally:
                self.xp.escapes.ours = escaping
                self.accesses.end()
            return out

        return run

    def _tuned(self, old: Any) -> Any:
        def run(tuner: Any, *args: Any, **kwargs: Any) -> Any:
            out = old(tuner, *args, **kwargs)
            found = configurations_of(tuner)
            if len(found) > 1:
                self.autotuned[tuner.base_fn.__name__] = found
            return out

        return run

    def _patch(self, patches: Patches) -> None:
        builder = ti.InterpreterBuilder
        known = {**self.ops.hooks(), **self.over_blocks.hooks(), **self.accesses.hooks()}
        through = {n for n in vars(builder) if n.startswith("create_") and _goes_through(getattr(builder, n))}
        rest = {n for n in dir(builder) if n.startswith("create_")} - known.keys() - set(UNTOUCHED.split()) - through
        for name, make in {**known, **dict.fromkeys(rest, self.ops.other)}.items():
            patches.wrap(builder, name, make)
        patches.set(ti.ReduceOps, "apply_impl", self.over_blocks.reduce(ti.ReduceOps.apply_impl))
        patches.set(ti.ScanOps, "apply_impl", self.over_blocks.scan(ti.ScanOps.apply_impl))
        patches.set(ti.GridExecutor, "__call__", self._launch(ti.GridExecutor.__call__))
        patches.wrap(Autotuner, "run", self._tuned)
        patches.set(ti, "_implicit_cvt", self.ops.argument(ti._implicit_cvt))
        patches.set(ti, "_patch_lang_tensor", _with_transpose(ti._patch_lang_tensor))


def _goes_through(method: Any) -> bool:
    """Is the builder's method one of those that call `binary_op` and its like, which are recorded?"""
    names = getattr(getattr(method, "__code__", None), "co_names", ())
    return bool({"binary_op", "unary_op", "ternary_op", "cast_impl", "create_idiv"} & set(names))


def _with_transpose(old: Any) -> Any:
    """The interpreter's `.T` moves numbers by itself; here by the builder."""

    def patch(tensor: Any, scope: Any) -> None:
        old(tensor, scope)

        def transposed(self: Any) -> Any:
            shape = list(self.type.shape)
            shape[-1], shape[-2] = shape[-2], shape[-1]
            axes = list(range(len(shape)))
            axes[-1], axes[-2] = axes[-2], axes[-1]
            handle = ti.interpreter_builder.create_trans(self.handle, axes)
            return tl.tensor(handle, tl.block_type(self.dtype, shape))

        scope.set_attr(tensor, "T", property(transposed))

    return patch
