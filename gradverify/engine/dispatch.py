"""Running an op: bring the operands to one dtype, run the kernel, and leave a node behind if someone wants gradients.

The one idea: the forward kernel and the backward rule come from the same declaration in the op table. `OpNode.backward`
reads the rule over NumPy; with create_graph it reads the same text over the engine's own tensors, so that the backward pass
is recorded in turn. That is all there is to derivatives of any order.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from . import dtypes, views
from .dtypes import F32, F64
from .modes import state
from .reads import SHAPE, VALUE
from .rules import ARITHMETIC, KEEP, KERNELS, REAL, Plan, Rule, gpu, kernels_for, rule
from .tape import FREED, Edge, Ghost, Node, named, sequence
from .tensor import Tensor, wrap

NONE: Mapping[str, Any] = {}


class _Quiet(threading.local):
    """NumPy warns where PyTorch is silent (log(0), overflow). Its error state lives in a context variable, so a context
    that has it switched off runs a kernel silently for some 15 ns, where `np.errstate` would take 900."""

    def __init__(self) -> None:
        context = contextvars.copy_context()
        context.run(lambda: np.seterr(all="ignore"))
        self.run: Callable[..., Any] = context.run


quiet = _Quiet()


def apply(rule: Rule, args: Sequence[Any], params: Mapping[str, Any] = NONE) -> Tensor:
    """Run an op on tensors and Python numbers, and record it where grad mode is on and an argument requires grad."""
    args = tuple(args)
    for a in args:
        if a._data.dtype.kind == "c" if isinstance(a, Tensor) else type(a) is complex:
            rule = rule.on_complex(a._data.dtype if isinstance(a, Tensor) else dtypes.default_complex())
            break
    if rule.composite and state.enabled and any(isinstance(a, Tensor) and a.requires_grad for a in args):
        return _composed(rule, args, params)
    if rule.view:
        args[0]._array()  # a view of a NumPy scalar would share nothing
    raws = [a._data if isinstance(a, Tensor) else a for a in args]
    half = None
    if rule.promotion is not KEEP:
        raws = promoted(rule, raws)
    if rule.computes:
        # Halves are computed in float32 and rounded once, as PyTorch does.
        half = half_among(raws)
        if half is not None:
            raws = [widened(x) for x in raws]
    kernel = rule.kernel if gpu.kernels is None else rule.kernel_in(kernels_for(*raws))
    try:
        data = quiet.run(kernel, *raws, **params)
    except (ValueError, TypeError, ShapeError, np.exceptions.AxisError) as error:
        raise _translated(rule, raws, error) from None
    if half is not None and data.dtype == F32:
        data = data.astype(half)
    out = wrap(data)
    if state.enabled and rule.differentiable:
        _record(rule, args, params, out)
    if rule.view:
        views.track(rule, args[0], params, out)
    return out


HALF = {d.numpy for name, d in dtypes.DTYPES.items() if name in ("float16", "bfloat16")}


def half_among(raws: list[Any]) -> Any:
    """The 16-bit dtype that the operands are in, or None. They agree by now: beside the last one (a number, or the indices
    of a loss) the first one tells."""
    last = getattr(raws[-1], "dtype", None)
    if last is F32 or last is F64:
        return None
    return next((d for d in (last, getattr(raws[0], "dtype", None)) if d in HALF), None)


def widened(x: Any) -> Any:
    if getattr(x, "dtype", None) not in HALF:
        return x
    return Ghost(x.shape, F32) if isinstance(x, Ghost) else x.astype(F32)


def promoted(rule: Rule, raws: list[Any]) -> list[Any]:
    """The operands in the dtype that PyTorch computes this op in; nothing happens where they agree already."""
    d = getattr(raws[0], "dtype", None)
    if (d is F32 or d is F64) and (rule.primitive or len(raws) == 1):
        for other in raws[1:]:
            if getattr(other, "dtype", d) is not d or type(other) is complex:
                break
        else:
            return raws
    floats = [rule.spec.argument(i) == "float" for i in range(len(raws))]  # masks and indices stay what they are
    to = dtypes.result_type([x for x, is_float in zip(raws, floats) if is_float])
    if rule.promotion is REAL and dtypes.CATEGORY[to] < dtypes.FLOAT:
        to = dtypes.default_numpy()
    if rule.promotion is ARITHMETIC and dtypes.CATEGORY[to] == dtypes.BOOL and rule.name in _COUNTS:
        to = dtypes.I64

    def cast(x: Any) -> Any:
        if hasattr(x, "dtype"):
            return x if x.dtype == to else x.astype(to)
        return to.type(x)

    return [cast(x) if is_float else x for x, is_float in zip(raws, floats)]


_COUNTS = {"sum", "prod", "cumulative_sum", "cumulative_prod"}  # of bools and small integers: int64


def apply_one(rule: Rule, x: Tensor) -> Tensor:
    """`apply` for an elementwise op of one floating-point tensor, without the detours."""
    raw = x._data
    d = raw.dtype
    if (d is F32 or d is F64) and gpu.kernels is None:
        out = wrap(quiet.run(rule.kernel, raw))
        if state.enabled:
            _record(rule, (x,), NONE, out, True)
        return out
    return apply(rule, (x,))


def apply_two(rule: Rule, x: Any, y: Any) -> Tensor:
    """`apply` for a broadcasting primitive of two operands that agree in dtype already, without the detours."""
    a = x._data if isinstance(x, Tensor) else x
    b = y._data if isinstance(y, Tensor) else y
    plain = type(b) is float or type(b) is int
    d = a.dtype if plain else getattr(b, "dtype", None)  # a complex number has none
    known = plain or type(a) is float or type(a) is int or getattr(a, "dtype", None) is d
    if known and (d is F32 or d is F64) and gpu.kernels is None:
        try:
            out = wrap(quiet.run(rule.kernel, a, b))
        except ValueError as error:
            raise _translated(rule, (a, b), error) from None
        if state.enabled:
            _record(rule, (x, y), NONE, out, plain or (getattr(a, "shape", None) == b.shape))
        return out
    return apply(rule, (x, y))


def _record(rule: Rule, args: tuple[Any, ...], params: Mapping[str, Any], out: Tensor, alike: bool = False) -> None:
    """Leave a node behind, if an argument requires grad. `alike`: the arguments have the shape and dtype of the result."""
    edges: list[Edge | None] = []
    wanted, bit = 0, 1
    idle = False  # recorded all the same: an argument requires grad, but nothing leads on from it
    for a in args:
        edge = None
        if isinstance(a, Tensor):
            if a._view is not None:
                a._view.refresh(a)
                idle = idle or (a._borrows and a._view.base._requires_grad)
            if a._requires_grad and not (rule.frozen and len(edges) in rule.frozen):
                edge = a._edge or a._gradient_edge()
                wanted |= bit
        edges.append(edge)
        bit += bit
    if wanted or idle:
        cls: Any = rule.node_class
        if cls is None:
            assert not isinstance(rule.node_name, str)
            cls = named(OpNode, rule.node_name(args, params))
        plan = rule.plans.get(wanted) or rule.plan(wanted, len(edges))
        # What `cls(...)` with an `__init__` would do, in half the time.
        node: OpNode = _create(cls)
        node.sequence, node.edges = next(sequence), edges
        node.rule, node.params, node.plan, node.saved = rule, params, plan, plan.blank
        if plan.saves:
            node._save(plan, args, out)
        if not alike:
            node._note_dtypes(args, out)
        out._requires_grad = True
        out._edge = (node, 0)


_create = object.__new__


INFERENCE = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation "
    "tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use "
    "`torch.no_grad()` instead of `torch.inference_mode()`."
)


DETACHED = (
    "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_(). This is not supported, please use "
    "out-of-place `.detach()` instead"
)


class Freed:
    """What stands in `saved` after the saved values were released."""


def _saved(name: str, position: int | None) -> property:
    """A saved value of a node, by PyTorch's name for it. (Not by `__getattr__`: that slows down every other attribute.)"""

    def get(self: OpNode) -> Any:
        if self.saved is Freed:
            raise RuntimeError(FREED)
        if position is None and self.cell is not None:
            return self._saved_output()
        if position is not None and position < len(self.saved):
            value = self.saved[position]
            if value is not None and not isinstance(value, Ghost):
                return value
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '_saved_{name}'")

    return property(get)


