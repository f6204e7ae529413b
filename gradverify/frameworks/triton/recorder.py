"""A recorder beneath Triton's interpreter: kernels that a traced function launches become nodes of its graph.

Every handle of the interpreter has, beside its numbers, the codes of what is recorded in its lanes (`lanes`). Loads and
stores carry codes between blocks and the tensors' memory (`memory`), the tracer of PyTorch carries them between launches.
Integers, pointers and masks that do not depend on the inputs are what they are at the point. What has no counterpart in the
op table is refused where it is used, with its name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch.utils._python_dispatch import _disable_current_modes
from triton.runtime import interpreter as ti

from ...core.errors import Unsupported
from ...namespaces.dtypes import ROUNDOFF
from ...trace.call_site import called_from, folder_of
from ...trace.decompositions import fmod, logical_xor
from ...trace.lanes import KNOWN, Codes, Lanes
from ...trace.unwritten import PAYLOAD, never_written, payload_of
from ...trace.value import Value
from ..torch.beneath import Beneath
from ..torch.tracer import INTEGERS, SELECTION, TorchTracer
from .bounds import MOVES, Handle, mask_of
from .interpreter import Patches, floats, is_float, mended
from .memory import Memory, Region

DTYPES = {tl.float16: "float16", tl.bfloat16: "bfloat16", tl.float32: "float32", tl.float64: "float64"}

TORCH_DTYPES = {
    tl.float16: torch.float16, tl.bfloat16: torch.bfloat16, tl.float32: torch.float32, tl.float64: torch.float64,
    tl.float8e5: torch.float8_e5m2, tl.float8e4nv: torch.float8_e4m3fn,
}  # fmt: skip

UNARY: dict[Any, str] = {
    np.cos: "cos", np.sin: "sin", np.exp: "exp", np.exp2: "exp2", np.log: "log", np.log2: "log2", np.sqrt: "sqrt",
    np.floor: "floor", np.ceil: "ceil", np.abs: "abs",
}  # fmt: skip
BINARY: dict[Any, str] = {
    np.add: "add", np.subtract: "subtract", np.multiply: "multiply", np.divide: "divide", np.minimum: "minimum",
    np.maximum: "maximum", np.less: "less", np.less_equal: "less_equal", np.greater: "greater",
    np.greater_equal: "greater_equal", np.equal: "equal", np.not_equal: "not_equal", np.bitwise_and: "logical_and",
    np.bitwise_or: "logical_or",
}  # fmt: skip
DECOMPOSED: dict[Any, Callable[..., Value]] = {np.fmod: fmod, np.bitwise_xor: logical_xor}

DEVICE: dict[str, Callable[..., Value]] = {
    "fast_expf": lambda xp, x: xp.exp(x), "fast_logf": lambda xp, x: xp.log(x), "rint": lambda xp, x: xp.round(x),
    "fast_dividef": lambda xp, x, y: xp.divide(x, y), "div_rn": lambda xp, x, y: xp.divide(x, y),
    "fma": lambda xp, x, y, z: x * y + z,
}  # fmt: skip
"""The functions of libdevice that the op table has under another name."""

UNTOUCHED = (
    "create_load create_store create_get_program_id create_get_num_programs create_print create_assert "
    "create_assume create_barrier create_make_block_ptr create_advance create_make_tensor_descriptor create_descriptor_load "
    "create_descriptor_store create_tensor_pointer_load create_tensor_pointer_store create_extern_elementwise "
    "create_addptr create_device_function create_histogram"
)
"""The builder's methods that compute nothing from floating-point numbers, or call others that are recorded."""

