"""tinygrad: the lazy graph of what a function returns, replayed in NumPy.

Functions with a gradient of their own (`tinygrad.function.function(grad_fxn=…)`) are in it with their body. What was
realised on the way (`.item()`, `.numpy()`) is a buffer there, a constant: held against the function at a point nearby, it
is found out. Kernels written in UOps, and writes to buffers, have no counterpart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from tinygrad import Tensor
from tinygrad.dtype import _to_np_dtype
from tinygrad.uop.ops import Ops

from ...core.errors import Unsupported
from ...trace.calls import FlatCall, change_arrays, leaves
from ...trace.value import Traced
from ..numpy.tracer import Recorded, plain
from ..replay import Arrays, Program, trace_by_replay

DETACHED = "a value was detached on its way; the definition differentiates through it"
STOPPED = "a value was detached on its way; the definition holds it fixed"


def trace(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    stop_detached: bool = False,
    confirm: bool = True,
    strict: bool = True,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point. Tensors among the arguments (nested in tuples, lists and dicts)
    become inputs. `stop_detached` holds detached values fixed, instead of following the forward definition through
    them. Raises as `numpy.trace` does."""
    call = _Call(fn, tuple(args), dict(kwargs or {}), is_array, seed)
    replay = _Replay(call, stop_detached)
    found = trace_by_replay(
        call, "tinygrad", "tinygrad's sight", replay.program, Arrays(value, dtype, put),
        confirm=confirm and not stop_detached, strict=strict,
    )  # fmt: skip
    note = (STOPPED if stop_detached else DETACHED,) if replay.detaches else ()
    return replace(found, detaches=replay.detaches, notes=(*found.notes, *note))