class OpNode(Node):
    """An op of the table on the tape.

    rule      the op, called with `params`
    plan      which arguments get cotangents, and by which rules
    saved     per argument: the tensor (its value is read), a Ghost (only its shape), a number as a scalar, or None
    versions  per argument, the version of the saved tensor; None stands for all 0
    metas     per argument that gets a cotangent, its shape and dtype; None: those of the result
    plain     are the result and all those float32 or float64? Halves and complex numbers take a detour
    output    the saved output array, or a Ghost of it, or None; `cell`, `version`: its version counter, and its value then
    """

    rule: Rule
    params: Mapping[str, Any]
    plan: Plan
    saved: Any
    versions: dict[int, int] | None = None
    metas: list[tuple[tuple[int, ...], np.dtype]] | None = None
    plain = True  # are all dtypes float32 or float64?
    output: Any = None
    cell: list[int] | None = None
    version = 0

    _saved_self, _saved_other = _saved("self", 0), _saved("other", 1)
    _saved_exponent, _saved_mat2 = _saved("exponent", 1), _saved("mat2", 1)
    _saved_vec, _saved_tensor = _saved("vec", 1), _saved("tensor", 1)
    _saved_result = _saved("result", None)

    def _note_dtypes(self, args: tuple[Any, ...], out: Tensor) -> None:
        self.metas = []
        for k, _ in self.plan.wanted:
            raw = args[k]._data
            self.metas.append((raw.shape, raw.dtype))
            if raw.dtype is not F32 and raw.dtype is not F64:
                self.plain = False
        if out._data.dtype is not F32 and out._data.dtype is not F64:
            self.plain = False

    def _save(self, plan: Plan, args: tuple[Any, ...], out: Tensor) -> None:
        saved: Any = args if plan.everything else list(plan.blank)
        for k in plan.values:
            a = args[k]
            if isinstance(a, Tensor):
                if a._inference:
                    raise RuntimeError(INFERENCE)
                cell = a._version_cell
                if cell is not None and cell[0]:
                    self.versions = (self.versions or {}) | {k: cell[0]}
            else:  # texts take arrays: a number stands there as a scalar of the result's dtype
                saved = list(saved)
                a = out._data.dtype.type(a)
            if saved is not args:
                saved[k] = a
        for k in plan.shapes:
            a = args[k]
            saved[k] = Ghost(a._data.shape, a._data.dtype) if isinstance(a, Tensor) else out._data.dtype.type(a)
        self.saved = saved
        if plan.output is VALUE:
            self.output, self.cell = out._data, out._cell()
        elif plan.output is SHAPE:
            self.output = Ghost(out._data.shape, out._data.dtype)

    def backward(self, g: Any, create_graph: bool) -> Sequence[Any]:
        saved, plan = self.saved, self.plan
        if saved is Freed:
            raise RuntimeError(FREED)
        if plan.keeps:
            saved = self._unpacked()
        if create_graph:
            return self._recorded(g)
        run, dtype = quiet.run, g.dtype
        xp = KERNELS if gpu.kernels is None else kernels_for(g)
        grads: list[Any] = [None] * len(saved)
        if self.metas is None:  # then there are no parameters either
            for i, vjp in plan.wanted:
                d = run(vjp, xp, g, self.output, *saved)
                grads[i] = d if d.dtype is dtype else _as_dtype(d, dtype)
            return grads
        output = self.output
        if not self.plain:
            g, output, saved = widened(g), widened(output), [widened(a) for a in saved]
            if self._conjugates(g.dtype):
                run, saved = _conjugated(run), [self._complexed(i, a, g.dtype) for i, a in enumerate(saved)]
        for (i, vjp), (shape, dtype) in zip(plan.wanted, self.metas):
            d = run(vjp, xp, g, output, *saved, **self.params)
            if d.shape != shape and self.rule.broadcasts:
                d = xp.sum_to(d, shape)
            grads[i] = d if d.dtype is dtype else _as_dtype(d, dtype)
        return grads

    def _unpacked(self) -> list[Any]:
        """The saved values. Raises RuntimeError where one was edited since, or lost its history."""
        versions, saved, plan = self.versions, list(self.saved), self.plan
        for k in plan.values:
            t = saved[k]
            if isinstance(t, Tensor):
                edge = self.edges[k]
                if t._edge is None and edge is not None and not edge[0].ends:
                    raise RuntimeError(DETACHED)
                cell = t._version_cell
                if cell is not None and cell[0] != (0 if versions is None else versions.get(k, 0)):
                    raise self._stale(t, cell[0], 0 if versions is None else versions.get(k, 0))
                saved[k] = t._data
        cell = self.cell
        if cell is not None and cell[0] != self.version:
            raise _modified(self.output, f", which is output 0 of {op_of(self)}", cell[0], self.version)
        return saved

    def run_on_none(self) -> None:
        if self.saved is Freed:
            raise RuntimeError(FREED)
        if self.plan.keeps:
            self._unpacked()

    def _conjugates(self, cotangent: np.dtype) -> bool:
        """Is this a holomorphic op of complex numbers, with a rule for reals? Then that needs conjugates."""
        return cotangent.kind == "c" and not self.rule.wirtinger

    def _complexed(self, i: int, a: Any, to: np.dtype) -> Any:
        """A real argument among complex ones as a complex number, which is how the op took it: log(-1) has a value then."""
        raw = a._data if isinstance(a, Tensor) else a
        if raw is None or isinstance(raw, Ghost) or raw.dtype.kind != "f" or self.rule.spec.argument(i) != "float":
            return a
        return cast(a, to) if isinstance(a, Tensor) else a.astype(to)

    def _stale(self, t: Tensor, now: int, then: int) -> RuntimeError:
        made = "" if t._edge is None else f", which is output {t._edge[1]} of {op_of(t._edge[0])}"
        return _modified(t._data, made, now, then)

    def _recorded(self, g: Tensor) -> list[Any]:
        """The same rule, read over tensors: what it does is recorded."""
        from .namespace import ENGINE

        args = [wrap(a) if isinstance(a, np.generic) else a for a in self.saved]
        out = self.output
        if self.cell is not None:
            out = self._saved_output()
        grads: list[Any] = [None] * len(args)
        metas = self.metas or [(g._data.shape, g._data.dtype)] * len(grads)
        conjugate = not self.plain and self._conjugates(g._data.dtype)
        if conjugate:
            args = [self._complexed(i, a, g._data.dtype) for i, a in enumerate(args)]
            g = ENGINE.conj(g)
        for (i, vjp), (shape, dtype) in zip(self.plan.wanted, metas):
            d = vjp(ENGINE, g, out, *args, **self.params)
            if conjugate:
                d = ENGINE.conj(d)
            if self.rule.broadcasts and d._data.shape != shape:
                d = ENGINE.sum_to(d, shape)
            grads[i] = d if d._data.dtype == dtype else cast(d, dtype)
        return grads

    def _saved_output(self) -> Tensor:
        out = wrap(self.output)
        out._requires_grad, out._edge, out._version_cell = True, (self, 0), self.cell
        return out

    def release(self) -> None:
        if self.plan.keeps:
            self.saved, self.output, self.cell = Freed, None, None


