"""The tensor: an array, and what autograd knows about it.

The one idea: a tensor is an array plus one edge into the tape. `_edge` is None for a leaf; for the result of a recorded op
it is (node, output number). Everything that PyTorch shows (`grad_fn`, `is_leaf`, `grad`, `_version`) is read off from there.

The array of a 0-d result may be a NumPy scalar, which is several times faster than a 0-d array and never shared; `_array()`
turns it into an array before anything writes to it or looks at it through a view.
"""

from __future__ import annotations

import copy
import enum
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import dtypes
from .modes import recording, state
from .tape import Edge, Node, Nowhere, RemovableHandle, TensorHooks, hook_into, named, op_of


class Size(tuple):
    """A shape: a tuple that prints as PyTorch's does."""

    def numel(self) -> int:
        n = 1
        for k in self:
            n *= k
        return n

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: tuple[int, ...]) -> Size:
        return Size(other + tuple(self))

    def __mul__(self, times: Any) -> Size:
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __getitem__(self, k: Any) -> Any:
        part = tuple.__getitem__(self, k)
        return Size(part) if isinstance(k, slice) else part


_IN_TRANSFORM = (
    "You are attempting to call Tensor.{0}() ({1}) inside of a function being transformed by a functorch transform. This is "
    "unsupported, please attempt to use the functorch transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call {0}() "
    "outside of a function being transformed instead."
)


