"""PyTorch's custom gradients as they run: `autograd.Function.apply`, and `torch.library` operators with an autograd formula.

A call is copied before it runs, and runs as it would have; a pre-hook of its node reads the cotangents, and changes nothing.
What runs where values are hidden (under vmap, while a compiler traces) is counted as missed.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd import Function
from torch.utils import _pytree as pytree

from ..watching import MEANT, Definition, Entry, Met, Recorder, Sample, line_of, source_of
from .arrays import to_numpy
from .replaced import watching_hooks
from .samples import Arguments, Hidden

GENERATED = "GeneratedBackwardFor_"
"""How PyTorch names the Function that it makes of a custom operator."""


OURS = ("torch", "gradverify")
"""Packages whose own custom gradients are nobody's."""


@contextlib.contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Tell `recorder` the custom gradients that run in this block."""
    given = Function.__dict__["apply"]
    watch = _Watch(recorder, given.__func__)

    # Each call of a program waits for this: names are local, and nothing is called that need not be.
    original, run, watched, judging = watch.original, watch.run, watch.met.watched, watch.met.judging

    @functools.wraps(original)
    def apply(cls: type[Function], *args: Any, **kwargs: Any) -> Any:
        entry = watched.get(id(cls))
        if entry is None or not entry.quiet or judging:
            return run(cls, args, kwargs)
        entry.executed += 1
        entry.quiet -= 1
        return original(cls, *args, **kwargs)

    ours = classmethod(apply)
    Function.apply = ours  # type: ignore[method-assign, assignment]
    _rebind(given.__func__)
    try:
        with watching_hooks(recorder):
            yield
    finally:
        if Function.__dict__["apply"] is ours:
            Function.apply = given  # type: ignore[method-assign]
            _rebind(apply)


def _rebind(old: Any) -> None:
    """Renew the names of modules that hold `Foo.apply` from before the patch."""
    for package, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if not isinstance(names, dict) or package.split(".")[0] in OURS:
            continue
        for name, value in list(names.items()):
            if type(value) is types.MethodType and value.__func__ is old:
                names[name] = value.__self__.apply  # type: ignore[attr-defined]


class _Watch:
    """What one watch knows of the Functions that it met."""

    def __init__(self, recorder: Recorder, original: Callable[..., Any]) -> None:
        self.recorder, self.original = recorder, original
        self.met = Met(recorder, definition_of)

    def run(self, cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that may have to be looked at, or that is not watched."""
        known = self.met.entry(cls)
        if known is None:
            return self.original(cls, *args, **kwargs)
        entry = known[1]
        entry.executed += 1
        if not torch.is_grad_enabled() or not _requires_grad(args):
            entry.undifferentiated += 1
            return self.original(cls, *args, **kwargs)
        if not entry.is_due():
            return self.original(cls, *args, **kwargs)
        return self.record(cls, known, args, kwargs)

    def record(
        self, cls: type[Function], known: tuple[Definition, Entry], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A call that is looked at."""
        definition, entry = known
        if torch.compiler.is_compiling():
            return self.original(cls, *args, **kwargs)
        sample = self._copied(cls, definition, entry, args, kwargs)
        if sample is None:
            return self.original(cls, *args, **kwargs)
        before = _versions(args)
        out = self.original(cls, *args, **kwargs)
        sample.function.again.written |= {k for k, v in _versions(args).items() if v != before.get(k)}  # type: ignore[attr-defined]
        self._follow(cls, sample, entry, out)
        return out

    def _copied(
        self, cls: type[Function], definition: Definition, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sample | None:
        """A copy of the call; None where it is not wanted, or cannot be had."""
        try:
            if torch._C._len_torch_dispatch_stack():
                raise Hidden("a dispatch mode was on")
            if torch._C._are_functorch_transforms_active() or torch._C._len_torch_function_stack():
                with _undisturbed():
                    given = Arguments(cls, operator_of(cls), args, kwargs)
                    seat = entry.weigh(given.call, lambda: given.described)
            else:  # as in most programs: what is looked at needs no protection then, which takes as long as the look
                given = Arguments(cls, operator_of(cls), args, kwargs)
                seat = entry.weigh(given.call, lambda: given.described)
            if seat is None:
                return None
            with _undisturbed():
                return given.copied(seat, definition, self.recorder.place())
        except Hidden as e:
            entry.miss(str(e))
        except Exception as e:  # of a __deepcopy__, of a repr: what is recorded must never break a test
            entry.miss(f"its arguments cannot be copied ({type(e).__name__})")
        return None

    def _follow(self, cls: type[Function], sample: Sample, entry: Entry, out: Any) -> None:
        """Note the outputs, and the cotangents when they arrive; keep the sample."""
        leaves = [x for x in pytree.tree_leaves(out) if isinstance(x, torch.Tensor)]
        floats = [x for x in leaves if x.is_floating_point() or x.is_complex()]
        sample.outputs = tuple((tuple(x.shape), str(x.dtype).removeprefix("torch.")) for x in floats)
        entry.keep(sample)
        if torch._C._are_functorch_transforms_active():
            return
        node: Any = next((x.grad_fn for x in floats if getattr(x.grad_fn, "_forward_cls", None) is cls), None)
        if node is None:
            return
        # No tensor may be reached from the hook: it would keep the graph alive that it hangs on.
        chosen, count = [k for k, x in enumerate(leaves) if x.is_floating_point() or x.is_complex()], len(leaves)

        def note(cotangents: tuple[Any, ...]) -> None:
            sample.create_graph |= torch.is_grad_enabled()

            def arrived() -> tuple[Any, ...]:
                found = tuple(None if cotangents[k] is None else _array(cotangents[k]) for k in chosen)
                if any(g is not None and g.shape != shape for g, (shape, _) in zip(found, sample.outputs)):
                    raise Hidden("a batched cotangent")
                return found

            with contextlib.suppress(Exception):  # a batched cotangent, or one of a subclass
                sample.note_cotangent(arrived if len(cotangents) == count else _hidden)

        node.register_prehook(note)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A block whose operations no mode and no transformation of the program sees."""
    with torch._C.DisableTorchFunction(), torch._C._DisableFuncTorch(), torch.no_grad():
        yield


def _requires_grad(args: tuple[Any, ...]) -> bool:
    for a in args:  # noqa: SIM110 - any(...) takes three times as long, and each call of a program waits for it
        if isinstance(a, torch.Tensor) and a.requires_grad:
            return True
    return False


def _hidden() -> tuple[Any, ...]:
    raise Hidden("cotangents of other outputs")


def _versions(args: tuple[Any, ...]) -> dict[int, int]:
    """How often each tensor has been written to."""
    return {k: a._version for k, a in enumerate(args) if isinstance(a, torch.Tensor) and not a.is_inference()}


def _array(g: torch.Tensor) -> Any:
    if type(g) is not torch.Tensor or torch._C._functorch.is_functorch_wrapped_tensor(g):
        raise Hidden("a cotangent without values")
    with torch.no_grad():
        array = to_numpy(g)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


# ---- definitions ----------------------------------------------------------------------------------------------------


def operator_of(cls: type[Function]) -> tuple[Any, Any] | None:
    """The custom operator that PyTorch made this Function of, and its backward; None for a Function that somebody wrote."""
    if not cls.__name__.startswith(GENERATED):
        return None
    try:
        cells = inspect.getclosurevars(inspect.unwrap(cls.forward)).nonlocals
        return cells["op"], inspect.getclosurevars(inspect.unwrap(cls.backward)).nonlocals["info"]._backward_fn
    except (KeyError, TypeError, AttributeError):
        return None


def definition_of(cls: type[Function]) -> Definition | None:
    """Where a Function is written; None for PyTorch's and gradverify's own."""
    operator = operator_of(cls)
    if operator is not None:
        op, backward = operator
        module = getattr(backward, "__module__", "") or ""
        if backward is None or module.split(".")[0] in OURS:
            return None
        source = source_of(backward)
        name = f"{op._namespace}.{op._opname}" + (f".{op._overloadname}" if op._overloadname != "default" else "")
        return Definition(name, "torch", module, source[0], "", line_of(source))
    module = cls.__module__
    if module.split(".")[0] in OURS or cls.__name__.startswith(GENERATED):
        return None
    forward, backward = source_of(cls.forward), source_of(getattr(cls, "backward", None))
    if backward[0] == torch.autograd.function.__file__:  # inherited: there is a vjp, or none at all
        backward = source_of(getattr(cls, "vjp", None)) if "vjp" in cls.__dict__ else forward
    name = cls.__qualname__
    found = functools.reduce(lambda o, part: getattr(o, part, None), name.split("."), sys.modules.get(module))
    return Definition(
        name=f"{module}.{name.replace('.<locals>', '')}",
        framework="torch",
        module=module,
        file=backward[0] or forward[0],
        forward=line_of(forward),
        backward=line_of(backward),
        importable=found is cls,
        meant=getattr(cls, MEANT, None),
    )


def all_definitions() -> Iterator[Definition]:
    """Every Function that is defined in this process, but for PyTorch's own."""
    left: list[type] = [Function]
    seen: set[type] = set()
    while left:
        below: list[Any] = left.pop().__subclasses__()
        for cls in below:
            if cls not in seen:
                seen.add(cls)
                left.append(cls)
                found = definition_of(cls) if "forward" in cls.__dict__ or "backward" in cls.__dict__ else None
                if found is not None:
                    yield found