def replaced(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with some of their arrays changed: for `judge.variations`."""
    return change_arrays(is_array, value, lambda new, like: made(new, like.device), change, args)


def is_array(x: Any) -> bool:
    return isinstance(x, Tensor)


def value(x: Any) -> np.ndarray:
    """The tensor's values as a NumPy array. A folded constant has no device: a zero that has one is added first."""
    zero = Tensor([0.0], dtype=x.dtype).contiguous().realize().reshape(()) if x.is_floating_point() else None
    return np.array((x.detach() if zero is None else x.detach() + zero).numpy())


def dtype(x: Any) -> str:
    return str(np.dtype(_to_np_dtype(x.dtype)))


def made(array: np.ndarray, device: Any) -> Any:
    return Tensor(np.array(array, order="C"), device=device)


def put(new: np.ndarray, like: Any) -> Any:
    return made(np.asarray(new).astype(dtype(like)), like.device)


class _Call(FlatCall):
    """A call whose random draws start from the seed."""

    def run(self, arrays: Sequence[Any]) -> Any:
        with _seeded(self.seed):
            return super().run(arrays)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    before = (Tensor._seed, Tensor._device_seeds, Tensor._device_rng_counters)
    Tensor.manual_seed(seed)
    try:
        yield
    finally:
        Tensor._seed, Tensor._device_seeds, Tensor._device_rng_counters = before


# ---- the graph ------------------------------------------------------------------------------------------------------


class _Replay:
    def __init__(self, call: FlatCall, stop_detached: bool) -> None:
        self.call, self.stop_detached, self.detaches = call, stop_detached, False

    def program(self) -> Program:
        inputs = [put(value(a), a) for a in self.call.arrays]
        outputs = [leaf for _, leaf in leaves(self.call.run(inputs)) if is_array(leaf)]
        return lambda arrays: self.run({t.uop: a for t, a in zip(inputs, arrays)}, [o.uop for o in outputs])

    def run(self, known: dict[Any, Any], wanted: Sequence[Any]) -> list[Any]:
        known = dict(known)
        for root in wanted:
            for node in root.toposort(gate=lambda u: u not in known and u.op is not Ops.FUNCTION):
                if node not in known and node.op not in BODIES:
                    known[node] = self.node(node, known)
        return [known[root] for root in wanted]

    def node(self, node: Any, known: dict[Any, Any]) -> Any:
        if node.op is Ops.GETTUPLE and node.src[0].op is Ops.FUNCTION:
            return self.function(node.src[0], node.arg, known)
        if node.op is Ops.CONST:
            return constant(node.arg)
        if node.op is Ops.NOOP or (node.op is Ops.STACK and all(s.op is Ops.CONST for s in node.src)):
            return None  # integers that another node reads by `marg`
        if node.op is Ops.DETACH:
            self.detaches = True
            x = known[node.src[0]]
            return np.array(plain(x)) if self.stop_detached else x
        sources = node.src[:1] if node.op in MOVES else node.src
        given = [known[s] for s in sources if s in known and known[s] is not None]
        if not any(isinstance(x, Recorded) for x in given) and (node.op not in STEPS or node.op in LEAVES):
            return value(Tensor(node))
        if node.op not in STEPS:
            raise Unsupported(f"{node.op} of tinygrad's graph has no counterpart")
        out = STEPS[node.op](node, *given)
        kind = np.dtype(_to_np_dtype(node.dtype)) if _to_np_dtype(node.dtype) is not None else None
        return out if kind is None or not hasattr(out, "dtype") or out.dtype == kind else out.astype(kind)

    def function(self, node: Any, which: int, known: dict[Any, Any]) -> Any:
        """The body of a function, whose parameters are numbered."""
        arguments = self.run(known, [s for s in node.src[1:] if s not in known] and list(node.src[1:]))
        arguments = arguments or [known[s] for s in node.src[1:]]
        body = node.src[0].src[which]
        inner = {u: arguments[_slot(u)] for u in body.toposort() if u.op is Ops.PARAM}
        return self.run(inner, [body])[0]


def _slot(parameter: Any) -> int:
    return int(getattr(parameter.arg, "slot", parameter.arg))


MOVES = frozenset({Ops.RESHAPE, Ops.EXPAND, Ops.PERMUTE, Ops.PAD, Ops.SHRINK, Ops.FLIP})
LEAVES = frozenset({Ops.BUFFER, Ops.COPY, Ops.CONTIGUOUS})
BODIES = frozenset({Ops.FUNCTION, Ops.TUPLE})


def constant(arg: Any) -> Any:
    if isinstance(arg, bool):
        return np.bool_(arg)
    if not isinstance(arg, int | float):
        raise Unsupported(f"the constant {arg!r} of tinygrad")
    return float(arg) if isinstance(arg, float) else int(arg)


def _spans(node: Any) -> list[tuple[int, int]]:
    """Pairs of offset and size, per axis."""
    return [(int(a), int(n)) for a, n in node.marg]


def pad(node: Any, x: Any) -> Any:
    return np.pad(x, [(o, size - o - n) for (o, size), n in zip(_spans(node), x.shape)])


def shrink(node: Any, x: Any) -> Any:
    return x[tuple(slice(o, o + n) for o, n in _spans(node))]


def reduce(node: Any, x: Any) -> Any:
    """Over the leading axes."""
    kind, axes = node.arg
    f: Any = {Ops.ADD: np.sum, Ops.MUL: np.prod, Ops.MAX: np.max}[kind]
    return f(x, axis=tuple(range(axes)))


def flip(node: Any, x: Any) -> Any:
    return x[tuple(slice(None, None, -1 if turned else None) for turned in node.marg)]


def reciprocal(node: Any, x: Any) -> Any:
    return 1.0 / np.asarray(x)


STEPS: dict[Any, Callable[..., Any]] = {
    Ops.RESHAPE: lambda node, x: np.reshape(x, node.shape),
    Ops.EXPAND: lambda node, x: np.broadcast_to(x, node.shape),
    Ops.PERMUTE: lambda node, x: np.transpose(x, node.marg),
    Ops.STACK: lambda node, *xs: np.stack(xs),
    Ops.PAD: pad, Ops.SHRINK: shrink, Ops.FLIP: flip, Ops.REDUCE: reduce, Ops.RECIPROCAL: reciprocal,
    **dict.fromkeys((Ops.COPY, Ops.CONTIGUOUS, Ops.CONTIGUOUS_BACKWARD, Ops.CAST), lambda node, x: np.asarray(x)),
    Ops.EXP2: lambda node, x: np.exp2(x), Ops.LOG2: lambda node, x: np.log2(x), Ops.SIN: lambda node, x: np.sin(x),
    Ops.SQRT: lambda node, x: np.sqrt(x), Ops.NEG: lambda node, x: np.negative(x), Ops.TRUNC: lambda node, x: np.trunc(x),
    Ops.ADD: lambda node, x, y: np.logical_or(x, y) if _masks(x, y) else np.add(x, y),
    Ops.MUL: lambda node, x, y: np.logical_and(x, y) if _masks(x, y) else np.multiply(x, y),
    Ops.SUB: lambda node, x, y: np.subtract(x, y), Ops.FDIV: lambda node, x, y: np.divide(x, y),
    Ops.MAX: lambda node, x, y: np.maximum(x, y), Ops.POW: lambda node, x, y: np.power(x, y),
    Ops.CMPLT: lambda node, x, y: np.less(x, y), Ops.CMPNE: lambda node, x, y: np.not_equal(x, y),
    Ops.CMPEQ: lambda node, x, y: np.equal(x, y), Ops.WHERE: lambda node, m, x, y: np.where(m, x, y),
    Ops.AND: lambda node, x, y: np.bitwise_and(x, y), Ops.OR: lambda node, x, y: np.bitwise_or(x, y),
    Ops.XOR: lambda node, x, y: np.bitwise_xor(x, y), Ops.FLOORDIV: lambda node, x, y: np.floor_divide(x, y),
    Ops.FLOORMOD: lambda node, x, y: np.remainder(x, y), Ops.MULACC: lambda node, x, y, z: x * y + z,
}  # fmt: skip
"""Operation -> a function (node, *values) of NumPy; integers that say where (of movements) are in `node.marg`."""


def _masks(*xs: Any) -> bool:
    return all(getattr(x, "dtype", None) == np.bool_ for x in xs)
