"""`autograd.Function`: ops that users write, with their own backward.

The one idea: `ctx` is the node. What forward stores on it is what backward finds, and it goes when the graph goes.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...namespaces.base import Namespace
from .. import dtypes
from ..api.call import run
from ..api.conversion import detach
from ..dispatch import cast, has_tangent
from ..forward import check_size, tangent, with_tangent
from ..messages import modified_error
from ..modes import no_grad, state
from ..namespace import ENGINE
from ..saving import Packed, SavedTensor
from ..tape import FREED, Edge, Node, op_of
from ..tensor import Creation, Tensor, View, wrap
from ..views import check_writable, rebase


class FunctionCtx(Node):
    """What `forward` and `backward` get as `ctx`: a node that also holds whatever the user puts on it."""

    _forward_cls: type[Function]
    runs_on_none = True
    _saved_for_forward: tuple[Any, ...] = ()
    _in_jvp = False
    _materialize_non_diff_grads = True

    def __init__(self, args: Sequence[Any]) -> None:
        edges: list[Edge | None] = []
        self.needs_input_grad: tuple[bool, ...] = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        for a, needed in zip(args, self.needs_input_grad):
            edges.append(a._gradient_edge() if needed and state.enabled else None)
        super().__init__(edges)
        self.to_save: tuple[Any, ...] = ()
        self.materialize_grads = True
        self.dirty_tensors: tuple[Tensor, ...] = ()
        self.non_differentiable: tuple[Tensor, ...] = ()
        self._saved: list[tuple[Any, ...]] | None = []
        self._inputs = [(a._data.shape, a._data.dtype) if isinstance(a, Tensor) else None for a in args]
        self._outputs: list[tuple[Any, ...] | None] = []
        self._constant: set[int] = set()  # the outputs that were marked as non-differentiable

    # ---- the user's side -------------------------------------------------------------------------------------------

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward. Anything but tensors and None belongs on `ctx` itself."""
        for x in tensors:
            if x is not None and not isinstance(x, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {tensors.index(x)} is of type "
                    f"{type(x).__name__}"
                )
        self.to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `jvp`, which finds them as `saved_tensors`."""
        self._saved_for_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The saved tensors. Raises RuntimeError where they were freed, or modified in place since."""
        if self._in_jvp:
            return self._saved_for_forward
        if self._saved is None:
            raise RuntimeError(FREED)
        out: list[Any] = []
        for x, output, version in self._saved:
            if x is None or isinstance(x, Packed):
                out.append(None if x is None else x.tensor())
                continue
            if output is None:
                cell, tensor = x._cell(), x
            else:  # an output is kept as its array, so that node and output do not keep each other alive
                data, cell = x
                tensor = wrap(data)
                tensor._version_cell = cell
                tensor._requires_grad, tensor._edge = True, (self, output)
            if cell[0] != version:
                made = (
                    "" if tensor._edge is None else f", which is output {tensor._edge[1]} of {op_of(tensor._edge[0])}"
                )
                raise modified_error(tensor._data, made, cell[0], version)
            out.append(tensor)
        return tuple(out)

    @property
    def _raw_saved_tensors(self) -> tuple[SavedTensor, ...]:
        """The places of the saved tensors, to set hooks on."""
        if self._saved is None:
            raise RuntimeError(FREED)
        return tuple(self._saved_at(k) for k in range(len(self._saved)))

    def _saved_at(self, k: int) -> SavedTensor:
        def get() -> Any:
            entry = self._saved[k][0] if self._saved else None
            return entry if entry is None or isinstance(entry, Packed) else self.saved_tensors[k]

        def put(packed: Packed) -> None:
            assert self._saved is not None
            self._saved[k] = packed, None, 0

        value = get()
        leads_on = isinstance(value, Tensor) and value.requires_grad
        return SavedTensor.at(get, put, value._gradient_edge() if leads_on else None)

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        """The old name of `saved_tensors`."""
        warnings.warn("'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2)
        return self.saved_tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """These inputs were modified in place; each must be returned."""
        self.dirty_tensors = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These outputs have no gradient."""
        self.non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether an output that got no gradient has zeros in backward (True, the default) or None."""
        self.materialize_grads = value

    def __repr__(self) -> str:
        return f"<torch.autograd.function.{type(self).__name__} object at {id(self):#x}>"

    # ---- the engine's side -----------------------------------------------------------------------------------------

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        create_graph = over is not None
        grads = [g] if self.outputs == 1 else [None] * self.outputs if g is None else g
        given: list[Any] = []
        for k, (meta, d) in enumerate(zip(self._outputs, grads)):
            if d is None and k in self._constant and not self._materialize_non_diff_grads:
                given.append(None)
            elif d is not None:
                given.append(d if create_graph else wrap(d))
            elif self.materialize_grads and meta is not None:
                given.append(wrap(np.zeros(*meta)))
            else:
                given.append(None)
        back = self._forward_cls._backward(self, *given)
        back = back if isinstance(back, tuple) else (back,)
        return self._check_gradients(list(back), create_graph)

    def _check_gradients(self, back: list[Any], create_graph: bool) -> list[Any]:
        n, name = len(self._inputs), self.name()
        while len(back) > n and back[-1] is None:
            back.pop()
        if len(back) != n:
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {n}, got {len(back)})"
            )
        out: list[Any] = []
        for k, (d, meta) in enumerate(zip(back, self._inputs)):
            if d is None:
                out.append(None)
                continue
            if meta is None:
                raise RuntimeError(
                    f"function {name} returned a gradient different than None at position {k + 1}, but the corresponding "
                    "forward input was not a Variable"
                )
            if not isinstance(d, Tensor):
                raise TypeError(f"expected Tensor or None as gradient {k} of {name}, got {type(d).__name__}")
            shape, dtype = meta
            if d._data.shape != shape:
                if not _expandable(shape, d._data.shape):
                    raise RuntimeError(
                        f"Function {name} returned an invalid gradient at index {k} - got {list(d.shape)} but expected "
                        f"shape compatible with {list(shape)}"
                    )
                d = ENGINE.sum_to(d, shape)
            if d._data.dtype.kind == "c" != dtype.kind:
                raise RuntimeError(
                    "Expected isFloatingType(grad.scalar_type()) || (input_is_complex == grad_is_complex) to be true, but "
                    "got false.  (Could this error message be improved?  If so, please report an enhancement request to "
                    "PyTorch.)"
                )
            if d._data.dtype != dtype:
                d = cast(d, dtype)
            out.append(d if create_graph else d._data)
        return out

    def release(self) -> None:
        if self._saved:
            self._saved = None