class Tensor:
    """PyTorch's Tensor over a NumPy or CuPy array. The ops, and what needs the walk, are installed by `api.methods`."""

    # What every tensor starts from; an instance only stores what differs.
    _data: np.ndarray
    _requires_grad: bool = False
    _edge: Edge | None = None
    _grad: Tensor | None = None
    _version_cell: list[int] | None = None  # shared by all tensors over the same memory; None stands for [0]
    _view: View | None = None  # of which tensor this is a view, and how
    _hooks: TensorHooks | None = None
    _accumulator: weakref.ref[AccumulateGrad] | None = None
    _post_accumulate: OrderedDict[int, Any] | None = None
    _retains_grad: bool = False
    _inference: bool = False
    _tangents: dict[int, Tensor] | None = None  # by level of forward mode
    _undo: tuple[Step, ...] = ()  # how its layout becomes again what in-place ops found, the last one first
    _level: int = 0  # in how many transforms of `func` it was made

    if TYPE_CHECKING:  # what `api.methods` installs
        __add__: Any
        __mul__: Any
        __sub__: Any
        __rsub__: Any
        __radd__: Any
        __rmul__: Any
        __truediv__: Any
        __pow__: Any
        __neg__: Any
        softmax: Any
        log_softmax: Any
        __getitem__: Any

        def __getattr__(self, name: str) -> Any: ...

    __array_priority__ = 1000  # so that `ndarray * tensor` asks the tensor first

    def __init__(self, *args: Any) -> None:
        """`Tensor(2, 3)` is uninitialised, `Tensor([1, 2])` holds the data; prefer `tensor(...)`, which infers the dtype."""
        kind = dtypes.default_numpy()
        if len(args) == 1 and isinstance(args[0], Tensor):
            self._data = args[0]._data.astype(kind)
        elif len(args) == 1 and not isinstance(args[0], int):
            self._data = np.array(args[0], dtype=kind)
        else:
            self._data = np.zeros(args if args else (0,), dtype=kind)

    # ---- data ------------------------------------------------------------------------------------------------------

    def _array(self) -> Any:
        """The array itself, never a NumPy scalar."""
        if isinstance(self._data, np.generic):
            self._data = np.asarray(self._data)
        return self._data

    def _cell(self) -> list[int]:
        """The version counter, from now on shared with whoever asks."""
        cell = self._version_cell
        if cell is None:
            cell = self._version_cell = [0]
        return cell

    @property
    def _version(self) -> int:
        if self._inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        cell = self._version_cell
        return 0 if cell is None else cell[0]

    @property
    def shape(self) -> Size:
        return Size(self._data.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.OF_NUMPY[self._data.dtype]

    @property
    def device(self) -> dtypes.device:
        if isinstance(self._data, np.ndarray | np.generic):
            return dtypes.CPU
        return dtypes.device("cuda", self._data.device.id)

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def data(self) -> Tensor:
        """The same memory, outside of autograd: not even the version counter is shared."""
        return wrap(self._array())

    @data.deleter
    def data(self) -> None:
        raise RuntimeError("Deleting tensor data is not allowed. Delete tensor instead!")

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(new).__name__}")
        if self._requires_grad and new.dtype.category < dtypes.FLOAT:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        self._data = new._array()

    # ---- autograd --------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        # Not by refreshing the view: that may fail, and PyTorch answers.
        return self._requires_grad or (self._view is not None and self._view.base._requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._edge is not None:
            if value:
                return
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and self.dtype.category < dtypes.FLOAT:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if value and self._inference and not state.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        self._requires_grad = bool(value)

    @requires_grad.deleter
    def requires_grad(self) -> None:
        raise RuntimeError("requires_grad must be a bool")

    @property
    def _borrows(self) -> bool:
        """Is it a view made within no_grad, which requires grad only because its base does?"""
        return self._view is not None and self._edge is None and not self._requires_grad

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if state.level and requires_grad:
            raise RuntimeError(
                _IN_TRANSFORM.format("requires_grad_", "or perhaps using torch.autograd.functional.* APIs")
            )
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def grad_fn(self) -> Node | None:
        if self._view is not None:
            self._view.refresh(self)
        return None if self._edge is None else self._edge[0]

    @property
    def output_nr(self) -> int:
        return 0 if self._edge is None else self._edge[1]

    @property
    def grad(self) -> Tensor | None:
        if self._grad is None and self._edge is not None and not self._retains_grad:
            import warnings

            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute "
                "won't be populated during autograd.backward(). If you indeed want the .grad field to be populated for "
                "a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor.",
                UserWarning,
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value)}")
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._data.dtype != self._data.dtype:
                raise RuntimeError(
                    f"assigned grad has data of a different type: expected {self.type()}, got {value.type()}"
                )
            if value._data.shape != self._data.shape:
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of size '{list(self.shape)}'"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def _grad_fn(self) -> Node | None:
        return self.grad_fn

    @_grad_fn.deleter
    def _grad_fn(self) -> None:
        raise RuntimeError("Deletion of _grad_fn not allowed. Detach tensor instead!")

    @property
    def _backward_hooks(self) -> OrderedDict[int, Any] | None:
        if self._edge is None:
            return None if self._hooks is None else self._hooks.user
        hooks = (self._edge[0].tensor_hooks or {}).get(self._edge[1])
        return None if hooks is None else hooks.user

    @_backward_hooks.setter
    def _backward_hooks(self, hooks: Any) -> None:
        at = self._edge[0].hooks_of(self._edge[1]) if self._edge is not None else self._hooks or TensorHooks()
        at.user = OrderedDict() if hooks is None else hooks
        if self._edge is None:
            self._hooks = at

    @_backward_hooks.deleter
    def _backward_hooks(self) -> None:
        raise RuntimeError("Deletion of _backwards_hooks not allowed!")

    @property
    def retains_grad(self) -> bool:
        return self._retains_grad

    def _gradient_edge(self) -> Edge:
        """Where this tensor's gradient goes. Only for one that requires grad."""
        if self._view is not None:
            self._view.refresh(self)
            if self._edge is None and self._borrows:
                return Nowhere(()), 0
        if self._edge is not None:
            return self._edge
        # The leaf's accumulator holds the leaf; the leaf holds it weakly, so that the two do not keep each other alive.
        node = self._accumulator() if self._accumulator is not None else None
        if node is None:
            node = AccumulateGrad(self)
            self._accumulator = weakref.ref(node)
        return node, 0

    def retain_grad(self) -> None:
        """Keep the gradient of a non-leaf in `.grad` too. A no-op for leaves."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if state.level:
            raise RuntimeError(_IN_TRANSFORM.format("retain_grad", "which keeps a gradient that the transform owns"))
        if self._edge is None or self._retains_grad:
            return
        self._retains_grad = True
        node, output = self._gradient_edge()
        alive = weakref.ref(self)

        def keep(g: Tensor) -> None:
            tensor = alive()
            if tensor is not None:
                tensor._grad = g.clone() if tensor._grad is None else tensor._grad + g

        node.hooks_of(output).retain = keep

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """`hook(grad)` when this tensor's gradient, summed over all its uses, is known; what it returns replaces it."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self.is_leaf:
            if self._hooks is None:
                self._hooks = TensorHooks()
            return hook_into(self._hooks.user, hook)
        node, output = self._gradient_edge()
        return hook_into(node.hooks_of(output).user, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """`hook(leaf)` after a gradient was added to its `.grad`."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if not self.is_leaf:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._post_accumulate is None:
            self._post_accumulate = OrderedDict()
        return hook_into(self._post_accumulate, hook)

    # ---- values out ------------------------------------------------------------------------------------------------

    def item(self) -> Any:
        if self._data.size != 1:
            raise RuntimeError(f"a Tensor with {self._data.size} elements cannot be converted to Scalar")
        value = self._data.item()
        return float(value) if self._data.dtype.kind == "V" else value

    def tolist(self) -> Any:
        return self._data.tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The array itself; it shares memory with the tensor."""
        if force:
            return self.detach().cpu().numpy()
        if self.requires_grad and state.enabled:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.is_cuda:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                "memory first."
            )
        return self._array()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __bool__(self) -> bool:
        if self._data.size == 1:
            return bool(self._data.item())
        if self._data.size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._data.size != 1 or self._data.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._data.item())

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._data.shape[0]

    def __iter__(self) -> Any:
        if not self._data.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter([self[i] for i in range(len(self))])

    def __hash__(self) -> int:
        return id(self)

    def __contains__(self, x: Any) -> bool:
        return bool((self._data == (x._data if isinstance(x, Tensor) else x)).any())

    def __format__(self, spec: str) -> str:
        if not self._data.ndim and type(self) is Tensor:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
            )
        rebuild, parts = self.__reduce_ex__(2)
        out = rebuild(*copy.deepcopy(parts, memo))
        memo[id(self)] = out
        return out

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as a leaf: the graph stays behind."""
        return _rebuilt, (type(self), np.array(self._data), self._requires_grad, self._grad)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self._data.shape[dim]

    def dim(self) -> int:
        return self._data.ndim

    ndimension = dim

    def numel(self) -> int:
        return self._data.size

    nelement = numel

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
        """The tensor itself: all tensors are dense here."""
        return self if dtype is None else self.to(dtype)

    def element_size(self) -> int:
        return self._data.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self._data.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._data.nbytes

    def stride(self, dim: int | None = None) -> Any:
        strides = tuple(s // self._data.dtype.itemsize for s in self._array().strides)
        return strides if dim is None else strides[dim]

    def is_contiguous(self, *, memory_format: Any = None) -> bool:
        """Do the entries lie row by row? That is the one order asked for here: NotImplementedError for another."""
        if memory_format is not None and repr(memory_format) not in (
            "torch.contiguous_format",
            "torch.preserve_format",
        ):
            raise NotImplementedError(f"is_contiguous: memory_format={memory_format} is not supported by this engine")
        return bool(self._array().flags.c_contiguous)

    def data_ptr(self) -> int:
        return self._array().__array_interface__["data"][0]

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self.dtype.is_complex

    def get_device(self) -> int:
        return -1 if self.device.type == "cpu" else self.device.index or 0

    @property
    def _base(self) -> Tensor | None:
        return None if self._view is None else self._view.base

    def _is_view(self) -> bool:
        return self._view is not None

    def is_inference(self) -> bool:
        return self._inference


def _rebuilt(cls: type, data: np.ndarray, requires_grad: bool, grad: Tensor | None) -> Tensor:
    out = wrap(data, cls)
    out._requires_grad, out._grad = requires_grad, grad
    return out


_create = object.__new__


def wrap(data: Any, cls: type[Tensor] = Tensor) -> Tensor:
    """A tensor over `data`, as it is: no copy, no gradient."""
    out = _create(cls)
    out._data = data
    if state.birthmark:
        vars(out).update(state.birthmark)
    return out


def mark_leaf(x: Tensor) -> Tensor:
    """`x.requires_grad_()`, for the engine's own use: inside of a transform as well."""
    x.requires_grad = True
    return x


