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
from .reads import Read
from .rules import ARITHMETIC, KEEP, KERNELS, REAL, Rule, rule
from .tape import FREED, Edge, Ghost, Node, named
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
    if rule.composite and state.enabled and any(isinstance(a, Tensor) and a.requires_grad for a in args):
        return _composed(rule, args, params)
    raws = [a._data if isinstance(a, Tensor) else a for a in args]
    if rule.promotion is not KEEP:
        raws = promoted(rule, raws)
    try:
        data = quiet.run(rule.kernel, *raws, **params)
    except (ValueError, TypeError, ShapeError, np.exceptions.AxisError) as error:
        raise _translated(rule, raws, error) from None
    out = wrap(data)
    if state.enabled and rule.differentiable:
        _record(rule, args, raws, params, out)
    if rule.view:
        views.track(rule, args[0], params, out)
    return out


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


def _record(rule: Rule, args: Sequence[Any], raws: Sequence[Any], params: Mapping[str, Any], out: Tensor) -> None:
    edges: list[Edge | None] = []
    recorded = False
    for a in args:
        if isinstance(a, Tensor):
            if a._view is not None:
                a._view.refresh(a)
            if a._requires_grad:
                edges.append(a._edge or a._gradient_edge())
                recorded = True
                continue
        edges.append(None)
    if not recorded:
        return
    if rule.frozen:
        edges = [None if i in rule.frozen else e for i, e in enumerate(edges)]
        if not any(edges):
            return
    name = rule.node_name
    if not isinstance(name, str):
        name = name(args, params)
    out._requires_grad = True
    out._edge = (named(OpNode, name)(rule, edges, args, params, out), 0)


class Freed:
    """What stands in `saved` after the saved values were released."""