def _conjugated(run: Callable[..., Any]) -> Callable[..., Any]:
    """conj(text(conj(g))): derived in `wirtinger`."""

    def conjugated(vjp: Callable[..., Any], xp: Any, g: Any, *rest: Any, **params: Any) -> Any:
        return np.conj(run(vjp, xp, np.conj(g), *rest, **params))

    return conjugated


def _as_dtype(d: Any, to: np.dtype) -> Any:
    if d.dtype == to:
        return d
    if d.dtype.kind == "c" and to.kind != "c":
        d = d.real  # a real input of a complex op gets the real part of its cotangent
    return d.astype(to)


def op_of(node: Node) -> str:
    """The node's name without Backward0, as error messages have it."""
    name = node.name()
    return name.rstrip("0123456789").removesuffix("Backward") if name[-1].isdigit() else name


def _modified(data: Any, made: str, now: int, then: int) -> RuntimeError:
    kind, shape = dtypes.OF_NUMPY[data.dtype].tensor_type, list(data.shape)
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{kind} {shape}]{made and made + ','} is at version {now}; expected version {then} instead. "
        "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True)."
    )


class CompositeNode(Node):
    """An op that is a composition of others: one node outside, a small tape inside.

    Forward runs the definition on stand-ins for the arguments and keeps the recording; backward differentiates that. With
    create_graph the definition is run again on the true arguments, so that it is recorded where they came from.
    """

    def __init__(
        self, rule: Rule, edges: Sequence[Edge | None], args: Sequence[Any], params: Mapping[str, Any]
    ) -> None:
        from .namespace import ENGINE

        Node.__init__(self, edges)
        self.rule, self.params, self.args = rule, params, args
        self.standins: list[Any] = []
        for a, edge in zip(args, edges):
            if isinstance(a, Tensor):
                stand = wrap(a._data)
                stand._version_cell = a._cell()
                stand._requires_grad = edge is not None
                a = stand
            self.standins.append(a)
        self.inner: Tensor = rule.spec.define(ENGINE, *self.standins, **params)

    def backward(self, g: Any, create_graph: bool) -> Sequence[Any]:
        from .autograd import grad
        from .namespace import ENGINE

        wanted = [i for i, e in enumerate(self.edges) if e is not None]
        with recording():
            if create_graph:
                inner, inputs = self.rule.spec.define(ENGINE, *self.args, **self.params), self.args
            else:
                inner, inputs, g = self.inner, self.standins, wrap(g)
            found = grad(
                inner, [inputs[i] for i in wanted], g, retain_graph=True, create_graph=create_graph, allow_unused=True
            )
        grads: list[Any] = [None] * len(self.edges)
        for i, d in zip(wanted, found):
            grads[i] = d if create_graph or d is None else d._data
        return grads

    def release(self) -> None:
        """What the inner tape saved goes; where it saved nothing, backward can run again."""
        stack = [self.inner._edge[0]] if self.inner._edge is not None else []
        seen = set(stack)
        while stack:
            node = stack.pop()
            node.release()
            new = {e[0] for e in node.edges if e is not None} - seen
            seen |= new
            stack += new


