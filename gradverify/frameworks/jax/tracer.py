"""JAX: the function's jaxpr, walked once with the values at the point.

`jax.make_jaxpr` stages the function, custom rules and transformations included; what calls another function (jit,
custom_vjp_call, remat, …) is entered at its primal, `cond` at the branch that is taken, `while` and `scan` step by
step. Concrete values are computed by JAX's own primitives, and only when something asks for them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ...core.errors import JUDGED, ShapeError, Undefined, Unsupported
from ...core.graph import Site
from ...core.op import Kind
from ...namespaces.dtypes import PRECISION, ROUNDOFF
from ...ops import OPS
from ...trace.base import Tracer, digest
from ...trace.call_site import OURS, at
from ...trace.callee import positional
from ...trace.calls import captured, narrowest
from ...trace.confirm import disagreement, farther, nearby
from ...trace.value import PARTS, Argument, Launches, Output, Part, Role, Traced, Value, kind_of
from . import plain
from .cells import Cell
from .lax import CALLS, CONTROL, LIBRARY, LIBRARY_PAIRS, MAPPED
from .pallas import Launch, unwritten

MAX_STEPS = 1000
"""Trips of one loop that are unrolled, and no more: every trip adds the nodes of its body."""

INTEGERS = (
    "integers computed from floating-point values (an argmax, a cast, an order) are held as they are at the point"
)
BRANCH = "a branch or the length of a loop depends on values: the graph is the one taken at this point"
CONVERGES = (
    "a loop under a rule of its own goes on until it has converged: the graph is that many trips, which the rule need not "
    "be the derivative of"
)
UNSTAGED = "the function branches in Python on the value of an array, which jax.make_jaxpr cannot stage"
DETACHED = "stop_gradient: the definition differentiates through it"
STOPPED = "stop_gradient: the definition holds its argument fixed"

OWN = str(Path(jax.__file__).parent)
"""Where JAX's own rules are."""