def _expandable(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small[::-1], large[::-1]))


class _Meta(type):
    """Gives every Function its node class, called after it: MyPow -> MyPowBackward."""

    _backward_cls: type[FunctionCtx]

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> None:
        super().__init__(name, bases, body)
        cls._backward_cls = type(
            f"{name}Backward", (FunctionCtx,), {"_forward_cls": cls, "__module__": "torch.autograd.function"}
        )


class Function(metaclass=_Meta):
    """Subclass it with static `forward(ctx, *args)` and `backward(ctx, *grad_outputs)`, and call `apply`.

    Or with `forward(*args)` and `setup_context(ctx, inputs, output)`. Anything that PyTorch's tutorial on extending autograd
    does works here.
    """

    generate_vmap_rule = False
    """PyTorch's vmap asks for it; here vmap runs a Function row by row."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """PyTorch's rule for a batch. Functions are run row by row here, so that nothing calls it."""
        raise NotImplementedError("vmap is not implemented for this autograd.Function")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should invoke "
            "them on the class itself. Instantiating an autograd function will raise an error in a future version of "
            "PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward "
            "mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @classmethod
    def _backward(cls, ctx: Any, *grads: Any) -> Any:
        custom_vjp = cls.vjp is not Function.vjp
        if custom_vjp and cls.backward is not Function.backward:
            raise RuntimeError("Implementing both 'backward' and 'vjp' for a custom Function is not allowed.")
        return (cls.vjp if custom_vjp else cls.backward)(ctx, *grads)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function "
            "with static forward method. (Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward`, and record it as one op."""
        if state.duals and any(isinstance(a, Tensor) and has_tangent(a) for a in args):
            return cls._apply_dual(args)
        return cls._record(args)[0]

    @classmethod
    def _apply_dual(cls, args: tuple[Any, ...]) -> Any:
        """Run `forward` for the values and `jvp` for the tangents of the innermost level that an argument has one of."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        level = max(k for a in tensors for k in a._tangents or () if k in state.duals)
        tangents = [tangent(a, level) if isinstance(a, Tensor) else None for a in args]
        primals = [with_tangent(a, level, None) if isinstance(a, Tensor) and a._tangents else a for a in args]
        result, ctx = cls._record(tuple(primals))
        given = [
            wrap(np.zeros_like(a._array())) if d is None and ctx.materialize_grads and _is_float(a) else d
            for a, d in zip(args, tangents)
        ]
        versions = [None if d is None else d._cell()[0] for d in given]
        ctx._in_jvp = True
        duals = state.levels
        state.open(tuple(k for k in duals if k != level))
        try:
            found = cls.jvp(ctx, *given)
        finally:
            state.open(duals)
            ctx._in_jvp = False
        outputs, found = list(result) if isinstance(result, tuple) else [result], _as_tuple(found)
        if len(found) != len(outputs):
            raise RuntimeError(
                f"Function's jvp returned an invalid number of forward gradients (expected {len(outputs)} but got "
                f"{len(found)})"
            )
        for k, (out, d) in enumerate(zip(outputs, found)):
            if d is None:
                continue
            if not isinstance(d, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(d).__name__}) for grad output {k}.")
            if k in ctx._constant or not _is_float(out):
                raise RuntimeError(
                    f"Function's jvp returned a gradient at position {k}, but  the corresponding forward output is not a "
                    "differentiable Tensor.You should return None at that position instead."
                )
            check_size(out, d)
            written = [i for i, p in enumerate(primals) if p is out]
            if written and any(out is x for x in ctx.dirty_tensors):
                i = written[0]
                if d is not given[i] or d._cell()[0] == versions[i]:
                    raise RuntimeError(
                        "An inplace custom Function is not modifying the forward mode gradients inplace. If the forward is "
                        "modifying an input inplace, then the jvp function must modify the corresponding gradient inplace."
                    )
                vars(args[i]).update({k: v for k, v in vars(out).items() if k != "_tangents"})
                outputs[k] = out = args[i]
            elif out._view is not None and d._view is None:
                raise RuntimeError(
                    "A custom Function's forward is returning a view (or an input as-is) but the jvp is not returning a "
                    "view."
                )
            out._tangents = (out._tangents or {}) | {level: d}
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]

    @classmethod
    def _record(cls, args: tuple[Any, ...]) -> tuple[Any, FunctionCtx]:
        separate = cls.setup_context is not Function.setup_context
        if state.level and not separate:
            raise RuntimeError(
                "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must "
                "override the setup_context staticmethod. For more details, please see "
                "https://pytorch.org/docs/main/notes/extending.func.html"
            )
        if separate:  # setup_context and backward see the defaults of forward as well
            call = inspect.signature(cls.forward).bind(*args)
            call.apply_defaults()
            args = call.args
        ctx = cls._backward_cls(args)
        recorded = state.enabled and any(e is not None for e in ctx.edges)
        with no_grad():
            if separate:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        many = isinstance(result, tuple)
        outputs = list(result) if many else [result]
        for x in ctx.dirty_tensors:
            x._cell()[0] += 1
        ctx.outputs = max(len(outputs), 1)
        for k, out in enumerate(outputs):
            if not isinstance(out, Tensor):
                if not many:
                    raise TypeError(
                        f"{cls.__name__}.forward: expected Tensor or tuple of Tensor (got {type(out).__name__}) for return "
                        f"value {k}"
                    )
                ctx._outputs.append(None)
                continue
            dirty = any(out is x for x in ctx.dirty_tensors)
            if any(out is x for x in ctx.non_differentiable):
                ctx._constant.add(k)
            if not dirty and any(out is a for a in args):
                # An input returned as it is must not lose its own history.
                outputs[k] = out = detach(out) if k in ctx._constant else _view_of(out)
            ctx._outputs.append((out._data.shape, out._data.dtype))
            if not dirty and out._view is not None:
                out._view = View(out._view.base, out._view.path(), Creation.CUSTOM_FUNCTION)
            if not recorded or k in ctx._constant or not _differentiable(out):
                continue
            if dirty:
                if out._edge is not None:
                    out._grad = None  # PyTorch gives the tensor's place to the result, and its .grad goes
                check_writable(out, done=True)
                end = wrap(out._data)
                end._edge, end._requires_grad = (ctx, k), True
                rebase(out, end)
            else:
                out._edge, out._requires_grad = (ctx, k), True
        ctx._saved = [_pack(x, outputs, args) for x in ctx.to_save] if recorded else []
        ctx.to_save = ()
        return (tuple(outputs) if many else outputs[0]), ctx


class InplaceFunction(Function):
    """A Function that may write to its inputs. Any may: the class is from before there was `ctx.mark_dirty`."""


def _view_of(x: Tensor) -> Tensor:
    with no_grad():
        return run("reshape", x, shape=x._data.shape)


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and _differentiable(x)


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _differentiable(x: Tensor) -> bool:
    return dtypes.CATEGORY[x._data.dtype] >= dtypes.FLOAT


def _pack(x: Tensor | None, outputs: Sequence[Any], args: Sequence[Any]) -> tuple[Any, ...]:
    if x is None:
        return None, None, 0
    if state.saved_hooks:
        return Packed(x, x._gradient_edge() if x.requires_grad else None), None, 0
    for k, out in enumerate(outputs):
        if out is x and x._edge is not None:
            return (x._data, x._cell()), k, x._cell()[0]
    return x, None, x._cell()[0]


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For a backward that is not made of differentiable ops: its result cannot be differentiated again."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        enabled = state.enabled
        with no_grad():
            out = backward(ctx, *grads)
        if not enabled or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return out
        many = isinstance(out, tuple)
        ends = [x.detach().requires_grad_() if isinstance(x, Tensor) else x for x in (out if many else (out,))]
        again = "trying to differentiate twice a function that was marked with @once_differentiable"
        marked = DelayedError(again, len(ends))(*ends)
        return marked if many else _as_tuple(marked)[0]

    return wrapper


class DelayedError(Node):
    """A node that raises a RuntimeError when a backward pass comes by. Called with tensors, it gives them as its outputs."""

    runs_on_none = True

    def __init__(self, message: str, num_inputs: int) -> None:
        super().__init__([None] * num_inputs)
        self.message, self.outputs = message, num_inputs

    def __call__(self, *inputs: Any) -> Any:
        outs = []
        self.edges = [x._gradient_edge() if isinstance(x, Tensor) and x.requires_grad else None for x in inputs]
        for k, x in enumerate(inputs):
            if isinstance(x, Tensor) and _differentiable(x):
                x = x.detach()
                x._edge, x._requires_grad = (self, k), True
            outs.append(x)
        return outs[0] if len(outs) == 1 else tuple(outs)

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        raise RuntimeError(self.message)


DelayedError.__name__ = DelayedError.__qualname__ = "Error"  # PyTorch's name of the node


BackwardCFunction = FunctionCtx
"""PyTorch's name of the class that the nodes of Functions have in common."""
