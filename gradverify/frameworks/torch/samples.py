"""Copies of a call of a custom Function, and the call again as a function of its differentiated tensors."""

from __future__ import annotations

import contextlib
import copy
import copyreg
import functools
import re
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.autograd import Function
from torch.utils import _pytree as pytree

from ...trace.callee import positional_names
from ..watching import MOST_ENTRIES, Call, Definition, Described, Sample, named, signature_of
from .arrays import some_entries

PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    type,
)


class Hidden(Exception):
    """The values of a call cannot be seen."""


def argument_names(cls: type[Function], operator: Any, count: int) -> list[str]:
    """What forward itself calls its arguments."""
    if operator is not None:
        return [a.name for a in operator[0]._schema.arguments[:count]]
    known = _NAMES.setdefault(cls, {})
    if count not in known:  # a signature takes longer than all else of a look
        known[count] = positional_names(cls.apply, count)
    return known[count]


_NAMES: WeakKeyDictionary[type[Function], dict[int, list[str]]] = WeakKeyDictionary()


class Arguments:
    """The arguments of a call as values, behind the wrappers of torch.func. Raises Hidden where there are none."""

    def __init__(self, cls: type[Function], operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if operator is not None:  # the last argument is PyTorch's own: what the operator was given by keyword
            args, kwargs = args[:-1], dict(getattr(args[-1], "keyword_only_args", {}))
        self.cls, self.operator, self.count, self.keywords = cls, operator, len(args), list(kwargs)
        values = (*args, *kwargs.values())
        self.given = [_value(a) if isinstance(a, torch.Tensor) else a for a in values]
        self.flags = [isinstance(a, torch.Tensor) and a.requires_grad for a in values]
        self.tensors = [a for a in self.given if isinstance(a, torch.Tensor)]
        self.size = sum(a.numel() * a.element_size() for a in self.tensors)

    @property
    def call(self) -> Call:
        """The call for an entry to weigh."""
        return Call(
            (*map(_key, self.given, self.flags), *self.keywords), self.size,
            lambda: [some_entries(a, MOST_ENTRIES) for a in self.tensors],
        )  # fmt: skip

    @functools.cached_property
    def names(self) -> list[str]:
        """What forward itself calls them."""
        return [*argument_names(self.cls, self.operator, self.count), *self.keywords]

    @functools.cached_property
    def described(self) -> Described:
        """The call in words."""
        each = list(zip(self.names, self.given, self.flags))
        signature = signature_of(
            (n, str(a.dtype).removeprefix("torch."), a.shape, f) for n, a, f in each if isinstance(a, torch.Tensor)
        )
        fixed = ", ".join(f"{n}={_text(a)}" for n, a, _ in each if not isinstance(a, torch.Tensor))
        return Described(signature, fixed, [_seen_as(n, a) for n, a, _ in each if isinstance(a, torch.Tensor)])

    def copied(self, seat: object, definition: Definition, place: str) -> Sample:
        """The call as a sample, over copies."""
        memo = _Memo()
        for a in self.tensors:
            if id(a) not in memo:
                memo[id(a)] = _clone(a)
        memo.asked.clear()
        with _copiers():
            copies: list[Any] = [
                dict.get(memo, id(a)) if isinstance(a, torch.Tensor) else _copied(a, memo) for a in self.given
            ]
        again = Again(
            self.operator[0] if self.operator else _applier(self.cls), copies, self.keywords,
            [k for k, f in enumerate(self.flags) if f],
        )  # fmt: skip
        again.modes = list(_autocasts())
        again.shared = {k for k, (a, f) in enumerate(zip(self.given, self.flags)) if f and id(a) in memo.asked}
        # Those that the call reaches by another way as well are written to when it runs again: the record stays as it is.
        kept = [a.clone() if k in again.shared else a for k, a in enumerate(copies)]
        name = self.cls.__name__ if self.operator is None else definition.name
        sample = Sample(
            definition, self.described.signature, self.described.fixed, again.as_function(name, self.names),
            tuple(self.names[k] for k in again.places), tuple(kept[k] for k in again.places), first=place,
            by_identity=bool(again.shared), modes=tuple(f"autocast({device}, {dtype})" for device, dtype in again.modes),
            whole=tuple(zip(self.names, kept)), size=self.size, seat=seat,
        )  # fmt: skip
        if not again.modes:
            sample.widen = functools.partial(_widened, sample, again, kept, self.names, name)
        return sample


def _widened(sample: Sample, again: Again, kept: Sequence[Any], names: Sequence[str], name: str) -> Sample | None:
    """The call with float64 in place of float32, in arguments, modules and containers; None where nothing is float32.

    What a closure holds stays as it is: such a call raises, or mixes dtypes.
    """
    if not any(isinstance(a, torch.Tensor) and a.dtype is torch.float32 for a in kept):
        return None
    memo = _Memo()
    copies = [_wide(a, memo) for a in again.values]
    for k in again.shared:  # which another run has written to since
        with torch.no_grad():
            copies[k].copy_(kept[k])
    given = [c.detach().clone() if k in again.shared else c for k, c in enumerate(copies)]
    wide = Again(again.fn, copies, again.keywords, again.places)
    wide.shared, wide.written = again.shared, again.written
    outputs = tuple((shape, "float64" if dtype == "float32" else dtype) for shape, dtype in sample.outputs)
    cotangents = [tuple(None if g is None else g.astype(np.float64) for g in given) for given in sample.cotangents]
    return replace(
        sample, function=wide.as_function(name, names), args=tuple(given[k] for k in again.places), outputs=outputs,
        cotangents=cotangents, whole=tuple(zip(names, given)), widen=None,
    )  # fmt: skip


def _wide(x: Any, memo: _Memo) -> Any:
    """A copy with float64 in place of float32; tensors that modules share with the arguments stay shared."""
    if isinstance(x, torch.Tensor):
        if id(x) not in memo:
            wide = x.detach().to(torch.float64) if x.dtype is torch.float32 else _clone(x)
            memo[id(x)] = torch.nn.Parameter(wide, x.requires_grad) if isinstance(x, torch.nn.Parameter) else wide
        return memo[id(x)]
    if isinstance(x, tuple | list) and type(x) in (tuple, list):
        return type(x)(_wide(v, memo) for v in x)
    if isinstance(x, dict) and type(x) is dict:
        return {k: _wide(v, memo) for k, v in x.items()}
    if isinstance(x, types.MethodType):
        return types.MethodType(x.__func__, _wide(x.__self__, memo))
    if isinstance(x, torch.nn.Module):
        if id(x) in memo:
            return memo[id(x)]
        made = memo[id(x)] = copy.deepcopy(x)
        for old, new in zip(x.modules(), made.modules()):
            for holder, kind in ((new._parameters, old._parameters), (new._buffers, old._buffers)):
                for key, t in kind.items():
                    if t is not None:
                        holder[key] = _wide(t, memo)
        return made
    return x


def _value(t: torch.Tensor) -> torch.Tensor:
    """The tensor with values behind the wrappers of torch.func. Raises Hidden where there is none."""
    f = torch._C._functorch
    while f.is_gradtrackingtensor(t):
        t = f.get_unwrapped(t)
    if f.is_functorch_wrapped_tensor(t):
        raise Hidden("it ran under vmap")
    if type(t) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        raise Hidden(f"it was given a {type(t).__name__}")
    if t.layout is not torch.strided or t.is_quantized or t.is_meta:
        raise Hidden("it was given a tensor without plain values (sparse, quantised, meta)")
    return t


def _key(x: Any, differentiated: bool) -> Hashable:
    """Equal for arguments that the description of a call says the same of."""
    if isinstance(x, torch.Tensor):
        return x.dtype, x.shape, differentiated, x.is_contiguous()
    return type(x), x if type(x) in PLAIN else _text(x)


def _seen_as(name: str, t: torch.Tensor) -> str:
    """The name, which says of a tensor with strides that it has them: kernels read them in a branch of their own."""
    return name if t.is_contiguous() else f"{name} (strided)"


def _clone(t: torch.Tensor) -> torch.Tensor:
    """A copy that does not require grad: under torch.func it may not be told to."""
    return t.detach().clone(memory_format=torch.preserve_format)


def _text(x: Any) -> str:
    if not _is_plain(x):
        return f"<{getattr(x, '__qualname__', None) or type(x).__name__}>"
    text = re.sub(r"\s+", " ", repr(x))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_plain(x: Any) -> bool:
    if isinstance(x, tuple | list):
        return all(map(_is_plain, x))
    if isinstance(x, dict):
        return all(_is_plain(v) for v in x.values())
    return isinstance(x, PLAIN)


class _Memo(dict[int, Any]):
    """The memo of a deep copy, which notes the copies that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[int] = set()

    def get(self, key: int, default: Any = None) -> Any:
        if key in self:
            self.asked.add(key)
        return super().get(key, default)


_ORDERED: OrderedDict[Any, Any] = OrderedDict()
_PLAIN: dict[Any, Any] = {}

_COPIERS: dict[type, Callable[[Any], Any]] = {
    **dict.fromkeys((type(_PLAIN.keys()), type(_ORDERED.keys())), lambda view: (_keys, (list(view),))),
    **dict.fromkeys((type(_PLAIN.values()), type(_ORDERED.values())), lambda view: (_values, (list(view),))),
    **dict.fromkeys((type(_PLAIN.items()), type(_ORDERED.items())), lambda view: (_items, (list(view),))),
    type(threading.Lock()): lambda lock: (threading.Lock, ()),
    type(threading.RLock()): lambda lock: (threading.RLock, ()),
    types.ModuleType: lambda module: module.__name__,  # a text: the object itself
}
"""How `copy.deepcopy` copies what it refuses, and what objects that are given to Functions do hold."""


def _keys(names: list[Any]) -> Any:
    return dict.fromkeys(names).keys()


def _values(values: list[Any]) -> Any:
    return dict(enumerate(values)).values()


def _items(items: list[Any]) -> Any:
    return dict(items).items()


@contextlib.contextmanager
def _copiers() -> Iterator[None]:
    """A block in which the types of `_COPIERS` can be copied. After it they cannot be pickled, as before."""
    table, new = copyreg.dispatch_table, {k: v for k, v in _COPIERS.items() if k not in copyreg.dispatch_table}
    table.update(new)
    try:
        yield
    finally:
        for key in new:
            table.pop(key, None)


def _copied(x: Any, memo: _Memo) -> Any:
    """A deep copy in which each object of `memo` is its copy there: parameters keep their identity."""
    if _is_plain(x):
        return x
    if isinstance(x, types.FunctionType):
        return _copied_function(x, memo)
    if isinstance(x, functools.partial):
        return functools.partial(
            _copied(x.func, memo),
            *(_copied(a, memo) for a in x.args),
            **{k: _copied(v, memo) for k, v in x.keywords.items()},
        )
    if isinstance(x, tuple | list) and type(x) in (tuple, list):
        return type(x)(_copied(v, memo) for v in x)
    _clone_results(x, memo, set())
    return copy.deepcopy(x, memo)


def _clone_results(x: Any, memo: _Memo, seen: set[int]) -> None:
    """Put clones of the tensors that an object holds, and that were computed, into the memo: a deep copy refuses them."""
    if id(x) in seen or _is_plain(x) or isinstance(x, types.ModuleType):
        return
    seen.add(id(x))
    if isinstance(x, torch.Tensor):
        if id(x) not in memo and not x.is_leaf:
            memo[id(x)] = _clone(x).requires_grad_(x.requires_grad)
        return
    held = getattr(x, "__dict__", None)
    for inner in (
        *(held.values() if isinstance(held, dict) else ()),
        *(x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple | set) else ()),
    ):
        _clone_results(inner, memo, seen)


def _copied_function(fn: types.FunctionType, memo: _Memo) -> types.FunctionType:
    """The function over copies of what it closes over."""
    if id(fn) in memo:
        return dict.__getitem__(memo, id(fn))
    if not fn.__closure__:
        return fn
    cells = tuple(types.CellType() for _ in fn.__closure__)
    made = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, cells)
    made.__kwdefaults__ = fn.__kwdefaults__
    memo[id(fn)] = made
    for new, old in zip(cells, fn.__closure__):
        with contextlib.suppress(ValueError):  # an empty cell
            new.cell_contents = _copied(old.cell_contents, memo)
    return made


# ---- the call again -------------------------------------------------------------------------------------------------


def _autocasts() -> Iterator[tuple[str, torch.dtype]]:
    """The devices on which autocast is on, with its dtype."""
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            yield device, torch.get_autocast_dtype(device)


class Again:
    """A recorded call, which can be run again with other tensors in the places of the differentiated ones.

    Tensors that the call does not differentiate are copied each time, so that a call that writes to them does not change
    the next; so are differentiated ones, which the call may mark as written to.
    """

    def __init__(
        self, fn: Callable[..., Any], values: Sequence[Any], keywords: Sequence[str], places: Sequence[int]
    ) -> None:
        self.fn, self.values, self.keywords, self.places = fn, list(values), list(keywords), list(places)
        self.modes: list[tuple[str, torch.dtype]] = []
        self.shared: set[int] = set()
        self.written: set[int] = set()

    def run(self, tensors: Sequence[torch.Tensor]) -> Any:
        values = [
            v.clone() if isinstance(v, torch.Tensor) and k not in self.places else v for k, v in enumerate(self.values)
        ]
        for k, t in zip(self.places, tensors):
            # In memory of PyTorch's own, which the call may write to, free, or resize.
            values[k] = t.clone()
        return self.call(values)

    def call(self, values: Sequence[Any]) -> Any:
        count = len(values) - len(self.keywords)
        with contextlib.ExitStack() as stack:
            for device, dtype in self.modes:
                stack.enter_context(torch.autocast(device, dtype))
            return self.fn(*values[:count], **dict(zip(self.keywords, values[count:])))

    def run_by_identity(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Over the recorded tensors themselves, which are given the values."""
        return _Identity.apply(self, *tensors)

    def as_function(self, name: str, names: Sequence[str]) -> Callable[..., Any]:
        """A function of the differentiated tensors, under forward's own names."""

        def function(*tensors: torch.Tensor) -> Any:
            return self.run_by_identity(tensors) if self.shared else self.run(tensors)

        function.again = self  # type: ignore[attr-defined]
        return named(function, name, [names[k] for k in self.places])


class _Identity(Function):
    """A call over the recorded tensors themselves: whoever else holds one sees the same values."""

    @staticmethod
    def forward(ctx: Any, again: Again, *tensors: torch.Tensor) -> Any:
        values = list(again.values)
        with torch.no_grad():
            for k, t in zip(again.places, tensors):
                values[k] = values[k].requires_grad_().copy_(t) if k in again.shared else t.clone().requires_grad_()
        leaves = [values[k] for k in again.places]
        with torch.enable_grad():
            # No leaf is given but those that are shared: what a backward pass leaves in .grad is no gradient of ours.
            inner = set(again.places) - again.shared | again.written
            out = again.call([v.clone() if k in inner else v for k, v in enumerate(values)])
        flat, structure = pytree.tree_flatten(out)
        ctx.leaves = leaves
        ctx.outs = [o for o in flat if isinstance(o, torch.Tensor)]
        ctx.flags = [t.requires_grad for t in tensors]
        plain = [o.detach() if isinstance(o, torch.Tensor) else o for o in flat]
        ctx.mark_non_differentiable(
            *(p for p, o in zip(plain, flat) if isinstance(o, torch.Tensor) and not o.requires_grad)
        )
        ctx.set_materialize_grads(False)
        return pytree.tree_unflatten(plain, structure)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        pairs = [(o, g) for o, g in zip(ctx.outs, cotangents) if g is not None and o.requires_grad]
        outs, given = [o for o, _ in pairs], [g for _, g in pairs]
        try:
            with torch.enable_grad():
                found = torch.autograd.grad(outs, ctx.leaves, given, allow_unused=True, retain_graph=True)
        except RuntimeError as e:
            if ".backward()" not in str(e):
                raise
            for leaf in ctx.leaves:
                leaf.grad = None
            torch.autograd.backward(outs, given)
            found = tuple(leaf.grad for leaf in ctx.leaves)
        return None, *(g if f else None for g, f in zip(found, ctx.flags))


def _applier(cls: type[Function]) -> Callable[..., Any]:
    """`cls.apply` as it is when it is called: patched or not."""
    return lambda *args, **kwargs: cls.apply(*args, **kwargs)