def trace(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    stop_detached: bool = False,
    confirm: bool = True,
    strict: bool = True,
    forward: Callable[[Traced], Callable[..., Any]] | None = None,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point.

    Arrays among the arguments (JAX's or NumPy's, nested as pytrees) become inputs; Python numbers are taken as they
    are. Where `fn` is itself a pytree (an Equinox module, a `tree_util.Partial`), its arrays are inputs too.
    `stop_detached` holds what goes through stop_gradient fixed, as JAX does, instead of following it. With `confirm` the
    graph is held against `fn` here and at a point nearby; where `forward` is given, by the program that it gives.

    Raises Unsupported, with the primitive, for what cannot be mapped; with `strict=False` the Traced says so in
    `opaque` instead and its graph is None. What `fn` itself raises is passed on.
    """
    call = _Call(fn, tuple(args), dict(kwargs or {}))
    xp = JaxTracer()
    walk = _Walk(xp, stop_detached)
    opaque: list[str] = []
    arguments, cells = call.inputs(xp)
    try:
        closed, shapes = jax.make_jaxpr(call.run, return_shape=True)(*call.arrays)
    except jax.errors.ConcretizationTypeError as e:
        reason = f"{UNSTAGED}: {str(e).strip().splitlines()[0]}"
        if strict:
            raise Unsupported(reason) from e
        return _unstaged(call, arguments, xp, reason)
    results = walk.closed(closed, cells)
    leaves = tree_util.tree_flatten_with_path(shapes)[0]
    outputs, nodes = _outputs(xp, leaves, results, opaque)
    faults = tuple(walk.faults) or unwritten([c.value() for c in results] if walk.instances else [])
    graph = None
    if not nodes:
        opaque.insert(0, "the function returns no floating-point array")
    if not opaque:
        graph = xp.builder.graph(*nodes)
        known = {a.name for a in arguments}
        arguments += [captured(n, xp.values[n]) for n in graph.inputs if n not in known]
    dtype = narrowest(xp, arguments, outputs, otherwise="float32")
    kept = tuple(k for k, (_, aval) in enumerate(leaves) if _kind(aval) in ("float", "complex"))
    paired = any(a.part for a in arguments) or any(o.part for o in outputs)
    fields: dict[str, Any] = {
        "arguments": tuple(arguments),
        "outputs": outputs,
        "values": {a.name: xp.values[a.name] for a in arguments},
        "dtype": dtype,
        "function": call.flat(kept),
        "framework": "jax",
        "detaches": bool({DETACHED, STOPPED} & xp.notes.keys()),
        "detach_sites": tuple(xp.detach_sites),
        "custom": walk.custom,
        "branches": BRANCH in xp.notes,
        "converges": CONVERGES in xp.notes,
        "native": call.native(kept) if paired else None,
        "faults": faults,
        "launches": Launches(walk.instances, frozenset(walk.blocks)),
        **xp.formats_of(graph),
    }
    if graph is not None and confirm and not faults:
        found = Traced(graph=graph, **fields)
        why = _confirmed(found, call, seed, xp, None if paired or forward is None else forward(found))
        if why:
            opaque.append(why)
            graph = None
    opaque = list(dict.fromkeys(opaque))
    if opaque and strict and not faults:
        raise Unsupported("; ".join(opaque))
    return Traced(graph=graph, **fields, notes=tuple(xp.notes), opaque=tuple(opaque))


def replaced(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with some of their arrays changed: for `judge.variations`."""

    def one(x: Any) -> Any:
        if not isinstance(x, jax.Array | np.ndarray):
            return x
        half = x.dtype.name in ("float16", "bfloat16")  # changed in float32, which holds them
        new = change(np.asarray(x).astype(np.float32) if half else np.asarray(x))
        if new is None:
            return x
        with jax.enable_x64(True):
            return jax.device_put(new.astype(x.dtype) if half else new)

    return tuple(tree_util.tree_map(one, args))


# ---- the call -------------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """A call taken apart, which can be run again with other arrays."""

    fn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: list[str] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)
    array_leaves: list[int] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)
    structure: Any = None

    def __post_init__(self) -> None:
        flat, self.structure = tree_util.tree_flatten_with_path((self.fn, self.args, self.kwargs))
        self.leaves = [leaf for _, leaf in flat]
        for k, (path, leaf) in enumerate(flat):
            if isinstance(leaf, jax.Array | np.ndarray | np.generic) and not _is_key(leaf):
                self.names.append(self._name(path))
                self.roles.append("parameter" if path[0].idx == 0 else "argument")
                self.array_leaves.append(k)

    @cached_property
    def arrays(self) -> list[Any]:
        return [_placed(self.leaves[k]) for k in self.array_leaves]

    def _name(self, path: tuple[Any, ...]) -> str:
        if path[0].idx == 0:
            return tree_util.keystr(path[1:]).lstrip(".") or "fn"
        if path[0].idx == 2:
            return str(path[1].key) + tree_util.keystr(path[2:])
        return positional(self.fn, path[1].idx) + tree_util.keystr(path[2:])

    def inputs(self, xp: JaxTracer) -> tuple[list[Argument], list[Cell]]:
        arguments: list[Argument] = []
        cells: list[Cell] = []
        for name, role, array in zip(self.names, self.roles, self.arrays):
            value = _array(array)
            for part, half in zip(_parts(array), _halves(array)):
                label = f"{name}.{part}" if part else name
                arguments.append(
                    Argument(label, kind_of(half.dtype), half.dtype.name, tuple(array.shape), role, part=part)
                )
            entered = xp.input(name, value, value.dtype.kind in "fc")
            cells.append(Cell(array, symbol=entered))
        for name, array in _closed_over(self.fn):
            for part, half in zip(_parts(array), _halves(np.asarray(array))):
                xp.names.setdefault(digest(half), f"{name}.{part}" if part else name)
        return arguments, cells

    def run(self, *arrays: Any) -> Any:
        leaves = list(self.leaves)
        for k, a in zip(self.array_leaves, arrays):
            leaves[k] = a
        fn, args, kwargs = tree_util.tree_unflatten(self.structure, leaves)
        return fn(*args, **kwargs)

    def native(self, kept: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
        count = len(self.array_leaves)

        def function(*arrays: Any) -> tuple[Any, ...]:
            leaves = tree_util.tree_leaves(self.run(*arrays[:count]))
            return tuple(leaves[k] for k in kept)

        return function

    def flat(self, kept: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
        """`native` with two arrays in place of each complex one, given and returned."""
        native = self.native(kept)
        pairs = [len(_parts(a)) == 2 for a in self.arrays]

        def function(*arrays: Any) -> tuple[Any, ...]:
            rest = iter(arrays)
            whole = [jax.lax.complex(next(rest), next(rest)) if pair else next(rest) for pair in pairs]
            return tuple(half for out in native(*whole) for half in _halves(out))

        return function


def _placed(x: Any) -> Any:
    """JAX's array of the same values, of memory of its own. (`jnp.asarray` compiles for each shape.)"""
    return x if isinstance(x, jax.Array) else jax.device_put(np.array(x))


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _parts(x: Any) -> tuple[Part, ...]:
    return PARTS if jnp.issubdtype(x.dtype, jnp.complexfloating) else ("",)


def _halves(x: Any) -> tuple[Any, ...]:
    """Real and imaginary part of a complex array; a real one alone."""
    return (x.real, x.imag) if len(_parts(x)) == 2 else (x,)


def _array(x: Any) -> np.ndarray:
    """Its values; bfloat16 and smaller as float32, which holds them."""
    out = np.asarray(x)
    if out.dtype.kind not in "fiubc":
        out = out.astype(np.float32)
    return out


def _closed_over(fn: Any) -> list[tuple[str, Any]]:
    try:
        found = inspect.getclosurevars(inspect.unwrap(fn))
    except TypeError:
        return []
    both = {**found.globals, **found.nonlocals}
    return [(n, v) for n, v in both.items() if isinstance(v, jax.Array | np.ndarray) and not _is_key(v)
            and np.asarray(v).dtype.kind in "fiubc"]  # fmt: skip


# ---- the walk -------------------------------------------------------------------------------------------------------


class JaxTracer(Tracer):
    """The tracer that the mappings of `lax` call `xp`; it knows the equation at hand."""

    eqn: Any = None
    cells: list[Cell]
    outs: Callable[[], Any]
    open_ended = False
    """Does a loop go on until values say that it ends?"""

    def site(self) -> Site | None:
        return _site(self.eqn)

    @property
    def primitive(self) -> str:
        return str(self.eqn.primitive.name)

    def read(self, i: int) -> np.ndarray:
        return _array(self.cells[i].value())

    def output(self, i: int) -> np.ndarray:
        """What JAX computes at the point."""
        return _array(self.outs()[i])

    def out_shape(self, i: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.eqn.outvars[i].aval.shape)

    def out_kind(self, i: int) -> Kind:
        return kind_of(self.eqn.outvars[i].aval.dtype)

    def cast(self, x: Value) -> Value:
        """`x` in the dtype of the result."""
        a, b = (v.aval.dtype.name for v in (self.eqn.invars[0], self.eqn.outvars[0]))
        return self.recast(x, a, b)

    def bind(self, *operands: Any, **changed: Any) -> Any:
        return self.eqn.primitive.bind(*operands, **{**self.eqn.params, **changed})

    def rest(self) -> list[Any]:
        return [c.value() for c in self.cells[1:]]

    def numbered(self) -> Any:
        """0 to n - 1 in the shape of the first operand."""
        shape = self.eqn.invars[0].aval.shape
        return jnp.arange(int(np.prod(shape)), dtype=jnp.int32).reshape(shape)

    def positions(self) -> np.ndarray:
        """Where a gather takes each entry of its result from; -1 for what it fills."""
        fill = {"fill_value": -1} if "fill_value" in self.eqn.params else {}
        return np.asarray(self.bind(self.numbered(), *self.rest(), **fill))

    def replacements(self) -> np.ndarray:
        """Where each entry of a scatter's result comes from: the operand, or after it the updates."""
        name = self.eqn.primitive.name
        place = 2 if name == "scatter" else 1
        updates = self.eqn.invars[place].aval
        n = int(np.prod(self.eqn.invars[0].aval.shape))
        numbers = n + jnp.arange(int(np.prod(updates.shape)), dtype=jnp.int32).reshape(updates.shape)
        others = [c.value() for c in self.cells]
        others[0], others[place] = self.numbered(), numbers
        return np.asarray(self.bind(*others))

    def landings(self) -> np.ndarray:
        """Where each update of a scatter lands; -1 for what is dropped: the adjoint of adding it, on 1 to n."""
        shape, updates = self.eqn.invars[0].aval.shape, self.eqn.invars[2].aval.shape
        params = {k: v for k, v in self.eqn.params.items() if k in ("indices_are_sorted", "unique_indices", "mode")}
        indices = self.cells[1].value()
        add = lambda u: jax.lax.scatter_add(
            jnp.zeros(shape, jnp.float32), indices, u, self.eqn.params["dimension_numbers"], **params
        )
        _, back = jax.vjp(add, jnp.zeros(updates, jnp.float32))
        self.require(int(np.prod(shape)) < 1 << 23, "a scatter into more than 2^23 entries")
        (spots,) = back((jnp.arange(int(np.prod(shape)), dtype=jnp.float32) + 1).reshape(shape))
        return np.asarray(spots).astype(np.int64) - 1

    def order(self, dimension: int, keys: int) -> np.ndarray:
        """The permutation that a sort of several operands makes."""
        operands = [c.value() for c in self.cells]
        shape = operands[0].shape
        ids = jax.lax.broadcasted_iota(jnp.int32, shape, dimension)
        return np.asarray(jax.lax.sort((*operands, ids), dimension=dimension, num_keys=keys)[-1])

    def has_ties(self, dimension: int, keys: int) -> bool:
        """Are two entries that are sorted equal in all keys?"""
        operands = [c.value() for c in self.cells]
        first = jax.lax.sort(tuple(operands), dimension=dimension, num_keys=keys)[:keys]
        equal = [np.diff(np.asarray(k).astype(np.float64), axis=dimension) == 0 for k in first]
        return bool(np.logical_and.reduce(equal).any())


class _Walk:
    """`custom`: a rule that is not JAX's own was met. `ruled`: how many custom rules are around the current equation;
    they decide what the gradient is there, whatever is stopped inside."""

    def __init__(self, xp: JaxTracer, stop_detached: bool) -> None:
        self.xp, self.stop_detached = xp, stop_detached
        self.custom, self.ruled = False, 0
        self.launch: Launch | None = None
        self.faults: dict[str, None] = {}
        self.blocks: set[int] = set()
        self.instances = 0

    def closed(self, closed: Any, operands: list[Cell]) -> list[Cell]:
        return self.open(closed.jaxpr, [Cell(c) for c in closed.consts], operands)

    def any(self, jaxpr: Any, operands: list[Cell]) -> list[Cell]:
        return self.closed(jaxpr, operands) if hasattr(jaxpr, "consts") else self.open(jaxpr, [], operands)

    def open(self, jaxpr: Any, consts: list[Cell], operands: list[Cell]) -> list[Cell]:
        env: dict[Any, Cell] = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, operands))

        def read(v: Any) -> Cell:
            return Cell(v.val, constant=True) if hasattr(v, "val") else env[v]

        for eqn in jaxpr.eqns:
            for v, cell in zip(eqn.outvars, self.equation(eqn, [read(v) for v in eqn.invars])):
                env[v] = cell
        return [read(v) for v in jaxpr.outvars]

    def equation(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        name = eqn.primitive.name
        if self.launch is not None and name in self.launch.PRIMITIVES:
            return self.launch.equation(eqn, cells)
        outs = _once(lambda: self.evaluated(eqn, cells))
        # Within a kernel calls are entered even so: they may ask which program instance they run in.
        if not any(c.live for c in cells) and not (self.launch is not None and (name in CALLS or name in CONTROL)):
            constant = all(c.constant for c in cells)
            return [Cell(make=partial(_pick, outs, k), constant=constant) for k in range(len(eqn.outvars))]
        if name == "pallas_call":
            return Launch(self, eqn, cells).run()
        library = _library_op(eqn, cells)
        if library is not None:
            return self.noted(eqn, cells, outs, self.mapped(eqn, cells, outs, library))
        if name in CALLS:
            ruled = name.startswith(("custom_vjp", "custom_jvp"))
            self.custom |= ruled and not _own(eqn)
            self.ruled += ruled
            try:
                return self.any(eqn.params[CALLS[name]], cells)
            finally:
                self.ruled -= ruled
        if name in CONTROL:
            enter: Callable[..., list[Cell]] = getattr(self, CONTROL[name])
            return enter(eqn, cells)
        return self.noted(eqn, cells, outs, self.mapped(eqn, cells, outs))

    def noted(self, eqn: Any, cells: list[Cell], outs: Callable[[], Any], symbols: list[Value | None]) -> list[Cell]:
        """The cells of an equation's results, whose formats are noted."""
        for s, v in zip(symbols, eqn.outvars):
            if s is not None and s.live and _kind(v.aval) in ("float", "complex"):
                self.xp.seen_in(s, PRECISION.get(v.aval.dtype.name, v.aval.dtype.name))
        return [Cell(make=partial(_pick, outs, k), symbol=s) for k, s in enumerate(symbols)]

    def evaluated(self, eqn: Any, cells: list[Cell]) -> list[Any]:
        if eqn.primitive.name in plain.TABLE:
            found = plain.by_numpy(
                eqn.primitive.name, eqn.params, [c.value() for c in cells], tuple(eqn.outvars[0].aval.shape)
            )
            if found is not None and found.dtype == eqn.outvars[0].aval.dtype:
                return [found]
        bound = eqn.primitive.get_bind_params(eqn.params)
        functions, params = ((), bound) if isinstance(bound, dict) else bound  # a pair until JAX 0.9
        out = eqn.primitive.bind(*functions, *(c.value() for c in cells), **params)
        return list(out) if eqn.primitive.multiple_results else [out]

    def mapped(
        self, eqn: Any, cells: list[Cell], outs: Callable[[], Any], library: Callable[..., Any] | None = None
    ) -> list[Value | None]:
        """One value per output: None for concrete ones, an unusable one for what has no counterpart."""
        xp, name = self.xp, eqn.primitive.name
        kinds = [_kind(v.aval) for v in eqn.outvars]
        if all(k == "int" for k in kinds):
            xp.note(INTEGERS)
            return [None] * len(kinds)
        xp.eqn, xp.cells, xp.outs = eqn, cells, outs
        why, values = "", []
        try:
            if library is None and name not in MAPPED:
                raise Unsupported(f"the JAX primitive {name} has no counterpart in the op table")
            if name == "stop_gradient" and not self.ruled:
                xp.note(STOPPED if self.stop_detached else DETACHED)
                xp.detach_sites[f"{_place(eqn)}(stop_gradient)"] = None
                if self.stop_detached:
                    return [None]
            result = (library or MAPPED[name])(xp, *(self.entered(c) for c in cells), **eqn.params)
            values = list(result) if isinstance(result, tuple) else [result]
        except Undefined:
            raise
        except Unsupported as e:
            why = str(e)
        except Exception as e:
            why = f"the mapping of {name} failed ({type(e).__name__}: {e})"
        if why and not any(math.prod(v.aval.shape) for v in eqn.outvars):
            return [None] * len(kinds)  # no entries: there is nothing to compute
        found: list[Value | None] = []
        for k, kind in enumerate(kinds):
            value = values[k] if k < len(values) else None
            shape = tuple(eqn.outvars[k].aval.shape)
            if kind == "int":
                found.append(None)
            elif why or value is None:
                reason = why or f"output {k} of {name} has no counterpart"
                found.append(xp.unusable(reason, kind))
            elif value.why:
                found.append(value)
            else:
                value = xp.as_kind(value, kind)
                try:
                    found.append(value if value.shape == shape else xp.spread(value, shape))
                except ShapeError:
                    found.append(xp.unusable(f"output {k} of {name} has another shape than its counterpart", kind))
        return found

    def entered(self, cell: Cell) -> Value:
        if cell.symbol is not None:
            return cell.symbol
        value = cell.value()
        if _is_key(value):
            return self.xp.unusable("a random key")
        cell.symbol = self.xp.concrete(_array(value))
        return cell.symbol

    # ---- control flow -----------------------------------------------------------------------------------------------

    def cond(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        index, *operands = cells
        if not index.constant:
            self.xp.note(BRANCH)
        branches = eqn.params["branches"]
        return self.closed(branches[int(np.clip(int(index.value()), 0, len(branches) - 1))], operands)

    def scan(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        p = eqn.params
        consts, carry = cells[: p["num_consts"]], cells[p["num_consts"] : p["num_consts"] + p["num_carry"]]
        xs = cells[p["num_consts"] + p["num_carry"] :]
        length = p["length"]
        if length > MAX_STEPS:
            raise Unsupported(f"a scan of {length} steps: more than {MAX_STEPS} are not unrolled")
        rows: list[list[Cell]] = [[] for _ in eqn.outvars[len(carry) :]]
        steps = range(length)[::-1] if p["reverse"] else range(length)
        for k in steps:
            out = self.closed(p["jaxpr"], [*consts, *carry, *(self.row(x, k) for x in xs)])
            carry = out[: p["num_carry"]]
            for column, cell in zip(rows, out[p["num_carry"] :]):
                column.append(cell)
        stacked = [
            self.stacked(r[::-1] if p["reverse"] else r, v.aval) for r, v in zip(rows, eqn.outvars[len(carry) :])
        ]
        return [*carry, *stacked]

    def row(self, x: Cell, k: int) -> Cell:
        symbol = self.xp.getitem(x.symbol, index=(k,)) if x.live and not _unusable(x) else x.symbol if x.live else None
        return Cell(make=lambda: x.value()[k], symbol=symbol, constant=x.constant)

    def stacked(self, cells: list[Cell], aval: Any) -> Cell:
        if not cells:
            return Cell(jnp.zeros(aval.shape, aval.dtype))
        make = lambda: jnp.stack([jnp.asarray(c.value()) for c in cells])
        bad = next((c.symbol for c in cells if _unusable(c)), None)
        if bad is not None:
            return Cell(make=make, symbol=bad)
        if not any(c.live for c in cells):
            return Cell(make=make)
        values = [self.entered(c) for c in cells]
        return Cell(make=make, symbol=self.xp.stack([self.xp.matching(v, values[0]) for v in values], axis=0))

    def loop(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        p = eqn.params
        a, b = p["cond_nconsts"], p["body_nconsts"]
        tests, bodies, carry = cells[:a], cells[a : a + b], cells[a + b :]
        for _ in range(MAX_STEPS):
            (go,) = self.closed(p["cond_jaxpr"], [*tests, *carry])
            if go.live:
                self.xp.note(BRANCH)
                self.xp.open_ended = True
                if self.ruled:
                    self.xp.note(CONVERGES)
            if not bool(np.any(np.asarray(go.value()))):
                return carry
            new = self.closed(p["body_jaxpr"], [*bodies, *carry])
            carry = [self.going(go, a, b) for a, b in zip(new, carry)] if np.ndim(go.value()) else new
        raise Unsupported(f"a while loop of more than {MAX_STEPS} trips")

    def going(self, go: Cell, new: Cell, old: Cell) -> Cell:
        """A loop over a batch (`vmap`) runs while any of it goes on; those that are done keep what they had."""
        flags = np.asarray(go.value())
        rank = np.ndim(old.value())
        mask = np.broadcast_to(flags.reshape(flags.shape + (1,) * (rank - flags.ndim)), np.shape(old.value()))
        make = lambda: jnp.where(mask, new.value(), old.value())
        if not (new.live or old.live):
            return Cell(make=make)
        bad = next((c.symbol for c in (new, old) if _unusable(c)), None)
        values = (self.entered(new), self.entered(old))
        if bad is None and values[0].kind == "bool":
            bad = self.xp.unusable("a mask carried through a loop over a batch", "bool")
        return Cell(make=make, symbol=bad or self.xp.where(self.xp.concrete(mask), *values))

    def fold(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        """lax.reduce with a computation of its own, entry after entry, in the order of the axes."""
        axes, shape = eqn.params["dimensions"], eqn.invars[0].aval.shape
        half = len(cells) // 2
        operands, carry = cells[:half], cells[half:]
        rest = tuple(n for i, n in enumerate(shape) if i not in axes)
        if math.prod(shape[i] for i in axes) > MAX_STEPS:
            raise Unsupported(f"a reduction of more than {MAX_STEPS} entries by a computation of its own")
        one = jax.extend.core.jaxpr_as_fun(eqn.params["jaxpr"])
        for _ in rest:
            one = jax.vmap(one)
        like = [jax.ShapeDtypeStruct(rest, v.aval.dtype) for v in eqn.invars]
        every = jax.make_jaxpr(one)(*like[half:], *like[:half])
        carry = [self.widened(c, rest) for c in carry]
        for spot in np.ndindex(*(shape[i] for i in axes)):
            where = dict(zip(axes, spot))
            index = tuple(where.get(i, slice(None)) for i in range(len(shape)))
            carry = self.closed(every, [*carry, *(self.entry(x, index) for x in operands)])
        return carry

    def widened(self, x: Cell, shape: tuple[int, ...]) -> Cell:
        symbol = x.symbol if x.symbol is None or _unusable(x) else self.xp.spread(x.symbol, shape)
        return Cell(make=lambda: jnp.broadcast_to(x.value(), shape), symbol=symbol)

    def entry(self, x: Cell, index: tuple[Any, ...]) -> Cell:
        plain = tuple((None, None, 1) if isinstance(i, slice) else i for i in index)
        symbol = x.symbol if x.symbol is None or _unusable(x) else self.xp.getitem(x.symbol, index=plain)
        return Cell(make=lambda: x.value()[index], symbol=symbol)

    def custom_linear_solve(self, eqn: Any, cells: list[Cell]) -> list[Cell]:
        """Follow `solve`, which computes the result; the other functions say how to differentiate it."""
        lengths, jaxprs = eqn.params["const_lengths"], eqn.params["jaxprs"]
        sizes = [lengths.matvec, lengths.vecmat, lengths.solve, lengths.transpose_solve]
        first = sum(sizes[:2])
        return self.closed(jaxprs.solve, [*cells[first : first + sizes[2]], *cells[sum(sizes) :]])


def _pick(outs: Callable[[], Any], k: int) -> Any:
    return outs()[k]


def _site(eqn: Any) -> Site | None:
    """Where in the user's program an equation comes from; None where JAX does not tell."""
    try:
        from jax._src.source_info_util import user_frame

        frame = user_frame(eqn.source_info.traceback)
    except Exception:  # none of this is public
        return None
    if frame is None or frame.file_name.startswith(OURS):
        return None
    return frame.file_name, frame.start_line


def _place(eqn: Any) -> str:
    """The site of an equation as text, and a blank; nothing where there is none."""
    site = _site(eqn)
    return f"{at(*site)} " if site else ""


def _source(eqn: Any) -> str:
    """Name and file of the function that a call is of: "sinc at …/jax/_src/numpy/ufuncs.py:3796"."""
    called = eqn.params[CALLS[eqn.primitive.name]]
    info = getattr(getattr(called, "jaxpr", called), "debug_info", None)
    return str(getattr(info, "func_src_info", "") or info or "")


def _own(eqn: Any) -> bool:
    """Is the function called one of JAX's, and its rule too, where it has one? By their files."""
    return OWN in _source(eqn) and _has_own_rule(eqn)


def _has_own_rule(eqn: Any) -> bool:
    """Is the rule of a custom_vjp or custom_jvp JAX's, or is there none? `custom_vjp(jnp.sin)` has a user's."""
    rule = eqn.params.get("bwd", eqn.params.get("jvp_jaxpr_fun"))
    info = getattr(rule, "debug_info", None)
    source = str(getattr(info, "func_src_info", "") or "")
    if not source:
        return True
    return OWN in source and all(OWN in fn.__code__.co_filename for fn in _rules_by_argument(rule))


def _rules_by_argument(rule: Any) -> list[Any]:
    """The functions that were given to `defjvps`, around which JAX writes a rule of its own."""
    found: list[Any] = []
    seen: set[int] = set()
    left = [rule]
    while left:
        fn = left.pop()
        if id(fn) in seen or len(seen) > 50:
            continue
        seen.add(id(fn))
        fn = getattr(fn, "f", fn)  # of a function that JAX has wrapped
        if isinstance(fn, partial):
            left += [fn.func, *fn.args]
        code = getattr(fn, "__code__", None)
        if code is None:
            continue
        for name, cell in zip(code.co_freevars, getattr(fn, "__closure__", None) or ()):
            value = cell.cell_contents
            if name == "jvps" and OWN in code.co_filename:
                found += [f for f in value if hasattr(f, "__code__")]
            elif callable(value) or hasattr(value, "f"):
                left.append(value)
    return found


def _library_op(eqn: Any, cells: list[Cell]) -> Callable[..., Any] | None:
    """The mapping of a call of JAX's own library that is an op of the table; None for any other equation.

    A second operand is the parameter of squareplus, a number.
    """
    if eqn.primitive.name not in CALLS or not _own(eqn):
        return None
    name = _source(eqn).partition(" at ")[0]
    first = int(eqn.params.get("num_consts", 0))  # arrays that the function closes over
    given = cells[first:]
    if not given or _kind(eqn.invars[first].aval) != "float":
        return None
    if name in LIBRARY_PAIRS:
        # Derivatives of a call bear its name as well, and have other operands and results.
        shapes = [tuple(v.aval.shape) for v in eqn.outvars]
        if len(given) > 1 or shapes != 2 * [tuple(eqn.invars[first].aval.shape[:-2])]:
            return None
        return lambda xp, *xs, **_: LIBRARY_PAIRS[name](xp, xs[first])
    op = LIBRARY.get(name, "")
    if not op or len(eqn.outvars) != 1:
        return None
    params: dict[str, Any] = {"n": 0} if OPS[op].params.keys() == {"n"} else {}
    if len(given) > 1:
        number = not given[1].live and np.ndim(given[1].value()) == 0
        if len(given) > 2 or op != "squareplus" or not number or not float(given[1].value()) > 0:
            return None
        params = {"b": float(given[1].value())}
    if tuple(OPS[op].shape(tuple(eqn.invars[first].aval.shape), **params)) != tuple(eqn.outvars[0].aval.shape):
        return None
    return lambda xp, *xs, **_: xp.call(op, xs[first], **params)


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    found: list[Any] = []

    def call() -> Any:
        if not found:
            found.append(make())
        return found[0]

    return call


def _kind(aval: Any) -> Any:
    dtype = getattr(aval, "dtype", None)
    if dtype is None or jnp.issubdtype(dtype, jax.dtypes.extended):
        return "int"
    return kind_of(dtype)


def _unusable(cell: Cell) -> bool:
    return cell.symbol is not None and bool(cell.symbol.why)


# ---- results --------------------------------------------------------------------------------------------------------


def _outputs(xp: JaxTracer, leaves: Any, cells: list[Cell], opaque: list[str]) -> tuple[tuple[Output, ...], list[int]]:
    outputs: list[Output] = []
    nodes: list[int] = []
    for (path, aval), cell in zip(leaves, cells):
        where, kind = tree_util.keystr(path), _kind(aval)
        name, shape = str(aval.dtype), tuple(aval.shape)
        if kind not in ("float", "complex"):
            outputs.append(Output(where, kind, name, shape))
            continue
        value = cell.symbol if cell.symbol is not None else xp.concrete(_array(cell.value()))
        name = "float32" if name == "complex64" else "float64" if name == "complex128" else name
        parts: list[tuple[Part, Value]] = [("", value)]
        if kind == "complex":
            parts = [("real", getattr(value, "re", value)), ("imag", getattr(value, "im", value))]
        for part, half in parts:
            outputs.append(Output(where, "float", name, shape, len(nodes), cell.live, part=part))
            try:
                nodes.append(half.index)
            except Unsupported as e:
                opaque.append(str(e))
                nodes.append(0)
    return tuple(outputs), nodes


def _unstaged(call: _Call, arguments: list[Argument], xp: JaxTracer, why: str) -> Traced:
    """A function that JAX differentiates (eagerly, with values at hand) but cannot stage: run once for its outputs."""
    outputs: list[Output] = []
    kept: list[int] = []
    for k, (path, leaf) in enumerate(tree_util.tree_flatten_with_path(call.run(*call.arrays))[0]):
        array, where = jnp.asarray(leaf), tree_util.keystr(path)
        if _kind(array) == "complex":
            raise Unsupported(f"{why}; and output {where or '0'} is complex")
        known = _kind(array) == "float"
        position = len(kept) if known else None
        outputs.append(Output(where, _kind(array), array.dtype.name, array.shape, position, known))
        kept += [k] * known
    floats = [a.dtype for a in arguments if a.kind == "float"]
    return Traced(
        graph=None, arguments=tuple(arguments), outputs=tuple(outputs),
        values={a.name: xp.values[a.name] for a in arguments},
        dtype=max(floats or ["float32"], key=lambda n: ROUNDOFF.get(n, 1.0)), function=call.flat(tuple(kept)),
        framework="jax", notes=tuple(xp.notes), opaque=(why,),
    )  # fmt: skip


def _confirmed(
    traced: Traced, call: _Call, seed: int, xp: JaxTracer, program: Callable[..., Any] | None = None
) -> str | None:
    """Why the graph is not the function; None where it is, here and nearby. By `program`, where it stands for the function:
    what that does not confirm is asked of the function itself."""
    assert traced.graph is not None
    replaceable = [a for a in traced.arguments if a.role != "captured"]
    moving = [a.name for a in replaceable if a.kind == "float"]
    narrow = [o.dtype for o in traced.outputs if o.position is not None] + [traced.dtype, *traced.formats]
    roundoff = max(ROUNDOFF.get(n, 2.0**-4) for n in narrow)
    # A loop that ends here need not end nearby (a root of what has become negative), and XLA cannot be interrupted.
    moved = nearby(traced.values, [] if xp.open_ended else moving, roundoff, seed)
    given = [half for x in call.arrays for half in _halves(x)]
    run = program or traced.function

    def run_at(point: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """The point as the arrays have it, rounded, and the function's outputs there."""
        arrays = [jax.device_put(np.array(point[a.name], dtype=x.dtype)) for a, x in zip(replaceable, given)]
        there = [_array(x) for x in run(*arrays)]
        return {**point, **{a.name: _array(x) for a, x in zip(replaceable, arrays)}}, there

    try:
        here = [_array(x) for x in run(*given)]
        moved, there = run_at(moved)
    except JUDGED as e:
        xp.note(f"at or next to this point the function raised {type(e).__name__}: the graph was not confirmed")
        return None
    further = None if xp.open_ended else lambda step: run_at(farther(traced.values, moving, step, seed))
    try:
        why = disagreement(
            traced.graph, traced.values, moved, here, there, roundoff, traced.dtype, traced.leaves, further
        )
    except (Unsupported, np.linalg.LinAlgError) as e:
        xp.note(f"the graph could not be confirmed in NumPy: {e}")
        return None
    if why is None:
        return None
    if program is not None:
        return _confirmed(traced, call, seed, xp)
    return f"the recorded operations are not the function (values left JAX's sight, or it is not reproducible): {why}"