def _composed(rule: Rule, args: Sequence[Any], params: Mapping[str, Any]) -> Tensor:
    edges = [a._gradient_edge() if isinstance(a, Tensor) and a.requires_grad else None for a in args]
    name = rule.node_name if isinstance(rule.node_name, str) else rule.node_name(args, params)
    node = named(CompositeNode, name)(rule, edges, args, params)
    out = wrap(node.inner._data)
    out._requires_grad, out._edge = True, (node, 0)
    return out


class recording:
    def __enter__(self) -> None:
        self.before, state.enabled = state.enabled, True

    def __exit__(self, *exc: object) -> None:
        state.enabled = self.before


def cast(x: Tensor, to: np.dtype) -> Tensor:
    """A recorded conversion."""
    return apply(rule("cast"), (x,), {"to": to})


def _translated(rule: Rule, raws: Sequence[Any], error: Exception) -> Exception:
    """NumPy's complaint, as PyTorch would have put it."""
    shapes = [tuple(getattr(r, "shape", ())) for r in raws]
    if isinstance(error, TypeError):
        if rule.name == "subtract" and "boolean subtract" in str(error):
            return RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
                "operator instead."
            )
        return error
    if isinstance(error, np.exceptions.AxisError):
        n = max(len(shapes[0]), 1)
        return IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {error.axis})")
    if rule.spec.broadcasts and len(shapes) >= 2:
        for a in shapes:
            for b in shapes:
                for k in range(1, min(len(a), len(b)) + 1):
                    if a[-k] != b[-k] and a[-k] != 1 and b[-k] != 1:
                        return RuntimeError(
                            f"The size of tensor a ({a[-k]}) must match the size of tensor b ({b[-k]}) at non-singleton "
                            f"dimension {max(len(a), len(b)) - k}"
                        )
    if rule.name == "reshape":
        return RuntimeError(f"shape is invalid for input of size {raws[0].size}: {error}")
    if rule.name == "matmul":
        a, b = shapes
        if len(a) == 2 and len(b) == 2:
            return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})")
    return RuntimeError(f"{rule.name}: {error}")
