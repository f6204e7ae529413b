"""Kernels of Pallas: `pallas_call`, walked instance after instance, so that a kernel is a piece of the function's graph.

A ref is a view of an array's memory (`Region`), every element of which has the code of what is recorded in it
(`trace/lanes`). Reads gather codes into one value, writes put codes down, and what lies between is mapped as it is outside
of a kernel. What an instance reads of a block's tail beyond the end of the array is NaN, as it is under Pallas's own
interpreter; a NaN that is stored to a result after such a read is a fault, and so is a read of memory that nobody wrote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ...core.errors import Unsupported
from ...core.graph import Site
from ...namespaces.dtypes import PRECISION
from ...trace.call_site import at
from ...trace.lanes import KNOWN, Codes, Lanes
from ...trace.unwritten import never_written, payload_of
from ...trace.value import Value, kind_of
from .cells import Cell

if TYPE_CHECKING:
    from .tracer import JaxTracer

TAIL, BEYOND = -1, -2
"""Instead of an element: beyond the end of the array, within a block; and beyond the end of the block."""

MASKS = "masks of loads and stores that depend on values are held as they are at the point"
IN_TURN = (
    "program instances of {} write one place one after the other: right where they run in order (TPU, the interpreter), "
    "a race where they run side by side (GPU)"
)
RACE = "writes places of {} that another program instance writes, and compiler_params are those of a GPU: a race"


class Walk(Protocol):
    """What the walk of a jaxpr does for a kernel within it."""

    xp: JaxTracer
    launch: Any
    faults: dict[str, None]
    blocks: set[int]
    instances: int

    def closed(self, closed: Any, operands: list[Cell]) -> list[Cell]: ...

    def open(self, jaxpr: Any, consts: list[Cell], operands: list[Cell]) -> list[Cell]: ...


@dataclass(eq=False)
class Region:
    """An array's whole memory, in one launch.

    numbers   what each element holds
    codes     what is recorded in each; None for integers and masks
    written   which elements somebody wrote
    writers   the program instance that wrote each, -1 for none
    result    is it an output of the kernel?
    """

    name: str
    shape: tuple[int, ...]
    numbers: np.ndarray
    codes: Codes | None
    written: np.ndarray
    result: bool = False
    writers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        self.writers = np.full(self.numbers.size, -1)

    @property
    def is_float(self) -> bool:
        return kind_of(self.numbers.dtype) == "float"


class RefCell(Cell):
    """A ref: the elements of a region that a block is made of, in the block's shape; TAIL beyond the array's end.

    `nearest` has the nearest element within the array in place of TAIL.
    """

    __slots__ = ("elements", "nearest", "region")

    def __init__(self, region: Region, elements: np.ndarray, nearest: np.ndarray) -> None:
        super().__init__()
        self.region, self.elements, self.nearest = region, elements, nearest

    @property
    def live(self) -> bool:
        return True

    def value(self) -> Any:
        raise Unsupported(f"the ref {self.region.name} is used as a value")


class Launch:
    """One `pallas_call` of the walk."""

    def __init__(self, walk: Walk, eqn: Any, cells: list[Cell]) -> None:
        self.walk, self.xp, self.eqn = walk, walk.xp, eqn
        self.lanes = Lanes(walk.xp)
        self.mapping, self.jaxpr = eqn.params["grid_mapping"], eqn.params["jaxpr"]
        if any(not isinstance(n, int) for n in self.mapping.grid):
            raise Unsupported("a Pallas kernel whose grid depends on values")
        info = self.jaxpr.debug_info
        self.kernel = eqn.params.get("name") or info.func_name
        self.names = [str(n) for n in info.arg_names or ()]
        self.on_gpu = any(s in type(eqn.params.get("compiler_params")).__module__ for s in (".triton", ".mosaic_gpu"))
        count = self.mapping.num_index_operands
        self.scalars = [self.whole(self.entered(c, k)) for k, c in enumerate(cells[:count])]
        self.regions = [self.entered(c, count + k) for k, c in enumerate(cells[count:])]
        aliases = {out: given for given, out in eqn.params["input_output_aliases"]}
        self.results = [
            self.result(v.aval, len(cells) + k, cells[aliases[k]] if k in aliases else None)
            for k, v in enumerate(eqn.outvars)
        ]
        self.scratch = [
            self.whole(self.blank(a, len(cells) + len(self.results) + k))
            for k, a in enumerate(self.mapping.scratch_avals)
        ]
        self.index: tuple[int, ...] = ()
        self.program = 0
        self.undefined: dict[str, None] = {}
        line = getattr(info, "func_lineno", None)
        self.start: Site | None = (str(info.func_filename), int(line)) if line else None
        self.site: Site | None = None

    # ---- memory

    def named(self, k: int) -> str:
        return self.names[k] if k < len(self.names) else f"argument {k}"

    def entered(self, cell: Cell, k: int) -> Region:
        array = np.array(cell.value())
        codes = self.codes(cell, array.shape) if kind_of(array.dtype) == "float" else None
        return Region(self.named(k), array.shape, array.ravel(), codes, np.ones(array.size, dtype=bool))

    def codes(self, cell: Cell, shape: tuple[int, ...]) -> Codes:
        """The codes of a cell's entries, flat."""
        symbol = cell.symbol
        if symbol is None or not symbol.live:
            return np.full(math.prod(shape), KNOWN, dtype=np.int64)
        if symbol.why:
            return self.lanes.refuse(symbol.why, shape).ravel()
        return self.lanes.enter(symbol if symbol.shape == shape else self.xp.spread(symbol, shape)).ravel()

    def blank(self, aval: Any, k: int) -> Region:
        """Memory that nobody has written."""
        aval = getattr(aval, "inner_aval", aval)
        dtype = np.dtype(aval.dtype)
        numbers = np.zeros(math.prod(aval.shape), dtype=dtype)
        floating = kind_of(dtype) == "float"
        if floating and payload_of(dtype.itemsize, dtype.name == "float16"):
            numbers.view(f"u{dtype.itemsize}")[:] = payload_of(dtype.itemsize, dtype.name == "float16")
        codes = np.full(numbers.size, KNOWN, dtype=np.int64) if floating else None
        return Region(self.named(k), tuple(aval.shape), numbers, codes, np.zeros(numbers.size, dtype=bool))

    def result(self, aval: Any, k: int, given: Cell | None) -> Region:
        region = self.blank(aval, k) if given is None else self.entered(given, k)
        region.result = True
        return region

    def whole(self, region: Region) -> RefCell:
        elements = np.arange(region.numbers.size).reshape(region.shape)
        return RefCell(region, elements, elements)

    # ---- the grid

    def run(self) -> list[Cell]:
        outer, self.walk.launch = self.walk.launch, self
        try:
            self.walk.instances = max(self.walk.instances, math.prod(self.mapping.grid))
            for program, index in enumerate(np.ndindex(*self.mapping.grid)):
                self.program, self.index = program, index
                self.instance()
        finally:
            self.walk.launch = outer
        return [self.out(r) for r in self.results]

    def instance(self) -> None:
        refs: list[Cell] = list(self.scalars)
        for mapping, region in zip(self.mapping.block_mappings, [*self.regions, *self.results]):
            refs.append(self.block(mapping, region))
        self.walk.open(self.jaxpr, [], [*refs, *self.scratch])

    def block(self, mapping: Any, region: Region) -> RefCell:
        """The ref of this instance's block of an array."""
        given = [Cell(np.int32(i), constant=True) for i in self.index]
        starts = [int(c.value()) for c in self.walk.closed(mapping.index_map_jaxpr, [*given, *self.scalars])]
        within, clipped, shape = [], [], []
        for dim, start, n in zip(mapping.block_shape, starts, region.shape, strict=True):
            kind, size = type(dim).__name__, int(getattr(dim, "block_size", 1))
            if kind == "Blocked":
                start *= size
            elif kind == "Element":
                start -= dim.padding[0]
            elif kind != "Squeezed":
                raise Unsupported(f"a Pallas block of kind {kind}")
            at_ = start + np.arange(size)
            inside = (at_ >= 0) & (at_ < n)
            if size and not inside.any():
                self.fault(f"is given block {tuple(starts)} of {region.name}, which lies beyond its end", None)
            within.append(inside)
            clipped.append(np.clip(at_, 0, max(n - 1, 0)))
            shape += [size] * (kind != "Squeezed")
            if size > 1:
                self.walk.blocks.add(size)
        if not within:
            return self.whole(region)
        nearest = np.ravel_multi_index(np.ix_(*clipped), region.shape) if region.numbers.size else np.zeros(0, np.int64)
        inside = np.array(True)
        for one in within:
            inside = inside[..., None] & one
        nearest = np.broadcast_to(nearest, inside.shape)
        return RefCell(region, np.where(inside, nearest, TAIL).reshape(shape), nearest.reshape(shape))

    def out(self, region: Region) -> Cell:
        array = jnp.asarray(region.numbers.reshape(region.shape))
        if region.codes is None or (region.codes == KNOWN).all():
            return Cell(array)
        codes = region.codes.reshape(region.shape)
        return Cell(array, symbol=self.gathered(codes, region.numbers, region.written, region.shape))

    def gathered(self, codes: Codes, numbers: np.ndarray, written: np.ndarray, shape: tuple[int, ...]) -> Value:
        """Entries as one value; what nobody wrote is 0 in the graph."""
        floats = np.where(written, np.asarray(numbers).astype(np.float64), 0.0).reshape(shape)
        try:
            return self.lanes.block(codes.reshape(shape), floats, PRECISION.get(numbers.dtype.name, numbers.dtype.name))
        except Unsupported as e:
            return self.xp.unusable(str(e), wanted=True)

    # ---- equations

    def here(self) -> str:
        """The kernel, and the line of it that runs; its first line where a transformation has lost that."""
        inside = self.site is not None and (self.start is None or self.site[0] == self.start[0])
        site = self.site if inside else self.start
        return f"{self.kernel} ({at(*site)})" if site else str(self.kernel)

    def fault(self, text: str, site: Site | None) -> None:
        self.site = site
        self.walk.faults[f"{self.here()} {text}"] = None

    def equation(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        """The results of an equation that is about refs, or about the grid."""
        self.xp.eqn = eqn
        self.site = self.xp.site()
        found: list[Cell] = self.PRIMITIVES[eqn.primitive.name](self, eqn, cells)
        return found

    def program_id(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        own = [i for k, i in enumerate(self.index) if k not in self.mapping.vmapped_dims]
        return [Cell(np.int32(own[eqn.params["axis"]]), constant=True)]

    def num_programs(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        own = [n for k, n in enumerate(self.mapping.grid) if k not in self.mapping.vmapped_dims]
        return [Cell(np.int32(own[eqn.params["axis"]]), constant=True)]

    def get(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        ref, *leaves = cells
        return [self.read(ref, tree_util.tree_unflatten(eqn.params["tree"], leaves), None, None)]

    def swap(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        ref, value, *leaves = cells
        transforms = tree_util.tree_unflatten(eqn.params["tree"], leaves)
        old = self.read(ref, transforms, None, None, swapped=True)
        self.write(ref, transforms, value, None)
        return [old]

    def addupdate(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        ref, value, *leaves = cells
        transforms = tree_util.tree_unflatten(eqn.params["tree"], leaves)
        self.write(ref, transforms, self.sum(self.read(ref, transforms, None, None), value), None)
        return []

    def masked_load(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        ref, transforms, mask, other = tree_util.tree_unflatten(eqn.params["args_tree"], cells)
        return [self.read(ref, transforms, mask, other)]

    def masked_swap(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        ref, transforms, value, mask = tree_util.tree_unflatten(eqn.params["args_tree"], cells)
        old = self.read(ref, transforms, mask, None, swapped=True)
        self.write(ref, transforms, value, mask)
        return [old]

    def atomic_rmw(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        ref, transforms, value, mask = tree_util.tree_unflatten(eqn.params["args_tree"], cells)
        kind = str(getattr(eqn.params["atomic_type"], "value", eqn.params["atomic_type"]))
        if kind != "add":
            raise Unsupported(f"an atomic {kind} of Pallas has no counterpart")
        old = self.read(ref, transforms, mask, None)
        self.write(ref, transforms, self.sum(old, value), mask, atomic=True)
        return [old]

    def run_scoped(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        jaxpr = eqn.params["jaxpr"]
        return self.walk.open(jaxpr, cells, [self.whole(self.blank(v.aval, len(self.names))) for v in jaxpr.invars])

    def nothing(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        return [*cells[: len(eqn.outvars)]]

    PRIMITIVES = {
        "program_id": program_id, "num_programs": num_programs, "get": get, "swap": swap, "addupdate": addupdate,
        "masked_load": masked_load, "masked_swap": masked_swap, "atomic_rmw": atomic_rmw, "run_scoped": run_scoped,
        "multiple_of": nothing, "delay": nothing, "debug_print": nothing, "max_contiguous": nothing,
    }  # fmt: skip
    """The primitives that a kernel alone has, and the methods that follow them."""

    # ---- reads and writes

    def places(self, ref: Any, transforms: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """The elements that an access is of (TAIL and BEYOND for none), and the nearest that there are."""
        if not isinstance(ref, RefCell):
            raise Unsupported("an access by something else than a ref")
        elements, nearest = ref.elements, ref.nearest
        for t in transforms:
            if not hasattr(t, "int_indexer_shape"):
                raise Unsupported(f"a ref seen through {type(t).__name__}")
            index, beyond = _indices(t, elements.shape)
            elements = np.where(beyond, BEYOND, elements[index])
            nearest = nearest[index]
        return elements, nearest

    def read(self, ref: Any, transforms: Sequence[Any], mask: Any, other: Any, swapped: bool = False) -> Cell:
        """What an access reads; `swapped`: what a store replaces, which hardly anybody uses."""
        elements, nearest = self.places(ref, transforms)
        region: Region = ref.region
        active = self.active(mask, elements.shape)
        if not swapped:
            self.bounds(region, elements, active, "reads")
        if not region.numbers.size:
            return Cell(jnp.zeros(elements.shape, region.numbers.dtype))
        numbers, codes = region.numbers[nearest], None if region.codes is None else region.codes[nearest]
        written = region.written[nearest]
        if region.is_float:
            tail, left_out = active & (elements == TAIL), ~active
            found = {
                f"the tail of a block of {region.name} beyond its end": tail.any(),
                f"lanes of {region.name} that the mask of the load leaves out, and no other= fills": (
                    other is None and left_out.any()
                ),
                f"memory of {region.name} that nobody wrote": (active & (elements >= 0) & ~written).any(),
            }
            self.undefined |= {f"{what} ({self.here()})": None for what, so in found.items() if so and not swapped}
            numbers = np.where(tail | left_out, np.array(np.nan, numbers.dtype), numbers)
        if other is not None:
            filling = np.broadcast_to(np.asarray(other.value()), elements.shape).astype(numbers.dtype)
            numbers = np.where(active, numbers, filling)
            written = written | ~active
            if codes is not None:
                codes = np.where(active, codes, self.codes(other, elements.shape).reshape(elements.shape))
        array = jnp.asarray(numbers)
        if codes is None or (codes == KNOWN).all():
            return Cell(array)
        plain = np.where(np.isnan(numbers.astype(np.float64)), region.numbers[nearest], numbers)
        return Cell(array, symbol=self.gathered(codes, plain.astype(numbers.dtype), written, elements.shape))

    def write(self, ref: Any, transforms: Sequence[Any], value: Cell, mask: Any, atomic: bool = False) -> None:
        elements, _ = self.places(ref, transforms)
        region: Region = ref.region
        active = self.active(mask, elements.shape)
        self.bounds(region, elements, active, "writes")
        lanes = active & (elements >= 0)
        at_, numbers = elements[lanes], np.broadcast_to(np.asarray(value.value()), elements.shape)[lanes]
        if region.is_float and region.result and self.undefined and np.isnan(numbers.astype(np.float64)).any():
            self.fault(f"stores NaN, after it read {'; '.join(self.undefined)}", self.site)
        elif region.result and not atomic:
            others = (region.writers[at_] >= 0) & (region.writers[at_] != self.program)
            if others.any() and (region.numbers[at_] != numbers)[others].any():
                if self.on_gpu:
                    self.fault(RACE.format(region.name), self.site)
                else:
                    self.xp.note(IN_TURN.format(self.kernel))
        region.numbers[at_] = numbers
        region.written[at_], region.writers[at_] = True, self.program
        if region.codes is not None:
            region.codes[at_] = self.codes(value, elements.shape).reshape(elements.shape)[lanes]

    def active(self, mask: Any, shape: tuple[int, ...]) -> np.ndarray:
        if mask is None:
            return np.ones(shape, dtype=bool)
        if mask.live:
            self.xp.note(MASKS)
        return np.broadcast_to(np.asarray(mask.value()), shape)

    def bounds(self, region: Region, elements: np.ndarray, active: np.ndarray, what: str) -> None:
        n = int((active & (elements == BEYOND)).sum())
        if n:
            lanes = f"{n} element{'s' * (n > 1)}"
            self.fault(f"{what} {lanes} of {region.name} beyond the end of its block", self.site)

    def sum(self, a: Cell, b: Cell) -> Cell:
        total = jnp.asarray(a.value()) + jnp.asarray(b.value())
        if not (a.live or b.live):
            return Cell(total)
        x, y = (self.xp.concrete(_wide(c.value())) if c.symbol is None else c.symbol for c in (a, b))
        bad = next((s for s in (x, y) if s.why), None)
        symbol = bad or self.xp.add(x, y)
        if bad is None:
            self.xp.seen_in(symbol, PRECISION.get(total.dtype.name, total.dtype.name))
        return Cell(total, symbol=symbol)


def _wide(x: Any) -> np.ndarray:
    return np.asarray(x).astype(np.float64)


def _indices(indexer: Any, shape: tuple[int, ...]) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The index of each axis, broadcast to the result's shape and kept within `shape`, and which lay beyond it.

    Integer indices that stand side by side stay where they stand; else their axes come first, as they do in NumPy.
    """

    def number(x: Any) -> Any:
        return np.asarray(x.value()) if isinstance(x, Cell) else np.asarray(x)

    is_slice = [hasattr(i, "stride") for i in indexer.indices]
    integers = [k for k, s in enumerate(is_slice) if not s]
    rank = len(indexer.int_indexer_shape)
    together = all(b - a == 1 for a, b in pairwise(integers))
    first = integers[0] if integers and together else 0
    slices = [k for k, s in enumerate(is_slice) if s]
    before = [k for k in slices if k < first] if together else []
    total = len(slices) + rank * bool(integers)
    index: list[np.ndarray] = []
    beyond: np.ndarray = np.zeros((1,) * total, dtype=bool)
    for k, (i, n) in enumerate(zip(indexer.indices, shape)):
        if is_slice[k]:
            values = int(number(i.start)) + int(number(i.stride)) * np.arange(int(number(i.size)))
            spot = slices.index(k)
            axis = spot if k in before else spot + rank * bool(integers)
            values = values.reshape([-1 if a == axis else 1 for a in range(total)])
        else:
            values = np.broadcast_to(number(i).astype(np.int64), indexer.int_indexer_shape)
            values = values.reshape((1,) * len(before) + values.shape + (1,) * (total - len(before) - rank))
        index.append(np.clip(values, 0, max(n - 1, 0)))
        beyond = beyond | (values < 0) | (values >= n)
    every = np.broadcast_arrays(beyond, *index)
    return tuple(every[1:]), every[0]


def unwritten(outputs: Sequence[Any]) -> tuple[str, ...]:
    """The faults of results that no kernel wrote everywhere: entries with the bits of unwritten memory."""
    found = []
    for k, x in enumerate(outputs):
        array = np.ascontiguousarray(x)
        payload = payload_of(array.itemsize, array.dtype.name == "float16")
        if kind_of(array.dtype) == "float" and payload:
            n = int((array.view(f"u{array.itemsize}") == payload).sum())
            if n:
                found.append(never_written(n, array.size, "the result" if len(outputs) == 1 else f"result {k}"))
    return tuple(found)