ROOT = str(Path(triton.__file__).parent)
TORCH = folder_of(torch)
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Recorder(Beneath):
    """Records the kernels that run while one function is traced."""

    def __init__(self, xp: TorchTracer) -> None:
        self.xp, self.lanes = xp, Lanes(xp)
        self.memory = Memory()
        self.found: dict[str, None] = {}
        self.kernel = ""
        self.launched = False
        self.synchronised = False  # by locks, so that who writes first is no question
        self.undefined: dict[str, None] = {}
        self.stores: dict[int, Any] = {}
        self.ranges: set[int] = set()

    # ---- what the tracer of PyTorch calls

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
        self.stores[storage._cdata] = storage

    def blocks(self) -> frozenset[int]:
        return frozenset(self.ranges)

    def faults(self, outputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
        for k, t in enumerate(outputs if not self.found else ()):
            if self.launched and t.untyped_storage()._cdata in self.stores and (n := self._unwritten(t)):
                name = "the result" if len(outputs) == 1 else f"result {k}"
                self.found[never_written(n, t.numel(), name)] = None
        return tuple(self.found)

    def _unwritten(self, t: torch.Tensor) -> int:
        size = t.element_size()
        with _disable_current_modes():
            bits = t.detach().view(BITS[size])
            return int(torch.eq(bits, payload_of(size, t.dtype is torch.float16)).sum())

    # ---- a launch

    def _launch(self, old: Any) -> Any:
        def run(executor: Any, *args: Any, **kwargs: Any) -> Any:
            self._begin(executor, args, kwargs)
            escaping, self.xp.escapes.ours = self.xp.escapes.ours, True
            try:
                with _disable_current_modes():
                    out = old(executor, *args, **kwargs)
                    self._commit()
            finally:
                self.xp.escapes.ours = escaping
                self.memory = Memory()
            return out

        return run

    def _begin(self, executor: Any, args: Any, kwargs: Any) -> None:
        self.memory, self.kernel = Memory(), executor.fn.__name__
        self.launched, self.synchronised, self.undefined = True, False, {}
        named = {**dict(zip(executor.arg_names, args)), **kwargs}
        for name, arg in named.items():
            for t in _tensors(arg):
                self.memory.enter(t.untyped_storage(), name)
        for store in self.xp.stores.values():  # what tables of pointers may point to
            self.memory.enter(store.keep)

    def _codes_of(self, region: Region) -> Codes | None:
        """What was recorded in a region before the launch; read once."""
        store = self.xp.stores.get(region.storage._cdata)
        if region.codes is None and store is not None:
            length = region.writers.size
            if TORCH_DTYPES.get(region.dtype) is not store.dtype:
                why = f"memory of {store.dtype} is read as {region.dtype} in the kernel {self.kernel}"
                region.codes = self.lanes.refuse(why, (length,))
            else:
                value = self.xp.flattened(store, store.dtype)
                region.codes = self.lanes.refuse(value.why, (length,)) if value.why else self.lanes.enter(value)
        return region.codes

    def _commit(self) -> None:
        """Hand what the launch wrote to the tracer."""
        for region in self.memory.regions.values():
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

    # ---- memory

    @property
    def program(self) -> int:
        b = ti.interpreter_builder
        return int(np.ravel_multi_index(b.grid_idx, b.grid_dim))

    def here(self) -> str:
        """The kernel, and the line of it that runs."""
        return f"{self.kernel} ({called_from(ROOT, TORCH)})"

    def fault(self, text: str) -> None:
        self.found[f"{self.here()} {text}"] = None

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
                    region.writers = np.full(region.nbytes // itemsize, -1)
                    region.readers = region.writers.copy()
                    region.dtype = dtype
                found.append((region, lanes, places))
        return found

    def _load(self, old: Any) -> Any:
        def load(builder: Any, ptrs: Handle, mask: Any, other: Any, *rest: Any, **options: Any) -> Handle:
            self._selecting(mask)
            active = mask_of(mask, ptrs.data.shape)
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
                self.undefined[f"lanes that the mask of the load at {self.here()} leaves out, and no other= fills"] = (
                    None
                )
            return self._mark(out, codes.reshape(active.shape))

        return load

    def _poisoned(self, out: Handle, lanes: np.ndarray, region: Region) -> None:
        """Note a read of memory that nobody wrote."""
        if region.storage._cdata in self.stores:
            numbers = np.ascontiguousarray(out.data).ravel()[lanes]
            payload = payload_of(numbers.itemsize, out.dtype.scalar == tl.float16)
            if (numbers.view(f"u{numbers.itemsize}") == payload).any():
                self.undefined[f"memory of {region.title} that nobody wrote, read at {self.here()}"] = None

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
            codes = np.broadcast_to(_codes(value), active.shape).ravel()
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
        first = region.writers[places] == -1
        others, read = region.note_write(places, self.program)
        if self.synchronised or not (others.any() or read.any()):
            return
        # The same known number, or the same entry, from several instances is no question of who comes first.
        view = np.frombuffer(_bytes(region, places, data.itemsize), dtype=data.dtype)
        same = view == data[lanes]
        if (others & ~same & ~first).any():
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
                    self.xp.failed[f"an atomic operation on bits of floating-point numbers in {self.kernel}"] = None
                self.synchronised |= op == ti._ir.ATOMIC_OP.XCHG
                return out
            self._using(value, active)
            codes = np.broadcast_to(_codes(value), active.shape).ravel()
            data = np.broadcast_to(floats(value), active.shape).ravel()
            result = np.full(active.size, KNOWN, dtype=np.int64)
            for region, lanes, places in accessed:
                olds = merged_codes(self._codes_of(region), places)
                result[lanes] = olds
                if self.stores.get(region.storage._cdata) is not None:
                    self._poisoned_atomic(region, places, before[id(region)])
                new = self._added(op, region, places, codes[lanes], data[lanes], before[id(region)])
                self._put(region, *new, value)
            return self._mark(out, result.reshape(active.shape))

        return atomic

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
            return places, self.lanes.refuse(f"an atomic {op} in {self.kernel} has no counterpart", places.shape)
        targets = np.unique(places)
        recorded = self._codes_of(region)
        held = merged_codes(recorded, targets)
        numbers = before[targets].copy()
        left = np.arange(places.size)
        while left.size:  # each round adds one lane to each element
            _, first = np.unique(places[left], return_index=True)
            turn = left[first]
            at = np.searchsorted(targets, places[turn])
            held[at] = self._sum(held[at], numbers[at], codes[turn], data[turn], dtype)
            numbers[at] = numbers[at] + data[turn]
            left = np.delete(left, first)
        return targets, held

    def _sum(self, a: Codes, x: np.ndarray, b: Codes, y: np.ndarray, dtype: str) -> Codes:
        found = self.lanes.elementwise(
            lambda u, v: self.xp.add(u, v), [(a, x), (b, y)], a.shape, dtype, _adds(a, x, b, y)
        )
        out = np.full(a.shape, KNOWN, dtype=np.int64) if found is None else found
        return np.where((b == KNOWN) & (y == 0), a, np.where((a == KNOWN) & (x == 0), b, out))

    def _cas(self, old: Any) -> Any:
        def cas(builder: Any, ptrs: Handle, *rest: Any) -> Handle:
            self.synchronised = True
            return old(builder, ptrs, *rest)

        return cas

    def _selecting(self, mask: Any) -> None:
        if isinstance(mask, ti.TensorHandle) and "codes" in mask.attr:
            self.xp.note(SELECTION)

    # ---- arithmetic

    def _mark(self, out: Handle, codes: Codes | None) -> Handle:
        if codes is not None and (codes != KNOWN).any():
            out.attr["codes"] = codes
        return out

    def _operation(self, out: Handle, make: Callable[..., Value], args: Sequence[Handle]) -> Handle:
        """`out` with what `make` records of the arguments' lanes."""
        self._tainting(out, args)
        if not any("codes" in a.attr for a in args):
            return out
        operands = [(a.attr.get("codes"), exact(a)) for a in args]
        return self._mark(out, self.lanes.elementwise(make, operands, out.data.shape, _dtype_of(out)))

    def _tainting(self, out: Handle, args: Sequence[Handle]) -> None:
        """Integers made of the bits of recorded numbers are followed, so that nothing made of them passes for known."""
        why = next((a.attr["taint"] for a in args if "taint" in a.attr), None)
        if why is not None:
            out.attr["taint"] = why
            if is_float(out):
                out.attr["codes"] = self.lanes.refuse(why, out.data.shape)

    def _unary(self, old: Any) -> Any:
        def unary(builder: Any, arg: Handle, op: Any) -> Handle:
            out = old(builder, arg, op)
            _widen(out, op, arg)
            name = UNARY.get(op)
            return (
                self._operation(out, lambda x: self.xp.call(name, x), [arg]) if name else self._unknown(out, op, [arg])
            )

        return unary

    def _binary(self, old: Any) -> Any:
        def binary(builder: Any, a: Handle, b: Handle, op: Any) -> Handle:
            out = old(builder, a, b, op)
            if "codes" not in a.attr and "codes" not in b.attr:
                _widen(out, op, a, b)
                self._tainting(out, (a, b))
                return out
            codes, only = _folded(op, a, b, out)
            make = self._maker(op)
            if make is None:
                return self._unknown(out, op, [a, b])
            operands = [(h.attr.get("codes"), exact(h)) for h in (a, b)]
            made = self.lanes.elementwise(make, operands, out.data.shape, _dtype_of(out), only)
            return self._mark(out, np.where(only, KNOWN if made is None else made, codes))

        return binary

    def _maker(self, op: Any) -> Callable[..., Value] | None:
        if op in BINARY:
            return lambda x, y: self.xp.call(BINARY[op], x, y)
        if op in DECOMPOSED:
            return lambda x, y: DECOMPOSED[op](self.xp, x, y)
        return None

    def _ternary(self, old: Any) -> Any:
        def ternary(builder: Any, a: Handle, b: Handle, c: Handle, op: Any) -> Handle:
            out = old(builder, a, b, c, op)
            if op is np.where:
                return self._select(out, a, b, c)
            if op is np.clip:
                return self._operation(out, lambda x, lo, hi: self.xp.minimum(self.xp.maximum(x, lo), hi), [a, b, c])
            return self._unknown(out, op, [a, b, c])

        return ternary

    def _select(self, out: Handle, cond: Handle, a: Handle, b: Handle) -> Handle:
        self._tainting(out, (a, b))
        if not (is_float(out) or out.data.dtype == np.bool_):
            if "codes" in cond.attr:
                self.xp.note(INTEGERS)
            return out
        shape = out.data.shape
        which, left, right = (np.broadcast_to(_codes(h), shape) for h in (cond, a, b))
        codes = np.where(np.broadcast_to(cond.data, shape), left, right)
        x, y = (np.broadcast_to(floats(h), shape) for h in (a, b))
        differ = (left != right) | ((left == KNOWN) & (x != y))
        live = (which != KNOWN) & differ
        operands = [(which, cond.data), (left, exact(a)), (right, exact(b))]
        made = self.lanes.elementwise(self._where, operands, shape, _dtype_of(out), live)
        return self._mark(out, codes if made is None else np.where(live, made, codes))

    def _where(self, c: Value, x: Value, y: Value) -> Value:
        if x.kind == "bool" or y.kind == "bool":
            return self.xp.logical_or(self.xp.logical_and(c, x), self.xp.logical_and(self.xp.logical_not(c), y))
        return self.xp.where(c, x, y)

    def _elementary(self, make: Callable[..., Value]) -> Callable[[Any], Any]:
        """A builder's method of handles alone, recorded as `make` of them."""

        def wrap(old: Any) -> Any:
            def method(builder: Any, *args: Any) -> Handle:
                return self._operation(old(builder, *args), make, [a for a in args if isinstance(a, ti.TensorHandle)])

            return method

        return wrap

    def _device(self, old: Any) -> Any:
        def device(builder: Any, name: str, handles: list[Handle]) -> Handle:
            out = old(builder, name, handles)
            make = DEVICE.get(name, lambda xp, *args: xp.call(name, *args))
            return self._operation(out, lambda *args: make(self.xp, *args), handles)

        return device

    def _cast(self, old: Any) -> Any:
        def cast(builder: Any, src: Handle, to: Any, *rest: Any) -> Handle:
            out = old(builder, src, to, *rest)
            for name in ("codes", "exact"):
                out.attr.pop(name, None)
            self._tainting(out, (src,))
            known = "codes" not in src.attr and "taint" not in src.attr
            if is_float(out) and known and ("exact" in src.attr or not is_float(src)):
                out.attr["exact"] = np.asarray(exact(src), dtype=np.float64)
            if "codes" not in src.attr:
                return out
            if not is_float(out):
                self.xp.note(INTEGERS)
                return out
            codes, source, target = src.attr["codes"], DTYPES.get(src.dtype.scalar), DTYPES.get(out.dtype.scalar)
            if src.data.dtype == np.bool_:
                return self._operation(out, lambda x: self.xp.as_kind(x, "float"), [src])
            if source and target and ROUNDOFF[source] != ROUNDOFF[target]:
                recast = lambda x: self.xp.recast(x, source, target)
                codes = self.lanes.elementwise(recast, [(codes, floats(src))], codes.shape, target)
            return self._mark(out, codes)

        return cast

    def _bitcast(self, old: Any) -> Any:
        def bitcast(builder: Any, src: Handle, to: Any) -> Handle:
            out = old(builder, src, to)
            self._tainting(out, (src,))
            if "codes" in src.attr:
                if src.dtype.scalar == out.dtype.scalar:
                    return self._mark(out, src.attr["codes"])
                why = f"{self.here()} computes with the bits of floating-point numbers"
                out.attr["taint"] = why
                self._tainting(out, (out,))
            return out

        return bitcast

    def _move(self, old: Any) -> Any:
        def move(builder: Any, *args: Any) -> Any:
            out = old(builder, *args)
            handles = [a for a in args if isinstance(a, ti.TensorHandle)]
            outs = out if isinstance(out, tuple) else (out,)
            for o in outs:
                self._tainting(o, handles)
            _move_exact(old, builder, args, outs)
            if any("codes" in h.attr for h in handles):
                of = [ti.TensorHandle(_codes(a), tl.int64) if _is_moved(a) else a for a in args]
                moved = old(builder, *of)
                for o, m in zip(outs, moved if isinstance(moved, tuple) else (moved,)):
                    self._mark(o, m.data)
            return out

        return move

    def _addptr(self, old: Any) -> Any:
        def addptr(builder: Any, ptr: Handle, offset: Handle) -> Handle:
            out = old(builder, ptr, offset)
            if "taint" in offset.attr:
                self.xp.note(INTEGERS)
            return out

        return addptr

    def _unknown(self, out: Any, op: Any, args: Sequence[Handle]) -> Any:
        """Refuse what has no counterpart, where a recorded lane goes into it."""
        if any("codes" in a.attr for a in args):
            name = getattr(op, "__name__", str(op)).removeprefix("create_")
            why = f"{self.here()}: {name} has no counterpart in the op table"
            for o in out if isinstance(out, tuple) else (out,):
                if isinstance(o, ti.TensorHandle):
                    o.attr["taint"] = why
        for o in out if isinstance(out, tuple) else (out,):
            if isinstance(o, ti.TensorHandle):
                self._tainting(o, (o, *args))
        return out

    def _other(self, old: Any) -> Any:
        def method(builder: Any, *args: Any) -> Any:
            given = [a for a in args if isinstance(a, ti.TensorHandle)]
            return self._unknown(old(builder, *args), old, given)

        return method

    # ---- blocks

    def _range(self, old: Any) -> Any:
        def make_range(builder: Any, kind: Any, start: int, stop: int) -> Handle:
            self.ranges.add(int(stop) - int(start))
            return old(builder, kind, start, stop)

        return make_range

    def _literal(self, old: Any) -> Any:
        """A literal means the number that is written, not what its dtype makes of it."""

        def literal(builder: Any, value: Any) -> Handle:
            out = old(builder, value)
            out.attr["exact"] = np.array([float(value)])
            return out

        return literal

    def _argument(self, old: Any) -> Any:
        def convert(arg: Any) -> Any:
            out = old(arg)
            if isinstance(arg, float):
                out.handle.attr["exact"] = np.array([arg])
            return out

        return convert

    def _dot(self, old: Any) -> Any:
        def dot(builder: Any, a: Handle, b: Handle, d: Handle, *rest: Any) -> Handle:
            out = old(builder, a, b, d, *rest)
            if not any("codes" in h.attr for h in (a, b, d)):
                return out
            dtype = DTYPES.get(out.dtype.scalar, "")
            shape = out.data.shape
            codes = np.full(shape, KNOWN, dtype=np.int64)
            try:
                if "codes" in a.attr or "codes" in b.attr:
                    codes = self._product(a, b, shape, dtype)
            except Unsupported as e:
                codes = self.lanes.refuse(str(e), shape)
            product = np.matmul(floats(a).astype(np.float64), floats(b).astype(np.float64))
            return self._mark(out, self._sum(codes, product, _codes(d), floats(d), dtype))

        return dot

    def _product(self, a: Handle, b: Handle, shape: tuple[int, ...], dtype: str) -> Codes:
        """A matrix product without the rows, columns and terms that are known to be zero: the padding of tiles."""
        x, y, left, right = floats(a), floats(b), _codes(a), _codes(b)
        full_x, full_y = (left != KNOWN) | (x != 0), (right != KNOWN) | (y != 0)
        if x.ndim > 2:
            made = self.xp.matmul(self.lanes.block(left, x), self.lanes.block(right, y))
            return self.lanes.enter(made, dtype)
        terms = np.nonzero(full_x.any(0) & full_y.any(1))[0]
        rows, columns = np.nonzero(full_x[:, terms].any(1))[0], np.nonzero(full_y[terms].any(0))[0]
        codes = np.full(shape, KNOWN, dtype=np.int64)
        if not terms.size or not rows.size or not columns.size:
            return codes
        of_x, of_y = np.ix_(rows, terms), np.ix_(terms, columns)
        made = self.xp.matmul(self.lanes.block(left[of_x], x[of_x]), self.lanes.block(right[of_y], y[of_y]))
        if not made.live:
            return codes
        codes[np.ix_(rows, columns)] = self.lanes.enter(made, dtype)
        return codes

    def _reduce(self, old: Any) -> Any:
        def reduce(ops: Any, given: Any) -> Any:
            if not any("codes" in t.handle.attr or "taint" in t.handle.attr for t in given):
                return old(ops, given)
            combine, standard = ops.combine_fn, tl.standard
            first = given[0].handle
            if combine in (standard._argmin_combine_tie_break_left, standard._argmax_combine_tie_break_left):
                value, index = old(ops, given)
                self.xp.note(INTEGERS)
                name = "max" if combine is standard._argmax_combine_tie_break_left else "min"
                self._mark(value.handle, self._reduced(name, first, ops, value.handle))
                return value, index
            names = {standard._sum_combine: "sum", standard._elementwise_max: "max", standard._elementwise_min: "min"}
            if combine in names:
                out = old(ops, given)
                whole = out[0] if isinstance(out, tuple | list) else out
                self._mark(whole.handle, self._reduced(names[combine], first, ops, whole.handle))
                self._tainting(whole.handle, [first])
                return out
            return self._folded_over(ops, given)

        return reduce

    def _reduced(self, name: str, h: Handle, ops: Any, out: Handle) -> Codes | None:
        if "codes" not in h.attr or not is_float(h):
            return None
        codes, numbers = _codes(h), floats(h)
        if ops.axis is not None:
            codes, numbers = np.moveaxis(codes, ops.axis, -1), np.moveaxis(numbers, ops.axis, -1)
            codes, numbers = (t.reshape(-1, t.shape[-1]) for t in (codes, numbers))
        else:
            codes, numbers = codes.reshape(1, -1), numbers.reshape(1, -1)
        neutral = {"sum": 0.0, "max": -np.inf, "min": np.inf}[name]
        result = np.full(len(codes), KNOWN, dtype=np.int64)
        live = (codes != KNOWN).any(axis=1)
        counts = (codes != KNOWN) | (numbers != neutral)
        dtype = DTYPES.get(out.dtype.scalar, "")
        # Rows that keep the same columns are one node: a causal mask has a group for each row.
        rows = np.nonzero(live)[0]
        kept, group = np.unique(counts[rows], axis=0, return_inverse=True)
        if len(kept) > 4:
            kept, group = counts[rows].any(axis=0, keepdims=True), np.zeros(rows.size, dtype=np.int64)
        for k, columns in enumerate(kept):
            mine = rows[group.ravel() == k]
            at = np.ix_(mine, np.nonzero(columns)[0])
            if at[1].size == 1:
                result[mine] = codes[at].ravel()
                continue
            try:
                block = self.lanes.block(codes[at], numbers[at], DTYPES.get(h.dtype.scalar, ""))
                result[mine] = self.lanes.enter(self.xp.call(name, block, axis=1), dtype)
            except Unsupported as e:
                result[mine] = self.lanes.refuse(str(e), mine.shape)
        return result.reshape(out.data.shape)

    def _folded_over(self, ops: Any, given: Any) -> Any:
        """A reduction by the user's own function, from left to right."""
        axis = ops.axis
        parts = [self._slices(t, axis) for t in given]
        total = tuple(p[0] for p in parts)
        for k in range(1, len(parts[0])):
            total = _several(ops.combine_fn.fn(*total, *(p[k] for p in parts)))
        if ops.keep_dims:
            rank = given[0].handle.data.ndim
            total = tuple(self._kept(t, rank, axis) for t in total)
        return list(total)

    def _kept(self, t: Any, rank: int, axis: int | None) -> Any:
        data = t.handle.data
        shape = [1] * rank if axis is None else list(np.expand_dims(data, axis).shape)
        handle = ti.interpreter_builder.create_reshape(t.handle, shape, False)
        return tl.tensor(handle, tl.block_type(t.dtype, shape))

    def _slices(self, t: Any, axis: int | None) -> list[Any]:
        """The block's slices along an axis, as tensors."""
        h = t.handle
        axis, shape = (axis, h.data.shape) if axis is not None else (0, (h.data.size,))
        data, codes = h.data.reshape(shape), _codes(h).reshape(shape)
        out = []
        for k in range(shape[axis]):
            numbers, of = np.take(data, k, axis), np.take(codes, k, axis)
            kind = tl.block_type(t.dtype, list(numbers.shape)) if numbers.ndim else t.dtype
            part = ti.TensorHandle(np.atleast_1d(numbers), h.dtype.scalar)
            self._mark(part, np.atleast_1d(of))
            self._tainting(part, [h])
            out.append(tl.tensor(part, kind))
        return out

    def _scan(self, old: Any) -> Any:
        def scan(ops: Any, given: Any) -> Any:
            if not any("codes" in t.handle.attr or "taint" in t.handle.attr for t in given):
                return old(ops, given)
            names = {tl.standard._sum_combine: "cumulative_sum", tl.standard._prod_combine: "cumulative_prod"}
            name = names.get(ops.combine_fn)
            if name is None:
                return self._scanned(ops, given)
            h = given[0].handle
            out = old(ops, given)
            codes, numbers = _codes(h), floats(h)
            if ops.reverse:
                codes, numbers = np.flip(codes, ops.axis), np.flip(numbers, ops.axis)
            try:
                block = self.lanes.block(codes, numbers, DTYPES.get(h.dtype.scalar, ""))
                made = self.lanes.enter(self.xp.call(name, block, axis=ops.axis), DTYPES.get(h.dtype.scalar, ""))
            except Unsupported as e:
                made = self.lanes.refuse(str(e), codes.shape)
            self._mark(out[0].handle, np.flip(made, ops.axis) if ops.reverse else made)
            self._tainting(out[0].handle, [h])
            return out

        return scan

    def _scanned(self, ops: Any, given: Any) -> Any:
        """A scan by the user's own function, from left to right."""
        parts = [self._slices(t, ops.axis) for t in given]
        parts = [p[::-1] for p in parts] if ops.reverse else parts
        total = tuple(p[0] for p in parts)
        rows = [total]
        for k in range(1, len(parts[0])):
            total = _several(ops.combine_fn.fn(*total, *(p[k] for p in parts)))
            rows.append(total)
        rows = rows[::-1] if ops.reverse else rows
        shape = given[0].handle.data.shape
        smaller = shape[: ops.axis] + shape[ops.axis + 1 :]
        out = []
        for i, t in enumerate(given):
            data = np.stack([np.asarray(r[i].handle.data).reshape(smaller) for r in rows], axis=ops.axis)
            codes = np.stack([_codes(r[i].handle).reshape(smaller) for r in rows], axis=ops.axis)
            h = self._mark(ti.TensorHandle(data, t.handle.dtype.scalar), codes)
            self._tainting(h, [r[i].handle for r in rows])
            out.append(tl.tensor(h, tl.block_type(t.dtype, list(shape))))
        return out

    def _gather_rows(self, old: Any) -> Any:
        def gather(builder: Any, desc: Any, rows: Handle, column: Handle, kind: Any) -> Handle:
            parts = [builder.create_descriptor_load(desc, [ti.TensorHandle(r, tl.int32), column], None, None)
                     for r in rows.data]  # fmt: skip
            out = ti.TensorHandle(np.concatenate([p.data for p in parts]), desc.base.dtype.element_ty)
            return self._mark(out, np.concatenate([_codes(p) for p in parts]))

        return gather

    def _scatter_rows(self, old: Any) -> Any:
        def scatter(builder: Any, desc: Any, value: Handle, rows: Handle, column: Handle) -> None:
            for k, r in enumerate(rows.data):
                part = self._mark(ti.TensorHandle(value.data[k : k + 1], value.dtype), _codes(value)[k : k + 1])
                builder.create_descriptor_store(desc, part, [ti.TensorHandle(r, tl.int32), column])

        return scatter

    # ---- what is replaced while a trace is on

    def _patch(self, patches: Patches) -> None:
        builder = ti.InterpreterBuilder
        xp = self.xp
        known: dict[str, Callable[[Any], Any]] = {
            "create_masked_load": self._load, "create_masked_store": self._store, "create_atomic_rmw": self._atomic,
            "create_atomic_cas": self._cas, "unary_op": self._unary, "binary_op": self._binary, "ternary_op": self._ternary,
            "create_dot": self._dot, "cast_impl": self._cast, "create_fp_to_fp": self._cast,
            "create_bitcast": self._bitcast, "create_int_to_ptr": self._bitcast, "create_ptr_to_int": self._bitcast,
            "create_addptr": self._addptr, "create_make_range": self._range, "create_device_function": self._device,
            "create_descriptor_gather": self._gather_rows, "create_descriptor_scatter": self._scatter_rows,
            "create_fma": self._elementary(lambda x, y, z: x * y + z),
            "create_rsqrt": self._elementary(lambda x: xp.rsqrt(x)),
            "create_erf": self._elementary(lambda x: xp.erf(x)),
            "create_fabs": self._elementary(lambda x: xp.abs(x)),
            **{f"create_{name}": self._move for name in MOVES.split()},
            **{name: self._literal for name in ("get_fp16", "get_bf16", "get_fp32", "get_fp64")},
        }  # fmt: skip
        through = {n for n in vars(builder) if n.startswith("create_") and _goes_through(getattr(builder, n))}
        rest = {n for n in dir(builder) if n.startswith("create_")} - known.keys() - set(UNTOUCHED.split()) - through
        for name, make in {**known, **dict.fromkeys(rest, self._other)}.items():
            patches.wrap(builder, name, make)
        patches.set(ti.ReduceOps, "apply_impl", self._reduce(ti.ReduceOps.apply_impl))
        patches.set(ti.ScanOps, "apply_impl", self._scan(ti.ScanOps.apply_impl))
        patches.set(ti.GridExecutor, "__call__", self._launch(ti.GridExecutor.__call__))
        patches.set(ti, "_implicit_cvt", self._argument(ti._implicit_cvt))
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


def _tensors(arg: Any) -> Iterator[torch.Tensor]:
    """The tensors of a kernel's argument."""
    if isinstance(arg, tuple):
        for a in arg:
            yield from _tensors(a)
    elif isinstance(arg, ti.TensorDescriptor):
        yield from _tensors(arg.base)
    elif hasattr(arg, "data_ptr"):
        yield ti._unwrap_tensor(arg)


def _several(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def exact(h: Handle) -> np.ndarray:
    """The numbers of a handle: those that are made of literals and integers as they are in doubles."""
    found = h.attr.get("exact")
    return floats(h) if found is None else found


def _widen(out: Handle, op: Any, *args: Handle) -> None:
    """`out` in doubles, where it is made of literals and integers alone (1 / n)."""
    if is_float(out) and any("exact" in a.attr for a in args) and not any("codes" in a.attr for a in args):
        with np.errstate(all="ignore"):
            out.attr["exact"] = np.asarray(op(*(np.asarray(exact(a), dtype=np.float64) for a in args)))


def _move_exact(old: Any, builder: Any, args: Sequence[Any], outs: Sequence[Handle]) -> None:
    """Move what is known in doubles as the numbers are moved."""
    if not any(isinstance(a, ti.TensorHandle) and "exact" in a.attr for a in args):
        return
    if not all(is_float(a) for a in args if isinstance(a, ti.TensorHandle)):
        return
    wide = [ti.TensorHandle(np.asarray(exact(a), np.float64), tl.float64) if isinstance(a, ti.TensorHandle) else a
            for a in args]  # fmt: skip
    moved = old(builder, *wide)
    for o, m in zip(outs, moved if isinstance(moved, tuple) else (moved,)):
        o.attr["exact"] = m.data


def _dtype_of(out: Handle) -> str:
    """The name of a handle's dtype; "" for integers and booleans."""
    return DTYPES.get(out.dtype.scalar, "") if is_float(out) else ""


def _codes(h: Handle) -> Codes:
    codes = h.attr.get("codes")
    return np.full(np.shape(h.data), KNOWN, dtype=np.int64) if codes is None else codes


def _is_moved(a: Any) -> bool:
    """Does a move move this argument? It does not move the indices of a gather."""
    return isinstance(a, ti.TensorHandle) and (is_float(a) or a.data.dtype == np.bool_)


def merged_codes(recorded: Codes | None, places: np.ndarray) -> Codes:
    return np.full(places.shape, KNOWN, dtype=np.int64) if recorded is None else recorded[places].copy()


def is_float_type(dtype: Any) -> bool:
    return dtype is not None and not isinstance(dtype, tl.pointer_type) and bool(dtype.is_floating())


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


def _adds(a: Codes, x: np.ndarray, b: Codes, y: np.ndarray) -> np.ndarray:
    return ~(((b == KNOWN) & (y == 0)) | ((a == KNOWN) & (x == 0)))


def _folded(op: Any, a: Handle, b: Handle, out: Handle) -> tuple[Codes, np.ndarray]:
    """What needs no node: the codes of lanes in which one operand is known and neutral, and where a node is needed.

    x + 0 and x * 1 are x, 0 * x is 0 (of finite x), max(x, -inf) is x; infinity plus anything is infinity.
    """
    shape = out.data.shape
    left, right = (np.broadcast_to(_codes(h), shape) for h in (a, b))
    x, y = (np.broadcast_to(floats(h), shape) for h in (a, b))
    k, m = left == KNOWN, right == KNOWN
    codes = np.full(shape, KNOWN, dtype=np.int64)
    needed = ~(k & m)
    no = np.zeros(shape, dtype=bool)
    takes_left, takes_right, is_known = no, no, no
    if op is np.add:
        takes_left, takes_right = m & (y == 0), k & (x == 0)
        is_known = (k & np.isinf(x)) | (m & np.isinf(y))
    elif op is np.subtract:
        takes_left = m & (y == 0)
        is_known = (k & np.isinf(x)) | (m & np.isinf(y))
    elif op is np.multiply:
        takes_left, takes_right = m & (y == 1), k & (x == 1)
        is_known = ((k & (x == 0)) | (m & (y == 0))) & (floats(out) == 0)
    elif op is np.divide:
        takes_left = m & (y == 1)
        is_known = k & (x == 0) & (floats(out) == 0)
    elif op in (np.maximum, np.minimum):
        neutral = -np.inf if op is np.maximum else np.inf
        takes_left, takes_right = m & (y == neutral), k & (x == neutral)
    for takes, of in ((takes_left, left), (takes_right, right)):
        codes = np.where(needed & takes, of, codes)
        needed = needed & ~takes
    return codes, needed & ~is_known