# ---- the end of the tape, and views --------------------------------------------------------------------------------------


class AccumulateGrad(Node):
    """The end of the line: adds the gradient to the `.grad` of a leaf."""

    ends = True

    def __init__(self, variable: Tensor) -> None:
        super().__init__(())
        self.variable = variable


class Step(Protocol):
    """An op on the way from a base to its view, for tensors and for arrays."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def on_array(self, x: np.ndarray) -> np.ndarray: ...


class View:
    """How a view came from its base.

    steps      the ops that lead from the base to the view
    version    the version of the base that the view's `grad_fn` belongs to
    forbidden  how it was made, if it must not be written to while grad mode is on for that; else None
    layouts    how many in-place ops had changed the base's layout before
    output     which of the views of one call it is
    dual       the dual number on the way from the base, whose tangents are not the base's, and the steps from there;
               (None, ()): the view is one itself
    """

    __slots__ = ("base", "dual", "forbidden", "layouts", "output", "steps", "version")

    dual: tuple[Tensor | None, tuple[Step, ...]] | None

    def __init__(self, base: Tensor, steps: tuple[Step, ...], forbidden: Creation | None) -> None:
        self.base, self.steps, self.forbidden = base, steps, forbidden
        self.version, self.output, self.dual = base._cell()[0], 0, None
        self.layouts = len(base._undo)

    def path(self) -> tuple[Step, ...]:
        """The steps from the base as it is laid out now."""
        since = len(self.base._undo) - self.layouts
        return (*self.base._undo[:since], *self.steps) if since else self.steps

    def tangent_base(self, view: Tensor) -> tuple[Tensor, tuple[Step, ...]]:
        """Whose tangents a write to the view changes, and the steps from there."""
        if self.dual is None:
            return self.base, self.path()
        return (view if self.dual[0] is None else self.dual[0]), self.dual[1]

    def refresh(self, view: Tensor) -> None:
        """After a write through the base or another view, derive this view's `grad_fn` again."""
        now = self.base._cell()[0]
        if now == self.version:
            return
        if view._edge is None and not self.base._requires_grad:
            return
        if self.forbidden is not None:  # asked for again and again: the answer stays out
            raise forbidden_write(view, indirect=True)
        self.version = now
        with recording():
            again = self.base
            for step in self.path():
                again = step(again)
        if again._edge is None:  # the base requires no grad any more (detach_): the view does, and leads nowhere
            again._edge = (Nowhere((None,)), 0)
        if not state.replays_views:
            again._edge[0].__class__ = named(
                type(again._edge[0]), "AsStridedBackward0"
            )  # PyTorch's name for a view made anew
        move_history(view, again._edge, True)


