"""A call taken apart: what the tracers share whose frameworks have no trees of arguments of their own.

Arguments and results may be nested in tuples (named ones too), lists and mappings; the leaves are named as in Python:
`x`, `params['w']`, `rest[0]`, `state.h`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.errors import JUDGED, Unsupported
from ..namespaces.dtypes import ROUNDOFF
from ..namespaces.layout import strides_of
from .base import Tracer
from .callee import positional_names
from .confirm import disagreement, farther, nearby, unread_but_used
from .drawing import replayed
from .value import PARTS, Argument, Output, Traced, kind_of

Test = Callable[[Any], bool]


# ---- trees ----------------------------------------------------------------------------------------------------------


OPENERS: dict[type, Callable[[Any], Any]] = {}
"""A framework's own containers -> how they become a tuple or a mapping; its tracer enters them."""


def _as_it_is(tree: Any) -> Any:
    return tree


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) in order; None is a leaf."""
    tree = OPENERS.get(type(tree), _as_it_is)(tree)
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{path}[{key!r}]")
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        for name, value in zip(tree._fields, tree):
            yield from leaves(value, f"{path}.{name}")
    elif isinstance(tree, tuple | list):
        for k, value in enumerate(tree):
            yield from leaves(value, f"{path}[{k}]")
    else:
        yield path, tree


def rebuilt(tree: Any, new: Iterator[Any]) -> Any:
    """A tree of the same form with the leaves of `new`, in order."""
    if isinstance(tree, Mapping):
        return {key: rebuilt(value, new) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(value, new) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)([rebuilt(value, new) for value in tree])
    return next(new)


def mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    return rebuilt(tree, iter([change(leaf) for _, leaf in leaves(tree)]))


def change_arrays(
    is_array: Callable[[Any], bool], value: Callable[[Any], np.ndarray], put: Callable[[np.ndarray, Any], Any],
    change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...], kinds: str = "fi",
) -> tuple[Any, ...]:  # fmt: skip
    """The arguments with some of their arrays changed: for `judge.variations`. `kinds` are those of
    dtypes that may be."""

    def one(x: Any) -> Any:
        if not is_array(x):
            return x
        array = value(x)
        new = change(array) if array.dtype.kind in kinds else None
        return x if new is None else put(np.array(new), x)

    return tuple(mapped(one, args))


# ---- the call -------------------------------------------------------------------------------------------------------


@dataclass
class FlatCall:
    """A call taken apart, which can be run again with other arrays.

    names, arrays   of the leaves that `is_array`, in order
    owners          for each of them, the positional argument (by number) or keyword that it lies in
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_array: Test
    seed: int = 0
    names: list[str] = field(default_factory=list)
    owners: list[int | str] = field(default_factory=list)
    arrays: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = positional_names(self.fn, len(self.args))
        trees: list[tuple[str, int | str, Any]] = [(n, k, a) for k, (n, a) in enumerate(zip(names, self.args))]
        trees += [(n, n, a) for n, a in self.kwargs.items()]
        for head, owner, tree in trees:
            for path, leaf in leaves(tree):
                if self.is_array(leaf):
                    self.names.append(head + path)
                    self.owners.append(owner)
                    self.arrays.append(leaf)

    def filled(self, arrays: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with these arrays in place of the given ones."""
        new = iter(arrays)
        return mapped(lambda leaf: next(new) if self.is_array(leaf) else leaf, (self.args, self.kwargs))

    def run(self, arrays: Sequence[Any]) -> Any:
        args, kwargs = self.filled(arrays)
        with replayed(self.seed, generators_of(self.fn)), np.errstate(all="ignore"):
            return self.fn(*args, **kwargs)

    def flat(self, kept: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
        """fn as a function of flat arrays, giving the leaves `kept` of its result."""
        count = len(self.arrays)

        def function(*arrays: Any) -> tuple[Any, ...]:
            found = [leaf for _, leaf in leaves(self.run(arrays[:count]))]
            return tuple(found[k] for k in kept)

        return function


def closed_over(fn: Any) -> dict[str, Any]:
    """What a function refers to by name: globals, cells, defaults, and what the object of a bound method holds."""
    fn = inspect.unwrap(fn) if callable(fn) else fn
    owner = getattr(fn, "__self__", None)
    reachable = dict(getattr(owner, "__dict__", {})) | (getattr(fn, "__kwdefaults__", None) or {})
    reachable |= {f"default {k}": v for k, v in enumerate(getattr(fn, "__defaults__", None) or ())}
    try:
        found = inspect.getclosurevars(fn)
    except (TypeError, ValueError):
        return reachable
    return {**reachable, **found.globals, **found.nonlocals}


def generators_of(fn: Any) -> list[np.random.Generator]:
    """NumPy's generators that a function closes over."""
    return [g for g in closed_over(fn).values() if isinstance(g, np.random.Generator)]


# ---- the trace ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One leaf of what the function returned: its value at the point, and its node if it is live (else None), or why
    there is none; of a complex one the nodes of both parts. `detached` as in Output."""

    path: str
    array: np.ndarray | None
    what: str
    node: int | None = None
    why: str = ""
    detached: bool = False
    imag: int | None = None


def arguments(xp: Tracer, call: FlatCall, value: Callable[[Any], np.ndarray], dtype: Callable[[Any], str],
              wanted: Callable[[Any], bool]) -> list[Argument]:  # fmt: skip
    """The call's arrays as inputs of the graph. `value` gives an array's values as NumPy holds them, `dtype` its name,
    `wanted` whether it is flagged to be differentiated (False everywhere: all of them are)."""
    found = []
    for name, array in zip(call.names, call.arrays):
        read = value(array)
        if read.dtype.kind == "c" and not xp.takes_complex:
            raise Unsupported(f"{name} is complex, and the tracer was not given its real and imaginary parts")
        xp.input(name, read, read.dtype.kind in "fc")
        if read.dtype.kind == "c":
            half = read.real.dtype.name
            found += [Argument(f"{name}.{p}", "float", half, read.shape, "argument", wanted(array), p) for p in PARTS]
        else:
            kind, shape, strides = kind_of(read.dtype), tuple(read.shape), strides_of(read)
            found.append(Argument(name, kind, dtype(array), shape, "argument", wanted(array), strides=strides))
    return found


def traced(
    xp: Tracer, framework: str, given: list[Argument], results: Sequence[Found],
    function: Callable[[tuple[int, ...]], Callable[..., tuple[Any, ...]]], opaque: Sequence[str] = (), **fields: Any,
) -> Traced:  # fmt: skip
    """Return the recording as a Traced. `function(kept)` is the call that returns the leaves `kept`; `opaque` are reasons
    for which there can be no graph."""
    outputs: list[Output] = []
    nodes: list[int] = []
    kept: list[int] = []
    reasons = list(opaque)
    for k, r in enumerate(results):
        if r.array is None or (r.array.dtype.kind not in "fiubc" and r.array.dtype.name != "bfloat16"):
            outputs.append(Output(r.path, r.what, r.what, ()))
            continue
        shape = tuple(r.array.shape)
        if r.array.dtype.kind == "c" and xp.takes_complex:
            depends, half = r.node is not None or bool(r.why), r.array.real.dtype.name
            for part, node in zip(PARTS, (r.node, r.imag)):
                outputs.append(Output(r.path, "float", half, shape, len(nodes), depends, r.detached, part))
                nodes.append(0 if r.why else node if node is not None else xp.capture(np.array(getattr(r.array, part))))
            reasons += [r.why] if r.why else []
            kept.append(k)
            continue
        if r.array.dtype.kind == "c":
            reasons.append(
                f"output {r.path or '0'} is complex, and the tracer was not given its real and imaginary parts"
            )
            outputs.append(Output(r.path, "complex", r.what, shape))
            continue
        kind = kind_of(r.array.dtype)
        if kind != "float":
            outputs.append(Output(r.path, kind, r.what, shape))
            continue
        outputs.append(Output(r.path, kind, r.what, shape, len(nodes), r.node is not None or bool(r.why), r.detached))
        kept.append(k)
        if r.why:
            reasons.append(r.why)
            nodes.append(0)
        else:
            nodes.append(r.node if r.node is not None else xp.capture(np.asarray(r.array)))
    graph = None
    if not nodes:
        reasons.insert(0, "the function returns no floating-point array")
    if not reasons:
        graph = xp.builder.graph(*nodes)
        known = {a.name for a in given}
        given = given + [captured(n, xp.values[n]) for n in graph.inputs if n not in known]
    return Traced(
        graph=graph, arguments=tuple(given), outputs=tuple(outputs),
        values={a.name: xp.values[a.name] for a in given}, dtype=narrowest(xp, given, outputs),
        function=function(tuple(kept)), from_arrays=frozenset(xp.from_arrays),
        framework=framework, opaque=tuple(dict.fromkeys(reasons)), **fields,
    )  # fmt: skip


def captured(name: str, array: np.ndarray) -> Argument:
    return Argument(name, kind_of(array.dtype), array.dtype.name, tuple(array.shape), "captured")


def narrowest(xp: Tracer, given: Sequence[Argument], outputs: Sequence[Output], otherwise: str = "float64") -> str:
    """The dtype of the floating-point arguments, or else outputs: the narrowest, because rounding happens there."""
    names = [a.dtype for a in given if a.kind == "float" and a.role != "captured"]
    names = names or [o.dtype for o in outputs if o.position is not None] or [otherwise]
    unique = sorted(set(names), key=lambda n: -ROUNDOFF.get(n, 1.0))
    if len(unique) > 1:
        xp.note(f"mixed precision: the inputs are {', '.join(unique)}; judged as {unique[0]}")
    return unique[0]


def confirmed(
    found: Traced, xp: Tracer, put: Callable[[np.ndarray, Any], Any], like: Sequence[Any],
    value: Callable[[Any], np.ndarray], seed: int, sight: str, left: Sequence[str] = (),
) -> str | None:  # fmt: skip
    """Why the graph is not the function, or None: both are run here and at a point nearby.

    `put` makes an array of the framework's with other values, `like` are the given ones. `sight` names what values
    may have left, `left` by which ways they were seen to.
    """
    assert found.graph is not None
    replaceable = [a for a in found.arguments if a.role != "captured"]
    moving = [a.name for a in replaceable if a.kind == "float"]
    narrow = [o.dtype for o in found.outputs if o.position is not None] + [found.dtype]
    roundoff = max(ROUNDOFF.get(n, 2.0**-4) for n in narrow)
    moved = nearby(found.values, moving, roundoff, seed)
    try:
        here = [value(o) for o in found.function(*(put(found.values[a.name], x) for a, x in zip(replaceable, like)))]
        arrays = [put(moved[a.name], x) for a, x in zip(replaceable, like)]
        # Rounded to the arrays' own dtype, the point is that of both.
        moved |= {a.name: value(x) for a, x in zip(replaceable, arrays)}
        there = [value(o) for o in found.function(*arrays)]

        def run(point: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return [value(o) for o in found.function(*(put(point[a.name], x) for a, x in zip(replaceable, like)))]

        def run_at(step: float) -> tuple[Mapping[str, np.ndarray], list[np.ndarray]]:
            point = farther(found.values, moving, step, seed)
            point |= {a.name: value(put(point[a.name], x)) for a, x in zip(replaceable, like)}
            return point, run(point)

        apart = unread_but_used(found.graph, found.values, moving, roundoff, seed, run, here)
    except JUDGED as e:
        xp.note(f"at or next to this point the function raised {type(e).__name__}: the graph was not confirmed")
        return None
    try:
        why = disagreement(
            found.graph, found.values, moved, here, there, roundoff, found.dtype, found.leaves, run_at, bool(left)
        )
    except (Unsupported, np.linalg.LinAlgError) as e:
        xp.note(f"the graph could not be confirmed in NumPy: {e}")
        return None
    why = why or apart
    if why is None:
        return None
    if left:
        return f"values leave {sight} ({', '.join(left)}) and come back: {why}"
    return f"the recorded operations are not the function (values left {sight}, or it is not reproducible): {why}"


def finished(found: Traced, xp: Tracer, strict: bool) -> Traced:
    """With its notes. Raises Unsupported, if `strict`, where there is no graph."""
    if found.opaque and strict:
        raise Unsupported("; ".join(found.opaque))
    return replace(found, graph=None if found.opaque else found.graph, notes=tuple(xp.notes))
