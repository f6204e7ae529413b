"""Loads, stores and atomics of a kernel: codes go between its blocks and the memory of tensors, faults are noted.

One `Accesses` serves all launches of a trace; `begin` and `commit` enclose each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import triton.language as tl
from torch.utils._python_dispatch import _disable_current_modes
from triton.runtime import interpreter as ti

from ...core.errors import Unsupported
from ...trace.lanes import KNOWN, Codes
from ...trace.unwritten import payload_of
from ..torch.tracer import SELECTION
from .bounds import Handle, mask_of
from .interpreter import floats, is_float, scalar_other
from .marks import DTYPES, Marks, codes_of, is_float_type
from .memory import Memory, Region

TORCH_DTYPES = {
    tl.float16: torch.float16, tl.bfloat16: torch.bfloat16, tl.float32: torch.float32, tl.float64: torch.float64,
    tl.float8e5: torch.float8_e5m2, tl.float8e4nv: torch.float8_e4m3fn,
}  # fmt: skip


class Accesses:
    """Hooks of what reads and writes memory.

    found         what went wrong, one text each
    unwritten     tensors that nobody had written when they were allocated, by their storage's address in PyTorch
    names         the kernels' names for storages, by the same addresses
    given_nan     whether a kernel was given NaNs that are not of our own
    synchronised  whether the kernel that runs uses locks or counters, so that who writes first is no question
    waits         whether any kernel uses locks
    summed        tensors that several instances of one kernel added to by atomics, as texts
    largest       the largest integer in the integer tensors that kernels were given
    totals        the largest integer and the sum of each of these
    undefined     what the kernel that runs has read that nobody wrote
    """

    def __init__(self, marks: Marks) -> None:
        self.marks, self.xp, self.lanes = marks, marks.xp, marks.lanes
        self.memory = Memory()
        self.found: dict[str, None] = {}
        self.unwritten: dict[int, torch.Tensor] = {}
        self.names: dict[int, str] = {}
        self.given_nan = False
        self.synchronised = self.waits = False
        self.largest = -1
        self.totals: set[int] = set()
        self.summed: dict[str, None] = {}
        self.undefined: dict[str, None] = {}

    def hooks(self) -> dict[str, Callable[[Any], Any]]:
        """By the name of the method of the builder."""
        return {
            "create_masked_load": self._load, "create_masked_store": self._store, "create_atomic_rmw": self._atomic,
            "create_atomic_cas": self._cas, "create_descriptor_gather": self._gather_rows,
            "create_descriptor_scatter": self._scatter_rows,
        }  # fmt: skip

    # ---- a launch

    def begin(self, executor: Any, args: Any, kwargs: Any) -> None:
        """Enter the memory that a launch's arguments point to."""
        self.memory, self.marks.kernel = Memory(), executor.fn.__name__
        self.synchronised, self.undefined = False, {}
        named = {**dict(zip(executor.arg_names, args)), **kwargs}
        for name, arg in named.items():
            for t in _tensors(arg):
                self.memory.enter(t.untyped_storage(), name)
                if t.is_floating_point() and t.untyped_storage()._cdata not in self.unwritten:
                    with _disable_current_modes():
                        self.given_nan |= bool(torch.isnan(t.detach()).any())
                elif t.dtype in (torch.int32, torch.int64) and t.numel():
                    with _disable_current_modes():
                        largest, total = int(t.detach().max()), int(t.detach().sum())
                    self.largest = max(self.largest, largest)
                    self.totals |= {largest, total}
                self.names.setdefault(t.untyped_storage()._cdata, f"{name} of {self.marks.kernel}")
        for store in self.xp.stores.values():  # what tables of pointers may point to
            self.memory.enter(store.keep)

    def commit(self) -> None:
        """Hand what the launch wrote to the tracer."""
        for region in self.memory.regions.values():
            if region.summed:
                self.summed[f"{region.title} of {self.marks.kernel}"] = None
            dtype = TORCH_DTYPES.get(region.dtype)
            if not region.written or dtype is None:
                continue
            whole = torch.empty(0, dtype=dtype).set_(region.storage)
            numbers = whole.float().numpy() if whole.element_size() < 4 else whole.numpy()
            codes = region.codes
            if codes is None or (codes == KNOWN).all():
                value = self.xp.concrete(np.array(numbers))
            else:
                try:
                    value = self.lanes.block(codes, numbers, DTYPES.get(region.dtype, ""))
                except Unsupported as e:
                    value = self.xp.unusable(str(e), wanted=True)
            self.xp.write(whole, value, np.array(numbers))

    def end(self) -> None:
        """Forget a launch's memory, whether it came to its end or raised."""
        self.memory = Memory()

    def _codes_of(self, region: Region) -> Codes | None:
        """What was recorded in a region before the launch; read once."""
        store = self.xp.stores.get(region.storage._cdata)
        if region.codes is None and store is not None:
            length = region.writers.size
            if TORCH_DTYPES.get(region.dtype) is not store.dtype:
                why = f"memory of {store.dtype} is read as {region.dtype} in the kernel {self.marks.kernel}"
                region.codes = self.lanes.refuse(why, (length,))
            else:
                value = self.xp.flattened(store, store.dtype)
                region.codes = self.lanes.refuse(value.why, (length,)) if value.why else self.lanes.enter(value)
        return region.codes

    # ---- memory

    @property
    def program(self) -> int:
        b = ti.interpreter_builder
        return int(np.ravel_multi_index(b.grid_idx, b.grid_dim))

    def fault(self, text: str) -> None:
        self.found[f"{self.marks.here()} {text}"] = None

    def _accessed(self, ptrs: Handle, mask: np.ndarray, what: str) -> list[tuple[Region, np.ndarray, np.ndarray]]:
        """The regions of an access: (region, which lanes, their elements). Takes lanes beyond the end out of the mask."""
        dtype = ptrs.get_element_ty()
        itemsize = ti._get_np_dtype(dtype).itemsize
        addresses, active = ptrs.data.ravel(), mask.ravel()
        found = []
        base = ptrs.attr.get("base")
        owner = self.memory.at(base[0]) if base is not None else None
        for region, mine in self.memory.regions_at(addresses, owner):
            lanes = np.nonzero(mine & active)[0]
            if region is None or not lanes.size:
                continue
            places, within = region.places(addresses[lanes], itemsize)
            if not within.all():
                if owner is None:  # a pointer from a table: to memory that we know nothing of
                    lanes, places = lanes[within], places[within]
                else:
                    off = np.unique(places[~within])
                    size = region.nbytes // itemsize
                    which = "before its start" if off[0] < 0 else "beyond its end"
                    self.fault(
                        f"{what} {off.size} element{'s' * (off.size > 1)} of {region.title} {which} (element "
                        f"{off[0] if off[0] < 0 else off[-1]} of {size}): a mask is missing, or too wide"
                    )
                    flat = mask.reshape(-1)
                    flat[lanes[~within]] = False
                    lanes, places = lanes[within], places[within]
            if lanes.size:
                if not region.typed(dtype, itemsize) and is_float_type(dtype):
                    region.codes = self.lanes.refuse(
                        f"{region.title} is read in two dtypes", (region.nbytes // itemsize,)
                    )
                    region.retype(dtype, itemsize)
                found.append((region, lanes, places))
        return found

    def _load(self, old: Any) -> Any:
        def load(builder: Any, ptrs: Handle, mask: Any, other: Any, *rest: Any, **options: Any) -> Handle:
            self._selecting(mask)
            active = mask_of(mask, ptrs.data.shape)
            other = scalar_other(ptrs.get_element_ty()) if other is None else other
            accessed = self._accessed(ptrs, active, "reads")
            out = old(builder, ptrs, ti.TensorHandle(active, tl.int1), other, *rest, **options)
            floating = is_float(out)
            codes = np.full(active.size, KNOWN, dtype=np.int64)
            if floating and other is not None and "codes" in other.attr:
                codes = np.broadcast_to(other.attr["codes"], active.shape).ravel().copy()
                codes[active.ravel()] = KNOWN
            for region, lanes, places in accessed:
                self._reading(region, places)
                if floating and region.dtype == ptrs.get_element_ty():
                    recorded = self._codes_of(region)
                    if recorded is not None:
                        codes[lanes] = recorded[places]
                    self._poisoned(out, lanes, region)
            if floating and other is None and not active.all():
                out.data = _undefined(out, ~active)
                self.undefined[
                    f"lanes that the mask of the load at {self.marks.here()} leaves out, and no other= fills"
                ] = None
            if floating and (codes == KNOWN).all():
                out.attr["exact"] = floats(out).astype(np.float64)
            return self.marks.mark(out, codes.reshape(active.shape))

        return load

    def _poisoned(self, out: Handle, lanes: np.ndarray, region: Region) -> None:
        """Note a read of memory that nobody wrote."""
        if region.storage._cdata in self.unwritten:
            numbers = np.ascontiguousarray(out.data).ravel()[lanes]
            payload = payload_of(numbers.itemsize, out.dtype.scalar == tl.float16)
            if (numbers.view(f"u{numbers.itemsize}") == payload).any():
                self.undefined[f"memory of {region.title} that nobody wrote, read at {self.marks.here()}"] = None

    def _reading(self, region: Region, places: np.ndarray) -> None:
        others = region.note_read(places, self.program).any()
        if others and not self.synchronised:
            self.fault(f"reads what another program instance writes in {region.title}, without atomics: a race")

    def _store(self, old: Any) -> Any:
        def store(builder: Any, ptrs: Handle, value: Handle, mask: Any, *rest: Any) -> Any:
            self._selecting(mask)
            active = mask_of(mask, ptrs.data.shape)
            accessed = self._accessed(ptrs, active, "writes")
            data = np.broadcast_to(value.data, active.shape).ravel()
            codes = np.broadcast_to(codes_of(value), active.shape).ravel()
            self._using(value, active)
            for region, lanes, places in accessed:
                self._writing(region, lanes, places, data, codes)
                self._put(region, places, codes[lanes], value)
            return old(builder, ptrs, value, ti.TensorHandle(active, tl.int1), *rest)

        return store

    def _put(self, region: Region, places: np.ndarray, codes: Codes, value: Handle) -> None:
        if not is_float(value) or not is_float_type(region.dtype):
            if "taint" in value.attr:
                self.xp.failed[value.attr["taint"]] = None
            return
        recorded = self._codes_of(region)
        if recorded is None:
            recorded = region.codes = np.full(region.writers.size, KNOWN, dtype=np.int64)
        elif not region.written:
            recorded = region.codes = recorded.copy()
        recorded[places] = codes
        region.written = True

    def _using(self, value: Handle, active: np.ndarray) -> None:
        """A store of NaN, after a read of what is undefined."""
        if self.undefined and is_float(value):
            with np.errstate(all="ignore"):
                if np.isnan(np.broadcast_to(floats(value), active.shape)[active]).any():
                    for what in self.undefined:
                        self.fault(f"stores what depends on {what}")

    def _writing(self, region: Region, lanes: np.ndarray, places: np.ndarray, data: np.ndarray, codes: Codes) -> None:
        others, read = region.note_write(places, self.program)
        if self.synchronised or not (others.any() or read.any()):
            return
        # The same known number, or the same entry, from several instances is no question of who comes first.
        view = np.frombuffer(_bytes(region, places, data.itemsize), dtype=data.dtype)
        same = view == data[lanes]
        if (others & ~same).any():
            self.fault(f"writes places of {region.title} that another program instance writes, without atomics: a race")
        elif (read & ~same & ~others).any():
            self.fault(f"writes places of {region.title} that another program instance reads: a race")

    def _atomic(self, old: Any) -> Any:
        def atomic(builder: Any, op: Any, ptrs: Handle, value: Handle, mask: Any, *rest: Any) -> Handle:
            self._selecting(mask)
            active = mask_of(mask, ptrs.data.shape)
            accessed = self._accessed(ptrs, active, "adds to")
            before = {id(r): _numbers(r) for r, _, _ in accessed}
            out = old(builder, op, ptrs, value, ti.TensorHandle(active, tl.int1), *rest)
            if not is_float(value):
                if "taint" in value.attr:
                    self.xp.failed[f"an atomic operation on bits of floating-point numbers in {self.marks.kernel}"] = (
                        None
                    )
                self.synchronised = True  # who is last may be counted
                # An addition of 0 reads what others count, until it is enough.
                adds = op in (ti._ir.ATOMIC_OP.ADD, ti._ir.ATOMIC_OP.OR, ti._ir.ATOMIC_OP.XOR)
                self.waits |= op == ti._ir.ATOMIC_OP.XCHG or (adds and not np.any(value.data))
                return out
            for region, _, places in accessed:
                self._adding(region, places)
            self._using(value, active)
            codes = np.broadcast_to(codes_of(value), active.shape).ravel()
            data = np.broadcast_to(floats(value), active.shape).ravel()
            result = np.full(active.size, KNOWN, dtype=np.int64)
            for region, lanes, places in accessed:
                olds = merged_codes(self._codes_of(region), places)
                result[lanes] = olds
                if self.unwritten.get(region.storage._cdata) is not None:
                    self._poisoned_atomic(region, places, before[id(region)])
                new = self._added(op, region, places, codes[lanes], data[lanes], before[id(region)])
                self._put(region, *new, value)
            return self.marks.mark(out, result.reshape(active.shape))

        return atomic

    def _adding(self, region: Region, places: np.ndarray) -> None:
        written, read = region.note_add(places, self.program)
        if not self.synchronised and (written.any() or read.any()):
            does = "writes" if written.any() else "reads"
            self.fault(f"adds to places of {region.title} that another program instance {does} without atomics: a race")

    def _poisoned_atomic(self, region: Region, places: np.ndarray, before: np.ndarray) -> None:
        if np.isnan(before[places]).any():
            self.fault(f"adds to memory of {region.title} that nobody wrote: it must be zeros first")

    def _added(
        self, op: Any, region: Region, places: np.ndarray, codes: Codes, data: np.ndarray, before: np.ndarray
    ) -> tuple[np.ndarray, Codes]:
        """Return the elements that an atomic operation changes, and their new codes."""
        dtype = DTYPES.get(region.dtype, "")
        if op == ti._ir.ATOMIC_OP.XCHG:
            return places, codes
        if op not in (ti._ir.ATOMIC_OP.ADD, ti._ir.ATOMIC_OP.FADD):
            return places, self.lanes.refuse(f"an atomic {op} in {self.marks.kernel} has no counterpart", places.shape)
        targets = np.unique(places)
        recorded = self._codes_of(region)
        held = merged_codes(recorded, targets)
        numbers = before[targets].copy()
        left = np.arange(places.size)
        while left.size:  # each round adds one lane to each element
            _, first = np.unique(places[left], return_index=True)
            turn = left[first]
            at = np.searchsorted(targets, places[turn])
            held[at] = self.marks.add(held[at], numbers[at], codes[turn], data[turn], dtype)
            numbers[at] = numbers[at] + data[turn]
            left = np.delete(left, first)
        return targets, held

    def _cas(self, old: Any) -> Any:
        def cas(builder: Any, ptrs: Handle, *rest: Any) -> Handle:
            self.synchronised = self.waits = True
            return old(builder, ptrs, *rest)

        return cas

    def _selecting(self, mask: Any) -> None:
        if isinstance(mask, ti.TensorHandle) and "codes" in mask.attr:
            self.xp.note(SELECTION)

    def _gather_rows(self, old: Any) -> Any:
        def gather(builder: Any, desc: Any, rows: Handle, column: Handle, kind: Any) -> Handle:
            parts = [builder.create_descriptor_load(desc, [ti.TensorHandle(r, tl.int32), column], None, None)
                     for r in rows.data]  # fmt: skip
            out = ti.TensorHandle(np.concatenate([p.data for p in parts]), desc.base.dtype.element_ty)
            return self.marks.mark(out, np.concatenate([codes_of(p) for p in parts]))

        return gather

    def _scatter_rows(self, old: Any) -> Any:
        def scatter(builder: Any, desc: Any, value: Handle, rows: Handle, column: Handle) -> None:
            for k, r in enumerate(rows.data):
                part = self.marks.mark(ti.TensorHandle(value.data[k : k + 1], value.dtype), codes_of(value)[k : k + 1])
                builder.create_descriptor_store(desc, part, [ti.TensorHandle(r, tl.int32), column])

        return scatter


def _tensors(arg: Any) -> Iterator[torch.Tensor]:
    """The tensors of a kernel's argument."""
    if isinstance(arg, tuple):
        for a in arg:
            yield from _tensors(a)
    elif isinstance(arg, ti.TensorDescriptor):
        yield from _tensors(arg.base)
    elif hasattr(arg, "data_ptr"):
        yield ti._unwrap_tensor(arg)


def merged_codes(recorded: Codes | None, places: np.ndarray) -> Codes:
    return np.full(places.shape, KNOWN, dtype=np.int64) if recorded is None else recorded[places].copy()


def _undefined(out: Handle, lanes: np.ndarray) -> np.ndarray:
    """The numbers of a block with NaN in these lanes."""
    data = np.array(out.data)
    payload = payload_of(data.itemsize, out.dtype.scalar == tl.float16)
    if payload:
        data.view(f"u{data.itemsize}")[lanes] = payload
    return data


def _bytes(region: Region, places: np.ndarray, itemsize: int) -> bytes:
    """What a region holds in these elements."""
    return _memory(region).reshape(-1, itemsize)[places].tobytes()


def _memory(region: Region) -> np.ndarray:
    return torch.empty(0, dtype=torch.uint8).set_(region.storage).numpy()


def _numbers(region: Region) -> np.ndarray:
    """All of a region as numbers, a copy."""
    itemsize = ti._get_np_dtype(region.dtype).itemsize
    bits = _memory(region)[: region.nbytes // itemsize * itemsize].copy()
    return floats(ti.TensorHandle(bits.view(ti._get_np_dtype(region.dtype)), region.dtype))