class Creation(enum.Enum):
    """How a view was made that must not be written to (PyTorch's CreationMeta)."""

    NO_GRAD_MODE = enum.auto()
    INFERENCE_MODE = enum.auto()
    MULTIPLE_VIEWS = enum.auto()
    CUSTOM_FUNCTION = enum.auto()


_AMBIGUOUS = (
    " Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the "
    "view and the inplace either both inside the {0} block (if you don't want the inplace to be tracked) or both outside "
    "(if you want the inplace to be tracked)."
)

_WHY = {
    Creation.NO_GRAD_MODE: _AMBIGUOUS.format("no_grad"),
    Creation.INFERENCE_MODE: _AMBIGUOUS.format("inference_mode"),
    Creation.MULTIPLE_VIEWS: " This view is the output of a function that returns multiple views. Such functions do not "
    "allow the output views to be modified inplace. You should replace the inplace operation by an out-of-place one.",
    Creation.CUSTOM_FUNCTION: " This view was created inside a custom Function (or because an input was returned as-is) and "
    "the autograd logic to handle view+inplace would override the custom backward associated with the custom Function, "
    "leading to incorrect gradients. This behavior is forbidden. You can fix this by cloning the output of the custom "
    "Function.",
}


def forbidden_write(view: Tensor, indirect: bool = False) -> RuntimeError:
    """PyTorch's error for a write to this view. `indirect`: for its use after a write to its base."""
    assert view._view is not None
    assert view._view.forbidden is not None
    made, what = view._view.forbidden, "its base or another view of its base has been" if indirect else "is being"
    name = "" if view._edge is None else op_of(view._edge[0]).removesuffix("Backward")
    output = "" if view._edge is None else f"Output {view._edge[1] or view._view.output} of {name} is a view"
    if output and made not in (Creation.NO_GRAD_MODE, Creation.INFERENCE_MODE):
        return RuntimeError(f"{output} and {what} modified inplace.{_WHY[made]}")
    head = f"{output} of a view which was created" if output else "A view was created"
    if made is Creation.INFERENCE_MODE:
        return RuntimeError(f"{head} in inference mode and {what} modified inplace in normal mode.{_WHY[made]}")
    return RuntimeError(f"{head} in no_grad mode and {what} modified inplace with grad mode enabled.{_WHY[made]}")


def track(source: Tensor, out: Tensor, step: Step) -> None:
    """Note that `out` is a view of `source`, one step away, if the two share memory."""
    if isinstance(source._data, np.generic):
        source._array()
    if source._inference:  # nothing about it is ever recorded
        return
    if isinstance(out._data, np.generic) or out._data.base is None or not np.may_share_memory(source._data, out._data):
        return
    out._version_cell = source._cell()
    steps: tuple[Step, ...] = (step,)
    forbidden = None
    if not state.enabled:
        forbidden = Creation.INFERENCE_MODE if state.inference else Creation.NO_GRAD_MODE
    if source._view is not None:
        base, steps = source._view.base, source._view.path() + steps
        forbidden = source._view.forbidden or forbidden
    else:
        base = source
    out._view = View(base, steps, forbidden)
    if source._view is not None and source._view.dual is not None:
        dual, after = source._view.dual
        out._view.dual = (source if dual is None else dual), (*after, step)


def move_history(x: Tensor, edge: Edge | None, requires_grad: bool) -> None:
    """Give `x` another history. Its hooks stay with the old one, but retain_grad moves to the new."""
    retain = None
    if x._retains_grad and x._edge is not None:
        hooks = x._edge[0].hooks_of(x._edge[1])
        retain, hooks.retain = hooks.retain, None
    x._edge, x._requires_grad = edge, requires_grad
    if retain is not None and edge is not None:
        edge[0].hooks_of(edge[1]).retain = retain