class OpNode(Node):
    """An op of the table on the tape.

    saved      per argument: the tensor (its VJP reads the value), a Ghost (only its shape), a number, or None (nothing)
    versions   the version of each saved tensor when it was saved
    output     the saved output array, if the VJP reads it
    """

    __slots__ = ("cell", "metas", "output", "params", "rule", "saved", "versions")

    def __init__(
        self, rule: Rule, edges: Sequence[Edge | None], args: Sequence[Any], params: Mapping[str, Any], out: Tensor
    ) -> None:
        Node.__init__(self, edges)
        self.rule, self.params = rule, params
        keep_output, plan = rule.plan(tuple([e is not None for e in edges]))
        saved: list[Any] = []
        versions: list[int] = []
        metas = []
        for a, read, edge in zip(args, plan, edges):
            if isinstance(a, Tensor):
                if edge is not None:
                    metas.append((a._data.shape, a._data.dtype))
                else:
                    metas.append(None)
                if read is Read.VALUE:
                    versions.append(0 if a._version_cell is None else a._version_cell[0])
                    if a._inference:
                        raise RuntimeError(
                            "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
                            "inference mode in computation tracked by autograd. To work around this, you can make a "
                            "clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
                            "`torch.inference_mode()`."
                        )
                elif read is Read.SHAPE:
                    a = Ghost(a._data.shape, a._data.dtype)
                else:
                    a = None
            else:
                metas.append(None)
                # Texts take arrays: a number stands there as a scalar of the result's dtype.
                a = out._data.dtype.type(a) if read is not Read.NOTHING else None
            saved.append(a)
        self.saved: Any = saved
        self.versions = versions
        self.metas = metas
        self.output: Any = None
        self.cell: list[int] | None = None
        if keep_output is Read.VALUE:
            self.output, self.cell = out._data, out._cell()
            versions.append(self.cell[0])
        elif keep_output is Read.SHAPE:
            self.output = Ghost(out._data.shape, out._data.dtype)

    def backward(self, g: Any, create_graph: bool) -> Sequence[Any]:
        rule, saved, edges = self.rule, self.saved, self.edges
        if saved is Freed:
            raise RuntimeError(FREED)
        if self.versions:
            self._check_versions()
        if create_graph:
            return self._recorded(g)
        args = [a._data if isinstance(a, Tensor) else a for a in saved]
        out, params, spec = self.output, self.params, rule.spec
        grads: list[Any] = []
        for i, meta in enumerate(self.metas):
            if meta is None or edges[i] is None:
                grads.append(None)
                continue
            d = quiet.run(spec_cotangent, KERNELS, spec, i, g, out, args, params, meta[0])
            if d.dtype is not meta[1]:
                d = _as_dtype(d, meta[1])
            grads.append(d)
        return grads

    def _recorded(self, g: Tensor) -> list[Any]:
        """The same rule, read over tensors: what it does is recorded."""
        from .namespace import ENGINE

        args = [wrap(a) if isinstance(a, np.generic) else a for a in self.saved]
        out = self.output
        if self.cell is not None:
            out = wrap(self.output)
            out._requires_grad, out._edge, out._version_cell = True, (self, 0), self.cell
        grads: list[Any] = []
        for i, meta in enumerate(self.metas):
            if meta is None or self.edges[i] is None:
                grads.append(None)
                continue
            d = spec_cotangent(ENGINE, self.rule.spec, i, g, out, args, self.params, meta[0])
            if d._data.dtype != meta[1]:
                d = cast(d, meta[1])
            grads.append(d)
        return grads

    def _check_versions(self) -> None:
        tensors = [t for t in self.saved if isinstance(t, Tensor)]
        for t, version in zip(tensors, self.versions):
            now = 0 if t._version_cell is None else t._version_cell[0]
            if now != version:
                made = "" if t._edge is None else f", which is output {t._edge[1]} of {op_of(t._edge[0])}"
                raise _modified(t._data, made, now, version)
        if self.cell is not None and self.cell[0] != self.versions[-1]:
            raise _modified(self.output, f", which is output 0 of {op_of(self)}", self.cell[0], self.versions[-1])

    def release(self) -> None:
        if self.rule.indexes or self.versions or any(a is not None and not isinstance(a, Ghost) for a in self.saved):
            self.saved, self.output, self.cell = Freed, None, None

    def __getattr__(self, name: str) -> Any:
        """`_saved_self`, `_saved_other`, `_saved_result`: the saved values, by PyTorch's names for them."""
        if name.startswith("_saved_") and name != "_saved_tensors":
            if self.saved is Freed:
                raise RuntimeError(FREED)
            which = name.removeprefix("_saved_")
            if which == "result" and self.cell is not None:
                out = wrap(self.output)
                out._requires_grad, out._edge, out._version_cell = True, (self, 0), self.cell
                return out
            position = {"self": 0, "other": 1, "exponent": 1, "mat2": 1, "vec": 1, "tensor": 1}.get(which)
            if position is not None and position < len(self.saved):
                value = self.saved[position]
                if value is not None and not isinstance(value, Ghost):
                    return value
        raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}")


def spec_cotangent(
    xp: Any, spec: Any, i: int, g: Any, out: Any, args: Sequence[Any], params: Mapping[str, Any], shape: tuple[int, ...]
) -> Any:
    """OpSpec.cotangent, for an argument whose shape is known though its value may not have been kept."""
    if isinstance(spec.vjp, tuple):
        d = spec.vjp[i](xp, g, out, *args, **params)
    else:
        d = spec.vjp(xp, i, g, out, *args, **params)
    return xp.sum_to(d, shape) if spec.broadcasts and d.shape != shape else d


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
        f"[torch.{kind} {shape}]{made and made + ','} is at version {now}; expected version {then} instead. Hint: enable anomaly "
        "detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True)."
    )


class CompositeNode(Node):
    """An op that is a composition of others: one node outside, a small tape inside.

    Forward runs the definition on stand-ins for the arguments and keeps the recording; backward differentiates that. With
    create_graph the definition is run again on the true arguments, so that it is recorded where they came from.
    """

    __slots__ = ("args", "inner", "params", "rule", "standins")

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
        return IndexError(
            f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {error.axis})"
        )
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

