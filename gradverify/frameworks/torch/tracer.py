"""PyTorch: a dispatch mode that sees every ATen call of a real run.

The mode stands below autograd, so that functions, modules, the forward of custom `autograd.Function`s, `vmap`,
checkpointing and gradients inside the function all arrive as ATen calls on real tensors; `torch.library` operators
with a Python implementation are entered. (`make_fx` sees the same calls, but refuses what depends on values: a branch,
`.item()`, a mask used as an index; and its functionalisation refuses old-style custom Functions.)

Views and in-place operations need one idea: what a value is, is kept per *storage*. A view reads its entries from the
storage by position, a write replaces some of them, and every tensor over that storage reads the new ones from then on.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ...core.errors import JUDGED, Undefined, Unsupported
from ...core.graph import Apply, Input, Site
from ...core.op import Kind
from ...namespaces.dtypes import ROUNDOFF
from ...namespaces.layout import strided_indices
from ...trace.base import CONVENTION, Tracer, digest
from ...trace.call_site import at, frames, site_in_run
from ...trace.callee import positional_names
from ...trace.calls import captured, narrowest
from ...trace.confirm import disagreement, farther, nearby, read_but_ignored, unread_but_used
from ...trace.drawing import replayed
from ...trace.value import PARTS, Argument, Complex, Output, Part, Role, Traced, Value, kind_of
from .arrays import from_numpy, plain
from .aten import MAPPED, PULLED
from .beneath import ALLOCATIONS, Beneath, recorder
from .beneath import mended as mended_beneath
from .compiled import NOTE as COMPILED
from .compiled import compiling, eager, is_compiled
from .lobpcg import LIMIT, recognised

FRESH = frozenset(
    "empty_like zeros_like ones_like full_like rand_like randn_like randint_like new_empty new_zeros new_ones new_full "
    "new_empty_strided".split()
)
"""Calls that read the shape of their argument, not its values."""

LEAVES = frozenset({"numpy", "__array__", "tolist", "__dlpack__", "data_ptr"})
"""Methods of Tensor through which values leave PyTorch's sight."""

DRAWS = frozenset("bernoulli poisson binomial multinomial normal_functional".split())
"""Draws from distributions with given parameters, through which PyTorch does not differentiate."""

NO_GRAD = (
    "is not differentiable with respect to argument",
    "leaf Variable that requires grad is being used in an in-place",
)
"""What autograd says of arguments that may not require grad."""

STATISTICS = frozenset({"running_mean", "running_var", "running_min", "running_max"})
"""Arguments of ATen operators that are updated in training, whether or not the schema says so (native_batch_norm's does
not, and no version counter moves)."""

METADATA = frozenset("transpose_ t_ squeeze_ unsqueeze_ swapaxes_ swapdims_ as_strided_ detach_".split())
"""In-place calls that change how a tensor lies over its storage, and nothing in it."""

INTEGERS = (
    "integers computed from floating-point values (an argmax, a cast, an order) are held as they are at the point"
)
SCALARS = (
    "Python numbers were read from tensors (a branch, .item()): the graph is the branch and the number at this point"
)
CONVERGES = (
    "a Function with a rule of its own runs a loop that goes on until values say that it ends: the graph is that many "
    "trips, which the rule need not be the derivative of"
)
RANDOM = "random draws are replayed from one seed and held fixed"
SELECTION = "entries are selected by a mask that depends on the values: the selection is that at the point"
DETACHED = "a value was detached (detach, no_grad, .data) on its way; the definition differentiates through it"
CLOSED_OVER = "tensors that require grad and are no arguments (closed over, or made inside) are held fixed"
STOPPED = "a value was detached on its way; the definition holds it fixed"

ROOT = str(Path(torch.__file__).parent)
"""Where PyTorch's own Python is."""

STRAIGHT_THROUGH = frozenset(
    {
        ("torch.nn.functional", "gumbel_softmax"),  # "differentiated as if it is the soft sample"
        ("torch.distributions.one_hot_categorical", "rsample"),  # the straight-through gradient estimator
        ("torch.nn.utils.parametrizations", "_power_method"),  # spectral_norm: the singular vectors are buffers
        ("torch.nn.utils.spectral_norm", "compute_weight"),
    }
)
"""Functions of PyTorch, by module and name, that detach what they compute with on purpose, as their documentation says."""

_STRAIGHT = frozenset(name for _, name in STRAIGHT_THROUGH)

Where = tuple[str, int, str]
"""A file, a line, and what was done there."""


PASSED_ON = frozenset({("torch.nn.functional", "gaussian_nll_loss")})
"""Functions of PyTorch that clamp a value in place where autograd does not look, as their documentation says: what is
clamped passes its gradient on as it is."""


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
    """The graph of `fn(*args, **kwargs)` around this point.

    `fn` is a function, a module (its parameters become inputs by their qualified names) or a bound method of one; args
    may be nested (PyTorch's pytrees). Arguments are cloned first: the caller's are never written to, and a tensor passed
    twice is two inputs. `stop_detached` holds detached values fixed, as PyTorch's backward does, instead of following
    the forward definition through them; what PyTorch documents to pass no gradient always is. With `confirm` the graph is
    held against `fn` here and at a point nearby.

    Raises Unsupported, with the operation, for what cannot be mapped; with `strict=False` the Traced says so in
    `opaque` instead and its graph is None. What `fn` itself raises is passed on.
    """
    call = _Call(fn, tuple(args), dict(kwargs or {}), seed)
    mode, arguments, inputs, result = _recorded(call, stop_detached)
    if is_compiled(fn):
        mode.xp.note(COMPILED)
    for name, parameter in call.parameters.items():
        if parameter._backward_hooks:
            mode.xp.note(f"the parameter {name} has hooks, which are run: what they change is part of its gradient")
    traced = _traced(call, mode, arguments, inputs, result, confirm=confirm, strict=strict)
    if confirm and not stop_detached and _can_go_on(traced, mode.xp):
        return replace(traced, pull=_Rest(mode, traced, inputs, result))
    return traced


def _traced(
    call: _Call,
    mode: _Mode,
    arguments: Sequence[Argument],
    inputs: Sequence[tuple[str, torch.Tensor]],
    result: Any,
    *,
    confirm: bool,
    strict: bool,
) -> Traced:
    """The trace of a run that was recorded; `confirm` and `strict` as in `trace`."""
    xp, arguments = mode.xp, list(arguments)
    opaque: list[str] = []
    leaves, _ = pytree.tree_flatten_with_path(result)
    outputs, nodes, tensors = _outputs(xp, leaves, opaque)
    custom = _custom([leaf for _, leaf in leaves])
    written, unseen, updated = _written(xp, inputs, custom)
    opaque += xp.failed
    graph = None
    if not nodes:
        opaque.insert(0, "the function returns no floating-point tensor")
    if not opaque:
        graph = xp.builder.graph(*nodes)
        fixed = graph.inputs.keys() - {a.name for a in arguments}
        arguments += [captured(name, xp.values[name]) for name in graph.inputs if name in fixed]
    dtype = narrowest(xp, arguments, outputs)
    kept = tuple(k for k, (_, leaf) in enumerate(leaves) if _differentiable(leaf))
    faults = xp.beneath.faults([leaf for _, leaf in leaves if _differentiable(leaf)])
    paired = any(a.part for a in arguments) or any(o.part for o in outputs)
    halved = any(o.part and o.dtype == "float16" for o in outputs)  # NumPy has no complex32: the parts are asked for
    traced = Traced(
        graph=graph,
        arguments=tuple(arguments),
        outputs=outputs,
        values={a.name: xp.values[a.name] for a in arguments},
        dtype=dtype,
        function=call.flat(kept),
        framework="torch",
        detaches=bool({DETACHED, STOPPED} & xp.notes.keys()),
        detach_sites=tuple(xp.detach_sites or xp.uses),
        written=tuple(written),
        mutated_unseen=tuple(unseen),
        updated=frozenset(updated),
        faults=faults,
        launches=xp.beneath.launches(),
        custom=custom,
        branches=SCALARS in xp.notes,
        converges=bool({CONVERGES, LIMIT} & xp.notes.keys()) and _ruled([leaf for _, leaf in leaves]),
        stops_at=xp.stops_at,
        **xp.formats_of(graph),
        native=call.native(kept) if paired and not halved else None,
    )
    if graph is not None and confirm and not faults:
        halves = [half for _, t in inputs for half in _halves(t)]
        why_not = _confirmed(traced, halves, tensors, call.seed, xp)
        if why_not:
            opaque.append(why_not)
            # In evaluation a module may keep what it makes of parameters that nobody changes meanwhile.
            steps = call.module is None or call.module.training
            traced = replace(traced, graph=None, stale=_stale(traced, halves, call.seed) if steps else ())
    if opaque and strict and not traced.stale and not traced.faults:
        raise Unsupported("; ".join(dict.fromkeys(opaque)))
    return replace(traced, notes=tuple(xp.notes), opaque=tuple(dict.fromkeys(opaque)))


RETAINED = 200_000
"""Array entries, over all nodes, of a run that is kept to be continued: the backward passes of larger ones are not evaluated
exactly anyway (`judge.exact.SMALL`)."""


def _can_go_on(traced: Traced, xp: TorchTracer) -> bool:
    """Can the backward pass continue this run, with the same trace as in a run of its own?

    Not where anything was noted: the notes of a backward pass are those of its own run. Nor where an argument is laid out in
    its own way, complex, or captured, which is an argument of the backward pass.
    """
    graph = traced.graph
    if graph is None or traced.notes or traced.written or traced.updated or type(xp.beneath) is not Beneath:
        return False
    plain = all(a.strides is None and not a.part and a.role != "captured" for a in traced.arguments)
    plain = plain and not any(o.part for o in traced.outputs)
    return plain and sum(math.prod(n.shape) for n in graph.nodes) <= RETAINED


class _Rest:
    """A recorded run, which goes on with its backward pass: once, and at its own point (`Traced.pull`).

    What is recorded is what a trace of the whole backward pass would record, but for the run of the function, of which the
    graph is there.
    """

    def __init__(self, mode: _Mode, traced: Traced, inputs: list[tuple[str, torch.Tensor]], result: Any) -> None:
        self.run: tuple[Any, ...] | None = (mode, traced.arguments, inputs, result)
        self.function = traced.function

    def __call__(
        self, values: Mapping[str, np.ndarray], wrt: tuple[str, ...], cotangent: tuple[np.ndarray, ...]
    ) -> Traced | None:
        if self.run is None:
            return None
        (mode, arguments, inputs, result), self.run = self.run, None
        xp, leaves = mode.xp, dict(inputs)
        outputs = [o for o in pytree.tree_leaves(result) if _differentiable(o)]
        same = list(values) == list(leaves) and all(np.array_equal(values[n], xp.values[n]) for n in leaves)
        asked = all(t.requires_grad == (n in wrt) for n, t in leaves.items())  # a Function may ask what is needed
        if not same or not asked or len(outputs) != len(cotangent):
            return None
        given = [from_numpy(g) for g in cotangent]
        names = [f"cotangent {k}" for k in range(len(given))]
        pull = pulled(self.function, list(leaves), wrt)
        whole = _Call(pull, (*leaves.values(), *given), {}, 0)
        try:
            for name, g in zip(names, given):
                xp.enter(g, xp.input(name, _array(g), False))

            def rest(*arrays: Any) -> Any:
                return gradients(*seeded(outputs, arrays[len(leaves) :]), [leaves[n] for n in wrt])

            with _quiet(), recognised(xp):
                found = whole.run([*leaves.values(), *given], watching=mode, instead=rest)
        except JUDGED:  # a run of its own says what is to be said of it
            return None
        arguments = (*arguments, *(_argument(n, g) for n, g in zip(names, given)))
        return _traced(whole, mode, arguments, [*inputs, *zip(names, given)], found, confirm=True, strict=False)


def _argument(name: str, t: torch.Tensor) -> Argument:
    return Argument(name, kind_of(_array(t).dtype), _dtype_name(t.dtype), tuple(t.shape))


def pulled(function: Callable[..., Any], names: Sequence[str], wrt: Sequence[str]) -> Callable[..., Any]:
    """The backward pass as users run it, of the arguments `names` and the cotangents: without create_graph, so that
    once_differentiable is no matter."""

    def pull(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))
        with torch.enable_grad():
            outputs = function(*given.values())
        return gradients(*seeded(outputs, arrays[len(names) :]), [given[n] for n in wrt])

    return pull


Tensors = Sequence[torch.Tensor]


def seeded(outputs: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
    """The outputs that require grad, and their cotangents. Raises ValueError where none does."""
    outs, weights = zip(*((o, g) for o, g in zip(outputs, cotangents) if o.requires_grad))
    return outs, weights


def gradients(outputs: Tensors, cotangents: Tensors, leaves: Tensors) -> tuple[Any, ...]:
    """The gradients of outputs with their cotangents, without those that are None."""
    return tuple(g for g in torch.autograd.grad(outputs, leaves, cotangents, allow_unused=True) if g is not None)


def _recorded(call: _Call, stop_detached: bool) -> Any:
    """The mode that recorded the run, the arguments, the input tensors and the result."""
    try:
        return _watched(call, stop_detached, lambda _: True)
    except RuntimeError as e:
        # Some arguments (class weights, what is written to) must not require grad; so only those do that may.
        if call.flagged or not any(said in str(e) for said in NO_GRAD):
            raise
        able = call.able()
        mode, arguments, inputs, result = _watched(call, stop_detached, able.__contains__)
        return (
            mode,
            [replace(a, wanted=a.whole in able and (a.wanted or not call.parameters)) for a in arguments],
            inputs,
            result,
        )


def _written(
    xp: TorchTracer, inputs: Sequence[tuple[str, torch.Tensor]], custom: bool
) -> tuple[list[str], list[str], list[str]]:
    """Return three lists of inputs: all that were written to, those out of PyTorch's sight, and those in it."""
    written: list[str] = []
    unseen: list[str] = []
    updated: list[str] = []
    for name, t in inputs:
        names = [f"{name}.{p}" for p in PARTS] if t.is_complex() else [name]
        before = [xp.values[n] for n in names]
        if not all(np.array_equal(a, b, equal_nan=b.dtype.kind == "f") for a, b in zip(_halves(_array(t)), before)):
            xp.note(f"the function writes to its argument {name}")
            written += names
            # The clone's version was 0. A Function that writes to an input has to mark it, and PyTorch would have refused
            # to mark a leaf.
            unseen += names if t._version == 0 or custom else []
            updated += [name, *names] if t._version or t.untyped_storage()._cdata in xp.statistics else []
    return written, unseen, updated


def _watched(call: _Call, stop_detached: bool, wanting: Callable[[str], bool]) -> Any:
    """The run that is recorded."""
    compiler = "torch._dynamo" in sys.modules
    try:
        return _run(call, stop_detached, wanting)
    except Exception:
        # The function itself brought the compiler (torch.cond does), before `_quiet` could keep it out of our sight.
        if compiler or "torch._dynamo" not in sys.modules:
            raise
        return _run(call, stop_detached, wanting)


def _run(call: _Call, stop_detached: bool, wanting: Callable[[str], bool]) -> Any:
    xp = TorchTracer(stop_detached)
    arguments, inputs = call.inputs(xp, wanting)
    mode = _Mode(xp, inputs)
    with _quiet(), xp.beneath.recording(), recognised(xp):
        result = call.run([t for _, t in inputs], watching=mode)
    return mode, arguments, inputs, result


def replaced(change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with some of their arrays changed: for `judge.variations`."""
    known = (torch.float32, torch.float64, torch.complex64, torch.complex128, torch.int64)
    half = (torch.float16, torch.bfloat16)  # changed in float32, which holds them

    def one(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dtype not in known + half:
            return x
        given = plain(x.detach()).cpu().resolve_conj().resolve_neg()
        new = change((given.float() if x.dtype in half else given).numpy())
        if new is None:
            return x
        made = torch.from_numpy(np.array(new)).to(x.device)
        return (made.to(x.dtype) if x.dtype in half else made).requires_grad_(x.requires_grad)

    return tuple(pytree.tree_map(one, args))


# ---- the call -------------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """A call taken apart, which can be run again with other arrays."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seed: int
    tensor_leaves: list[int] = field(default_factory=list)
    paths: list[Any] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)
    structure: Any = None
    is_flat: bool = False  # are the arguments leaves, and no keyword among them?

    def __post_init__(self) -> None:
        self.draws: bool | None = None
        self.module = _module_of(self.fn)
        self.parameters = {} if self.module is None else dict(self.module.named_parameters())
        self.buffers = {} if self.module is None else dict(self.module.named_buffers())
        flat, self.structure = pytree.tree_flatten_with_path((self.args, self.kwargs))
        self.leaves = [leaf for _, leaf in flat]
        self.is_flat = not self.kwargs and len(flat) == len(self.args) and all(map(is_, self.args, self.leaves))
        for k, (path, leaf) in enumerate(flat):
            if isinstance(leaf, torch.Tensor):
                self.paths.append(path)
                self.tensor_leaves.append(k)

    @functools.cached_property
    def names(self) -> list[str]:
        """`x`, `params['w']`, `rest[0]`: the tensors by the function's own parameter names where it tells them."""
        fn = self.fn.forward if isinstance(self.fn, torch.nn.Module) else self.fn
        heads = positional_names(fn, len(self.args))
        named = ((heads[p[1].idx] if p[0].idx == 0 else str(p[1].key), p[2:]) for p in self.paths)
        return [head + pytree.keystr(tuple(rest)) for head, rest in named]

    @property
    def flagged(self) -> bool:
        """Do some tensors require grad, so that the others are not differentiated?

        A module's parameters alone decide nothing about its arguments: layers below it need those gradients.
        """
        given = [self.leaves[k] for k in self.tensor_leaves]
        return any(t.requires_grad for t in given) or (
            any(p.requires_grad for p in self.parameters.values()) and not any(map(_floating, given))
        )

    def able(self) -> frozenset[str]:
        """The inputs with respect to which autograd admits to differentiate, each asked alone."""
        _, inputs = self.inputs(TorchTracer(False), lambda _: False)
        found = []
        for name, asked in inputs:
            try:
                self.run([_clone(t, t is asked and _floating(t)) for _, t in inputs])
            except RuntimeError as e:
                if any(said in str(e) for said in NO_GRAD):
                    continue
            found.append(name)
        return frozenset(found)

    def inputs(
        self, xp: TorchTracer, wanting: Callable[[str], bool]
    ) -> tuple[list[Argument], list[tuple[str, torch.Tensor]]]:
        """The arguments and clones of their tensors, entered into the tracer."""
        arguments: list[Argument] = []
        tensors: list[tuple[str, torch.Tensor]] = []
        given: list[tuple[str, torch.Tensor, Role]] = [
            (n, self.leaves[k], "argument") for n, k in zip(self.names, self.tensor_leaves)
        ]
        taken = {n for n, _, _ in given}
        given += [(f"self.{n}" if n in taken else n, p, "parameter") for n, p in self.parameters.items()]
        for name, t, role in given:
            _admit(name, t)
            array = _array(t)
            # Where none requires grad, all do: the caller decides by `wrt` afterwards.
            frozen = role == "parameter" and any(p.requires_grad for p in self.parameters.values())
            wanted = _floating(t) and (t.requires_grad or (wanting(name) and not self.flagged and not frozen))
            xp.input(name, array, wanted)
            for part in _parts(t):
                whole_or_part = getattr(array, part) if part else array
                label = f"{name}.{part}" if part else name
                dtype = _dtype_name(t.dtype.to_real() if part else t.dtype)
                kind = kind_of(whole_or_part.dtype)
                strides = None if part or t.is_contiguous() else tuple(t.stride())
                flag = wanted if self.parameters else t.requires_grad
                arguments.append(Argument(label, kind, dtype, tuple(t.shape), role, flag, part, strides))
            tensors.append((name, _clone(t, wanted)))
        for name, t in [*self.buffers.items(), *_closed_over(self.fn)]:
            if t.layout is torch.strided:
                for part, half in zip(_parts(t), _halves(_array(t))):
                    xp.names.setdefault(digest(half), f"{name}.{part}" if part else name)
        return arguments, tensors

    def run(self, tensors: list[torch.Tensor], watching: Any = None, instead: Callable[..., Any] | None = None) -> Any:
        """fn over these tensors, arguments first and then parameters; random draws from the seed. `instead` is run for fn.

        Whether it draws from a generator of the whole process, its first run tells.
        """
        leaves = list(self.leaves)
        for k, t in zip(self.tensor_leaves, tensors):
            leaves[k] = t
        args, kwargs = self.unflattened(leaves)
        if watching is None and self.is_bare and self.draws is False and not any(t.is_cuda for t in tensors):
            generator = torch.default_generator
            state = generator.get_state()
            generator.manual_seed(self.seed)
            try:
                return self.fn(*args, **kwargs)
            finally:
                generator.set_state(state)
        return self._run(tensors, args, kwargs, watching, instead)

    @property
    def is_bare(self) -> bool:
        """Does a run need no more around it than a seed? No module, no compiler, no kernels beneath."""
        compilers = "torch._dynamo" in sys.modules or "triton.runtime.interpreter" in sys.modules
        return self.module is None and not compilers

    def _run(
        self, tensors: list[torch.Tensor], args: Any, kwargs: Any, watching: Any, instead: Callable[..., Any] | None
    ) -> Any:
        state: dict[str, torch.Tensor] = dict(zip(self.parameters, tensors[len(self.tensor_leaves) :]))
        state = {n: _hooked(t, self.parameters[n]) for n, t in state.items()}
        state |= {n: b.clone() for n, b in self.buffers.items()}
        with contextlib.ExitStack() as stack:
            devices = sorted({t.device.index or 0 for t in tensors if t.is_cuda})
            if devices:
                stack.enter_context(torch.random.fork_rng(devices=devices))
            else:
                stack.callback(torch.default_generator.set_state, torch.default_generator.get_state())
            # As torch.manual_seed does, which takes milliseconds to say so to devices that were never asked for.
            torch.default_generator.manual_seed(self.seed)
            if devices:
                torch.cuda.manual_seed_all(self.seed)
            if self.module is not None:
                from torch.nn.utils.stateless import _reparametrize_module

                stack.enter_context(_reparametrize_module(self.module, state, tie_weights=True))
            stack.enter_context(compiling(self.fn))
            stack.enter_context(mended_beneath())
            if watching is not None:
                stack.enter_context(watching.escapes)
                stack.enter_context(watching)
            fn = instead or self.fn
            if self.draws is False:
                return fn(*args, **kwargs)
            drawn = stack.enter_context(replayed(self.seed))
            result = fn(*args, **kwargs)
            self.draws = drawn()
            return result

    def unflattened(self, leaves: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments and keyword arguments of these leaves."""
        if self.is_flat:
            return tuple(leaves), {}
        args, kwargs = pytree.tree_unflatten(leaves, self.structure)
        return args, kwargs

    def native(self, kept: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
        """fn as a function of flat tensors, giving the leaves `kept` of its result."""
        given = [*(self.leaves[k] for k in self.tensor_leaves), *self.parameters.values()]
        likes = [None if _fills_storage(t) else t for t in given]

        def function(*tensors: Any) -> tuple[Any, ...]:
            placed = [t if like is None else _placed(t, like) for t, like in zip(tensors, likes)]
            result = self.run(placed)
            leaves = [result] if isinstance(result, torch.Tensor) else pytree.tree_leaves(result)
            return tuple(leaves[k] for k in kept)

        return function

    def flat(self, kept: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
        """`native` with two tensors in place of each complex one, given and returned."""
        native = self.native(kept)
        given = [*(self.leaves[k] for k in self.tensor_leaves), *self.parameters.values()]

        def function(*tensors: Any) -> tuple[Any, ...]:
            rest = iter(tensors)
            whole = [_joined(next(rest), next(rest), t) if t.is_complex() else next(rest) for t in given]
            return tuple(half for out in native(*whole) for half in _halves(out))

        return function


def _module_of(fn: Any) -> torch.nn.Module | None:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, torch.nn.Module):
        return fn
    owner = getattr(fn, "__self__", None)
    return owner if isinstance(owner, torch.nn.Module) else None


def _closed_over(fn: Any) -> list[tuple[str, torch.Tensor]]:
    try:
        found = inspect.getclosurevars(fn)
    except TypeError:
        return []
    return [(n, v) for n, v in {**found.globals, **found.nonlocals}.items() if isinstance(v, torch.Tensor)]


def _admit(name: str, t: torch.Tensor) -> None:
    if t.layout is not torch.strided:
        raise Unsupported(f"{name} has layout {t.layout}: only strided tensors are traced")
    if t.dtype is torch.complex32:
        raise Unsupported(f"{name} is complex32, in which PyTorch computes next to nothing")
    if t.is_quantized or t.device.type == "meta":
        raise Unsupported(f"{name} holds no plain numbers ({'quantised' if t.is_quantized else 'a meta tensor'})")


def _clone(t: torch.Tensor, wanted: bool) -> torch.Tensor:
    """Memory of its own, laid out as the tensor's is: functions may ask for strides and offsets."""
    t = t.detach()
    if t.is_conj():
        return _clone(t.conj(), False).conj().requires_grad_(wanted)
    length = _length(t)
    if (t.is_contiguous() and t.numel() == length) or _far_apart(t):
        return t.clone(memory_format=torch.preserve_format).requires_grad_(wanted)
    memory = t.as_strided((length,), (1,), 0).clone()
    return memory.as_strided(t.shape, t.stride(), t.storage_offset()).requires_grad_(wanted)


def _hooked(t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The tensor behind the hooks of the one in whose place it stands: its gradient is what they let through."""
    hooks = list((like._backward_hooks or {}).values())
    if not hooks or not t.requires_grad:
        return t
    t = t.view_as(t)
    for hook in hooks:
        t.register_hook(hook)
    return t


def _joined(re: torch.Tensor, im: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The complex tensor of two parts, by PyTorch's differentiable operations; laid out, or lazily conjugated, as the
    tensor in whose place it stands."""
    if like.is_conj():
        return torch.complex(re, -im).conj()
    z = torch.complex(re, im)
    if z.shape != like.shape or z.stride() == like.stride() or len(np.unique(_positions(_layout(like)))) < z.numel():
        return z
    return _clone(like, False).copy_(z)


def _placed(t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The tensor where `like` lies in its memory, by a differentiable copy, if `like` is a part of that; else as it is.

    `as_strided` reads a storage, not a tensor: what lies around it there belongs to the function.
    """
    if t.shape != like.shape or t.storage_offset() or _far_apart(like):
        return t
    # Without an offset another layout than that of `like` is one that was asked for.
    if not like.storage_offset() and (t.stride() != like.stride() or _length(t) >= _length(like)):
        return t
    if len(np.unique(_positions(_layout(like)))) < t.numel():
        return t
    return _clone(like, False).copy_(t)


def _fills_storage(t: torch.Tensor) -> bool:
    """Is the tensor all of its storage, in order? Then nothing lies around it, and `_placed` moves nothing there."""
    return t.is_contiguous() and _length(t) == t.numel()


def _length(t: torch.Tensor) -> int:
    """The number of entries of a tensor's storage; its own where it has none (the wrappers of torch.func)."""
    try:
        return t.untyped_storage().nbytes() // t.element_size()
    except NotImplementedError:
        return t.numel()


def _far_apart(t: torch.Tensor) -> bool:
    """Is the tensor a small part of a large storage, which is not copied with it?"""
    return _length(t) > 4 * t.numel() + 4096


def _halves(x: Any) -> tuple[Any, ...]:
    """Real and imaginary part of a complex tensor or array; a real one alone."""
    return (x.real, x.imag) if (x.is_complex() if isinstance(x, torch.Tensor) else np.iscomplexobj(x)) else (x,)


def _parts(t: torch.Tensor) -> tuple[Part, ...]:
    return PARTS if t.is_complex() else ("",)


def _floating(t: torch.Tensor) -> bool:
    return t.is_floating_point() or t.is_complex()


def _differentiable(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and _floating(x) and x.layout is torch.strided


def _refilled(t: torch.Tensor, array: np.ndarray) -> torch.Tensor:
    """A tensor laid out as `t` with other values; contiguous where several entries of `t` share a place."""
    value = torch.from_numpy(np.array(array)).to(device=t.device, dtype=t.dtype)
    if not _fills_storage(t) and len(np.unique(_positions(_layout(t)))) == t.numel():
        value = _clone(t, False).copy_(value)
    return value.requires_grad_(t.requires_grad)


def _array(t: torch.Tensor) -> np.ndarray:
    """Its values; bfloat16 and smaller as float32, which holds them, complex32 as complex64."""
    t = plain(t.detach()).cpu().resolve_conj().resolve_neg()
    t = t.to(torch.complex64) if t.dtype is torch.complex32 else t
    if t.is_floating_point() and t.dtype not in (torch.float16, torch.float32, torch.float64):
        t = t.float()
    return np.array(t.numpy(force=True))


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Fused kernels that would hide their parts are turned off: what they compute is what their parts do."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(eager())
        # Not torch.backends.mkldnn.flags: it sets the TF32 flag as well, which warns on machines without it.
        stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        stack.enter_context(torch.enable_grad())
        yield


# ---- recording ------------------------------------------------------------------------------------------------------


@dataclass
class _Store:
    """The recorded contents of a storage.

    `flat` is one value for all of it, made when it is first needed; `views` are the views read so far.

    `whole` is the tensor layout (offset, shape, strides) whose value the storage began with.
    """

    length: int
    dtype: torch.dtype
    device: torch.device
    keep: Any
    whole: tuple[Any, ...]
    views: dict[tuple[Any, ...], Value]
    flat: Value | None = None


def _layout(t: torch.Tensor) -> tuple[Any, ...]:
    return t.storage_offset(), tuple(t.shape), tuple(t.stride())


def _positions(layout: tuple[Any, ...]) -> np.ndarray:
    """Where in its storage each entry of a tensor lies."""
    offset, shape, strides = layout
    return strided_indices(shape, strides, offset)


class _Arrays(Sequence[np.ndarray]):
    """The values of some tensors, each read when it is first asked for: few mappings look at what PyTorch returned."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self.tensors = tensors
        self.read: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, k: Any) -> Any:
        if k not in self.read:
            self.read[k] = _array(self.tensors[k])
        return self.read[k]


class TorchTracer(Tracer):
    """The tracer that the mappings of `aten` call `xp`; it knows the call at hand."""

    def __init__(self, stop_detached: bool) -> None:
        super().__init__()
        self.stops_at = 0.0
        self.stop_detached = stop_detached
        self.stores: dict[int, _Store] = {}
        self.failed: dict[str, None] = {}
        self.outs: Sequence[np.ndarray] = []
        self.out_dtypes: list[torch.dtype] = []
        self.flat_args: list[Any] = []
        self.tensors: dict[int, torch.Tensor] = {}
        self.inputs_by_place: dict[Any, Value] = {}  # integer and boolean inputs
        self.sees_grad = True  # not inside a decomposition, where nothing requires grad
        self.func: Any = None
        self.passes_on = False  # the call at hand is a detach itself
        self.uses: dict[
            str, None
        ] = {}  # like `detach_sites`: of what was detached out of sight, or computed from what was
        self.detached: dict[
            int, tuple[Any, Where | None]
        ] = {}  # by identity: they are kept, so that no id is used twice
        self.statistics: set[int] = set()  # storages that operators took as running statistics
        self.resolved: dict[int, torch.Tensor] = {}  # copies of lazy conjugates, made below autograd for the next call
        self.escapes = _Escapes()
        self.beneath = recorder(self)

    def site(self) -> Site | None:
        return site_in_run(_Call.run.__code__, ROOT, *self.beneath.roots)

    # what a mapping may ask
    def read(self, i: int) -> np.ndarray:
        """The value of the i-th argument at the point."""
        return (
            _array(self.flat_args[i]) if isinstance(self.flat_args[i], torch.Tensor) else np.asarray(self.flat_args[i])
        )

    def output(self, i: int) -> np.ndarray:
        return self.outs[i]

    def storage_offset(self, i: int) -> int:
        """Where in its storage the i-th argument begins."""
        return int(self.flat_args[i].storage_offset())

    def native(self, values: Any) -> list[Any]:
        """Values back as PyTorch's own tensors: for indices."""
        found = []
        for v in values:
            if isinstance(v, Value) and v.live:
                self.note(SELECTION)
            found.append(self.tensors[id(v)].detach().cpu() if isinstance(v, Value) else v)
        return found

    def moved(self, op: Callable[[Any], Any], shape: tuple[int, ...]) -> np.ndarray:
        """Where an op that only moves entries takes each of its results from."""
        return op(torch.arange(int(np.prod(shape))).reshape(shape)).numpy()

    def aten(self, name: str) -> Any:
        packet, _, overload = name.partition(".")
        return getattr(getattr(torch.ops.aten, packet), overload or "default")

    def cast(self, x: Any) -> Any:
        """`x` in the dtype of the result."""
        source = self.tensors.get(id(x))
        target = self.out_dtypes[0] if self.out_dtypes else None
        if source is None or target is None or not (source.is_floating_point() and target.is_floating_point):
            return x
        return self.recast(x, _dtype_name(source.dtype), _dtype_name(target))

    def units(self, n: int) -> torch.Tensor:
        """The n unit vectors, in double."""
        return torch.eye(n, dtype=torch.float64)

    def eps(self) -> float:
        return float(torch.finfo(self.flat_args[0].dtype).eps)

    # storages
    def find(self, t: torch.Tensor) -> Value | None:
        """The live value of a tensor; None for a concrete one."""
        store = self.stores.get(t.untyped_storage()._cdata)
        if store is None:
            return None
        if store.dtype != t.dtype and not _halved(store.dtype, t.dtype):
            return self.unusable(f"a view of {_dtype_name(store.dtype)} bits as {_dtype_name(t.dtype)}")
        layout = _layout(t)
        key = layout if store.dtype == t.dtype else (t.dtype, *layout)
        if key not in store.views:
            store.views[key] = self.picked(self.flattened(store, t.dtype), _positions(layout))
        return self.lazily(t, store.views[key])

    def lazily(self, t: torch.Tensor, value: Value) -> Value:
        """Return `value` as it is read, or written, through `t`, which may conjugate or negate lazily."""
        if value.why:
            return value
        value = self.call("conj", value) if t.is_conj() else value
        return self.call("negative", value) if t.is_neg() else value

    def flattened(self, store: _Store, dtype: torch.dtype) -> Value:
        """All of a storage, as an array of `dtype`: complex numbers lie there as pairs of reals."""
        flat = self.whole_of(store)
        if dtype == store.dtype or flat.why:
            return flat
        if isinstance(flat, Complex):
            return self.flat(self.call("stack", [flat.re, flat.im], axis=-1))
        re, im = (self.call("getitem", flat, index=((k, None, 2),)) for k in (0, 1))
        return Complex(self, re, im)

    def whole_of(self, store: _Store) -> Value:
        if store.flat is None:
            value = store.views[store.whole]
            where = _positions(store.whole).ravel()
            if where.size == store.length and np.array_equal(where, np.arange(store.length)):
                store.flat = self.flat(value)
            else:
                # Between the entries lies what does not depend on the inputs.
                around = self.concrete(_array(torch.empty(0, dtype=store.dtype, device=store.device).set_(store.keep)))
                store.flat = self.placed(self.matching(around, value), _positions(store.whole), value)
        return store.flat

    def enter(self, t: torch.Tensor, value: Value) -> None:
        """A fresh result, or a view whose value was mapped."""
        key = t.untyped_storage()._cdata
        value = self.lazily(t, value)
        self.computed_in(t, value)
        if key in self.stores:
            if self.stores[key].dtype == t.dtype:
                self.stores[key].views.setdefault(_layout(t), value)
        elif value.live:
            length = _length(t)
            self.stores[key] = _Store(length, t.dtype, t.device, t.untyped_storage(), _layout(t), {_layout(t): value})

    def computed_in(self, t: torch.Tensor, value: Value) -> None:
        """`value` is what `t` holds: it is rounded to its dtype."""
        if _floating(t) and value.live:
            self.seen_in(value, _dtype_name(t.dtype.to_real() if t.is_complex() else t.dtype))

    def write(self, t: torch.Tensor, value: Value, before: np.ndarray) -> None:
        """`t` was written to; `before` is what its storage held if it was concrete."""
        key, layout = t.untyped_storage()._cdata, _layout(t)
        length = _length(t)
        where = _positions(layout)
        store = self.stores.get(key)
        if store is None:
            if not value.live:
                return
            store = _Store(length, t.dtype, t.device, t.untyped_storage(), layout, {})
            store.flat = self.concrete(before)
            self.stores[key] = store
        value = self.lazily(t, value)
        self.computed_in(t, value)
        if value.why:
            store.flat = value
        elif where.size == length and np.array_equal(where.ravel(), np.arange(length)):
            store.flat = self.flat(value)
        else:
            store.flat = self.placed(self.matching(self.flattened(store, t.dtype), value), where, value)
        store.length, store.dtype, store.views = length, t.dtype, {layout: value}

    def entered(self, x: Any) -> Any:
        """An argument of a call as a mapping sees it."""
        if not isinstance(x, torch.Tensor):
            return x
        value = self.find(x)
        if value is None:
            value = self.known(x)
        elif self.cut(x, value):
            known = self.detached.get(id(x))
            where = known[1] if known else self.here("use of a detached value")
            if where is None:
                self.note(CONVENTION)
            else:
                self.note(STOPPED if self.stop_detached else DETACHED)
                (self.detach_sites if known else self.uses)[_said(where)] = None
            if where is None or self.stop_detached:
                value = self.known(x)
        self.tensors[id(value)] = x
        return value

    def here(self, what: str) -> Where | None:
        """Where the function does `what`; None where that is inside of what PyTorch documents to pass no gradient."""
        last = None
        for last in frames(ROOT):
            if last.f_code.co_name in _STRAIGHT and (
                (last.f_globals.get("__name__"), last.f_code.co_name) in STRAIGHT_THROUGH
            ):
                return None
        assert last is not None
        return last.f_code.co_filename, last.f_lineno, what

    def detaching(self, func: Any, out: Any) -> None:
        """Remembers where, if a call detaches its results, or runs where nothing is recorded. By the tensors
        themselves: what autograd detaches to save it shares their memory."""
        quiet = not torch.is_grad_enabled()
        if not self.sees_grad or not (quiet or func is torch.ops.aten.detach.default):
            return
        name = getattr(func, "__name__", str(func)).partition(".")[0]
        live = [t for t in _tensors(out) if _strided(t) and t.untyped_storage()._cdata in self.stores]
        if live:
            what = f"{name}, under no_grad" if quiet else "detach"
            self.detached |= dict.fromkeys(map(id, live), (live, self.here(what)))

    def cut(self, x: torch.Tensor, value: Value) -> bool:
        """Was `x` detached on its way here?"""
        looks = self.sees_grad and not self.passes_on and torch.is_grad_enabled()
        return looks and value.wanted and _floating(x) and not x.requires_grad and id(x) not in self.resolved

    def known(self, x: torch.Tensor) -> Value:
        key = (x.untyped_storage()._cdata, _layout(x))
        given = self.inputs_by_place.get(key)
        if x.requires_grad:
            self.note(CLOSED_OVER)
        return given if given is not None else self.concrete(_array(x))


class _Escapes(TorchFunctionMode):
    """Remembers where values left PyTorch's sight: the reason if the graph is not the function."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, None] = {}
        self.ours = False

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """Within the block nothing leaves: what is read there, we read."""
        before, self.ours = self.ours, True
        try:
            yield
        finally:
            self.ours = before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in LEAVES and not self.ours:
            self.seen[f"Tensor.{name}"] = None
        return func(*args, **(kwargs or {}))


class _Mode(TorchDispatchMode):
    """Runs every ATen call and records those that touch live values."""

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here (`_quiet`), and to be skipped by the compiler means to import it: seconds."""
        return False

    def __init__(self, xp: TorchTracer, inputs: list[tuple[str, torch.Tensor]]) -> None:
        super().__init__()
        self.xp = xp
        self.escapes = xp.escapes
        nodes = {n.name: k for k, n in enumerate(xp.builder.nodes) if isinstance(n, Input)}
        for name, t in inputs:
            if t.is_complex():
                halves = [nodes[f"{name}.{p}"] for p in PARTS]
                re, im = (Value(xp, node=k, kind="float", live=True, wanted=t.requires_grad) for k in halves)
                xp.enter(t, Complex(xp, re, im))
                continue
            kind, node = kind_of(xp.values[name].dtype), nodes[name]
            if kind == "float":
                xp.enter(t, Value(xp, node=node, kind=kind, live=True, wanted=t.requires_grad))
            else:
                value = Value(xp, node=node, array=xp.values[name], kind=kind)
                xp.inputs_by_place[(t.untyped_storage()._cdata, _layout(t))] = value
        self.inputs = dict(inputs)
        self.keep: list[Any] = []
        self.deciding: set[Any] = set()  # where Functions' own forwards decided on values
        self.whole = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, self.escapes.ours = self.escapes.ours, True
        try:
            out = self.seen(func, args, kwargs or {})
            self.xp.detaching(func, out)
            return out
        finally:
            self.escapes.ours = before

    @contextlib.contextmanager
    def again(self, whole: str) -> Iterator[None]:
        """The parts of a call are seen as the call was; messages name the whole."""
        was = self.xp.sees_grad, self.escapes.ours, self.whole
        self.xp.sees_grad, self.escapes.ours, self.whole = False, False, self.whole or whole
        try:
            with self:
                yield
        finally:
            self.xp.sees_grad, self.escapes.ours, self.whole = was

    def seen(self, func: Any, args: Any, kwargs: Any) -> Any:
        if not isinstance(func, torch._ops.OpOverload):
            return self.higher_order(func, args, kwargs)
        facts = _facts_of(func)
        if facts.draws:
            self.xp.note(RANDOM)
        given = _tensors((args, kwargs))
        if facts.statistics:
            self.xp.statistics |= {
                x.untyped_storage()._cdata for k, x in enumerate(args) if k in facts.statistics and _strided(x)
            }
        if any(x.layout is not torch.strided for x in given):
            return self.failing(func, args, kwargs, f"{func} on a tensor of another layout than strided")
        live = [x for x in given if x.untyped_storage()._cdata in self.xp.stores]
        name = facts.name
        if not live or name in FRESH:
            out = self.kept(func(*args, **kwargs))
            if name in ALLOCATIONS:
                self.xp.beneath.allocated(out)
            return out
        if name in ("_local_scalar_dense", "equal", "is_nonzero"):
            self.xp.note(SCALARS)
            if not torch.is_grad_enabled() and given[0].dtype == torch.bool:
                self.note_loop()
            return func(*args, **kwargs)
        if name in DRAWS:
            return self.opaque(
                (args, kwargs), func(*args, **kwargs), f"{func} draws with parameters that depend on the inputs"
            )
        if facts.is_mutable:
            return self.mutating(func, args, kwargs)
        mapping = MAPPED.get(facts.overload) if facts.is_aten else None
        if mapping is None:
            pulled = PULLED.get(facts.overload) if facts.is_aten and _is_uncast(given) else None
            return self.unmapped(func, args, kwargs) if pulled is None else self.pulled(func, pulled, args, kwargs)
        out = func(*args, **kwargs)
        self.record(func, mapping, args, kwargs, out)
        if name == "clone" and (args[0].is_conj() or args[0].is_neg()) and args[0].requires_grad:
            self.xp.resolved[id(out)] = out
        return self.kept(out)

    def note_loop(self) -> None:
        """Note a loop where the same line of the same call decides again, inside the forward of a Function."""
        site, frame = [], sys._getframe(1)
        while frame is not None:
            site.append((frame.f_code, frame.f_lasti))
            frame = frame.f_back  # type: ignore[assignment]
        if tuple(site) in self.deciding:
            self.xp.note(CONVERGES)
        self.deciding.add(tuple(site))

    def kept(self, out: Any) -> Any:
        """Results stay alive, so that no storage's address is used twice."""
        self.keep += [x.untyped_storage() for x in _tensors(out) if _strided(x)]
        return out

    def record(self, func: Any, mapping: Any, args: Any, kwargs: Any, out: Any) -> None:
        outs = list(out) if isinstance(out, tuple | list) else [out]
        for t, value in zip(outs, self.mapped(func, mapping, args, kwargs, outs)):
            if isinstance(t, torch.Tensor) and value is not None:
                self.xp.enter(t, value)

    def mapped(self, func: Any, mapping: Any, args: Any, kwargs: Any, outs: list[Any]) -> list[Value | None]:
        """One value per output: None for concrete ones, an unusable one for what has no counterpart."""
        xp = self.xp
        tensors = [t if isinstance(t, torch.Tensor) else torch.empty(0) for t in outs]
        if tensors and all(_integer(t) for t in tensors):
            xp.note(INTEGERS)
            if func is torch.ops.aten._to_copy.default:
                self.stair(args[0])
            return [None] * len(outs)
        xp.flat_args, xp.tensors = list(args), {}
        xp.func = func
        xp.passes_on = func is torch.ops.aten.detach.default  # also what autograd does to what it saves
        why, result = "", None
        try:
            xp.outs, xp.out_dtypes = _Arrays(tensors), [t.dtype for t in tensors]
            entered, named = _mapped(xp.entered, (tuple(args), kwargs))
            result = mapping(xp, *entered, **named)
        except Undefined:
            raise
        except Unsupported as e:
            why = str(e)
        except Exception as e:
            # Our mistake, but inside the user's function: reported, not raised there.
            why = f"the mapping of {func} failed ({type(e).__name__}: {e})"
        if why:
            return [None if _integer(t) else xp.unusable(why, _kind(t)) for t in tensors]
        values = list(result) if isinstance(result, tuple | list) else [result]
        found: list[Value | None] = []
        for k, t in enumerate(tensors):
            value = values[k] if k < len(values) else None
            if _integer(t) or (value is None and t.numel() == 0):
                found.append(None)
            elif value is None:
                found.append(xp.unusable(f"output {k} of {func} (a by-product) has no counterpart"))
            else:
                value = value if value.later else xp.as_kind(value, _kind(t))
                given = value.why or (value.later and value.node is None)
                found.append(value if given or value.shape == tuple(t.shape) else xp.spread(value, t.shape))
        return found

    def mutating(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An in-place or out= call: its functional namesake is mapped, and written to where it writes."""
        xp = self.xp
        names = [a.name for a in func._schema.arguments]
        bound = dict(zip(names, args)) | kwargs
        written = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write and a.name in bound]
        targets = [bound[n] for n in written]
        tensors = [t for t in _leaves(targets) if isinstance(t, torch.Tensor)]
        befores = [_storage_array(t) for t in tensors]
        name = func._schema.name.partition("::")[2]
        if name in METADATA:  # where the entries lie is read from the tensor itself
            return func(*args, **kwargs)
        if MAPPED.get(_overload(func)):
            return self.updating(func, args, kwargs, tensors)
        functional = _functional(func, name)
        if functional is None or any(isinstance(t, list) for t in targets):
            if name in ("bernoulli_", "uniform_", "normal_", "zero_", "fill_", "exponential_", "random_"):
                return self.overwritten(func, args, kwargs, tensors, befores)
            return self.failing(func, args, kwargs, f"{func} writes to its arguments in a way that is not mapped")
        out_only = (
            {n for n in written if n.startswith("out") or n in ("values", "indices")} if name[-1] != "_" else set()
        )
        plain_args = tuple(v for n, v in zip(names, args) if n not in out_only)
        plain_kwargs = {k: v for k, v in kwargs.items() if k not in out_only}
        # Before the call, because it destroys what the definition reads.
        results = self.keeping(lambda: functional(*plain_args, **plain_kwargs))
        results = list(results) if isinstance(results, tuple | list) else [results]
        mapping = MAPPED.get(_overload(functional))
        if mapping is None:
            with self.again(str(func)):
                results = functional(*plain_args, **plain_kwargs)
            results = list(results) if isinstance(results, tuple | list) else [results]
            values: list[Value | None] = [xp.find(r) if _strided(r) else None for r in results]
        else:
            values = self.mapped(functional, mapping, plain_args, plain_kwargs, results)
        held = [xp.find(t) for t in tensors]
        kept = held if self.passes_on() else [None] * len(tensors)
        out = func(*args, **kwargs)
        for t, before, value, was, old in zip(tensors, befores, values, kept, held):
            if not _integer(t):
                value = value if value is not None else xp.concrete(_array(t))
                if was is not None and not was.why and not t.is_complex():
                    xp.note(CONVENTION)
                    value = xp.call("add", was, xp.concrete(_array(t) - _storage_values(before, t)))
                if value.kind == "bool" or t.is_complex():
                    value = xp.as_kind(value, _kind(t))
                xp.write(t, value, before)
                if old is not None and old.node is not None and value.node not in (None, old.node):
                    xp.overwrites[value.node] = old.node
        return out

    def passes_on(self) -> bool:
        """Is this a write out of autograd's sight, by a function that documents to do so?"""
        if torch.is_grad_enabled() or not self.xp.sees_grad:
            return False
        return any((f.f_globals.get("__name__"), f.f_code.co_name) in PASSED_ON for f in frames(ROOT))

    def updating(self, func: Any, args: Any, kwargs: Any, tensors: list[Any]) -> Any:
        """Record a call that has outputs and also updates its arguments: running statistics, drawn noise."""
        out = func(*args, **kwargs)
        drawn = torch.Tag.nondeterministic_seeded in func.tags
        for t in tensors if drawn else ():
            if t.untyped_storage()._cdata in self.xp.stores:
                self.xp.write(t, self.xp.concrete(_array(t)), np.zeros(0))
        self.record(func, MAPPED[_overload(func)], args, kwargs, out)
        if not drawn:
            for t in tensors:
                why = f"what {func} updates in place has no counterpart"
                self.xp.write(t, self.xp.unusable(why), np.zeros(0))
        return self.kept(out)

    def keeping(self, run: Callable[[], Any]) -> Any:
        """A call whose random draws are not to be taken from the function's."""
        state = torch.get_rng_state()
        try:
            return run()
        finally:
            torch.set_rng_state(state)

    def overwritten(self, func: Any, args: Any, kwargs: Any, tensors: list[Any], befores: list[Any]) -> Any:
        out = func(*args, **kwargs)
        for t, before in zip(tensors, befores):
            self.xp.write(t, self.xp.concrete(_array(t)), before)
        return out

    def stair(self, t: torch.Tensor) -> None:
        """Note that a cast to integers decides here: as a node that nothing uses."""
        value = self.xp.find(t)
        if value is not None and value.live and value.kind == "float" and not value.why:
            self.xp.call("trunc", value)

    def pulled(self, func: Any, mapping: Any, args: Any, kwargs: Any) -> Any:
        """A call of a backward pass whose decomposition is written down (`aten.PULLED`).

        Its steps are in the dtype of its arguments, as those of the decomposition are.
        """
        out, first = func(*args, **kwargs), len(self.xp.builder.nodes)
        self.record(func, mapping, args, kwargs, out)
        dtype = _dtype_name(out.dtype)
        for k, node in enumerate(self.xp.builder.nodes[first:], first):
            # A reshape is of 0-d arrays, for the table.
            if isinstance(node, Apply) and node.kind == "float" and node.op != "reshape":
                self.xp.formats.setdefault(k, set()).add(dtype)
        return self.kept(out)

    def unmapped(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Views by position; masks and integers as they are; the rest by decomposition; else opaque."""
        if any(a.alias_info is not None for a in func._schema.arguments):
            out = func(*args, **kwargs)
            if all(_strided(t) and t.untyped_storage()._cdata in self.xp.stores for t in _leaves(out)):
                return self.kept(out)
        decomposition = _decomposition(func, _tensors((args, kwargs)))
        if decomposition is not None:
            with self.again(str(func)):
                result = decomposition(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if func.namespace not in ("aten", "prims"):
            entered = self.entered_custom(func, args, kwargs)
            if entered is not NotImplemented:
                return entered
        out = func(*args, **kwargs)
        tensors = [t for t in _leaves(out) if isinstance(t, torch.Tensor)]
        if tensors and all(_integer(t) or t.dtype == torch.bool for t in tensors):
            self.xp.note(INTEGERS)
            return self.kept(out)
        return self.opaque((args, kwargs), out, f"{self.whole or func} has no counterpart in the op table")

    def entered_custom(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The implementation of a custom operator, run in our sight. What it hides (a kernel of its own) is found out
        when the graph is held against the function."""
        device = next((x.device.type for x in _leaves((args, kwargs)) if isinstance(x, torch.Tensor)), "cpu")
        for key in ("CompositeImplicitAutograd", "CompositeExplicitAutograd", {"cuda": "CUDA"}.get(device, "CPU")):
            if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key):
                with self.again(str(func)), torch.no_grad():
                    return func._op_dk(getattr(torch._C.DispatchKey, key), *args, **kwargs)
        return NotImplemented

    def opaque(self, given: Any, out: Any, why: str) -> Any:
        wanted = any(v.wanted for t in _leaves(given) if _strided(t) and (v := self.xp.find(t)) is not None)
        for t in _leaves(out):
            if _strided(t) and not _integer(t):
                self.xp.enter(t, self.xp.unusable(why, _kind(t), wanted))
        return self.kept(out)

    def failing(self, func: Any, args: Any, kwargs: Any, why: str) -> Any:
        """Something that no later value could be trusted after."""
        self.xp.failed[why] = None
        return func(*args, **kwargs)

    def higher_order(self, func: Any, args: Any, kwargs: Any) -> Any:
        """torch.cond runs the branch that the predicate takes here; other operators of this sort are opaque."""
        name = getattr(func, "__name__", str(func))
        if name == "cond":
            predicate, yes, no, operands = args
            self.xp.note(SCALARS)
            with self.again(str(func)):
                return (yes if bool(predicate) else no)(*operands)
        self.xp.failed[f"the higher-order operator {name}"] = None
        return func(*args, **kwargs)


def _said(where: Where) -> str:
    """`model.py:12 (detach)`."""
    path, line, what = where
    return f"{at(path, line)} ({what})"


def _overload(func: Any) -> str:
    name = func._schema.name.partition("::")[2]
    return name if func._overloadname == "default" else f"{name}.{func._overloadname}"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What an operator's declaration says of it; `statistics` are the positions of arguments that are running statistics."""

    func: Any
    name: str
    overload: str
    is_aten: bool
    is_mutable: bool
    draws: bool
    statistics: frozenset[int]


_FACTS: dict[int, _Facts] = {}
"""By identity, since to hash an operator is a call of Python's; each is kept in its facts."""


def _facts_of(func: Any) -> _Facts:
    found = _FACTS.get(id(func))
    if found is None:
        schema = func._schema
        found = _FACTS[id(func)] = _Facts(
            func,
            schema.name.partition("::")[2],
            _overload(func),
            func.namespace == "aten",
            schema.is_mutable,
            torch.Tag.nondeterministic_seeded in func.tags,
            frozenset(k for k, a in enumerate(schema.arguments) if a.name in STATISTICS),
        )
    return found


def _tensors(x: Any) -> list[torch.Tensor]:
    """The tensors among the leaves of nested tuples, lists and dictionaries, in order."""
    found: list[torch.Tensor] = []
    left = [x]
    while left:
        item = left.pop()
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, tuple | list):
            left.extend(reversed(item))
        elif isinstance(item, dict):
            left.extend(reversed(item.values()))
    return found


def _leaves(x: Any) -> list[Any]:
    """The leaves of nested tuples, lists and dictionaries, which are all that ATen's calls take and return."""
    if isinstance(x, torch.Tensor) or not isinstance(x, tuple | list | dict):
        return [x]
    return [leaf for item in (x.values() if isinstance(x, dict) else x) for leaf in _leaves(item)]


def _mapped(change: Callable[[Any], Any], x: Any) -> Any:
    """Nested tuples, lists and dictionaries with every leaf changed."""
    if isinstance(x, dict):
        return {k: _mapped(change, v) for k, v in x.items()}
    if not isinstance(x, tuple | list):
        return change(x)
    return (
        type(x)([_mapped(change, v) for v in x]) if type(x) in (tuple, list) else tuple(_mapped(change, v) for v in x)
    )


def _strided(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.layout is torch.strided


def _integer(t: torch.Tensor) -> bool:
    return not t.is_floating_point() and not t.is_complex() and t.dtype != torch.bool


def _kind(t: torch.Tensor) -> Kind:
    """Of a tensor that holds no integers."""
    return "bool" if t.dtype == torch.bool else "complex" if t.is_complex() else "float"


def _halved(a: torch.dtype, b: torch.dtype) -> bool:
    """Is one of the two the complex dtype whose parts have the other?"""
    return (a.is_complex and a.to_real() == b) or (b.is_complex and b.to_real() == a)


def _storage_array(t: torch.Tensor) -> np.ndarray:
    """All that is in a tensor's storage, as one axis."""
    t = t.detach()
    t = t.conj() if t.is_conj() else t
    t = t._neg_view() if t.is_neg() else t
    return _array(t.as_strided((_length(t),), (1,), 0))


def _storage_values(memory: np.ndarray, t: torch.Tensor) -> np.ndarray:
    """The entries of a tensor in what its storage held."""
    return memory[_positions(_layout(t))]


def _functional(func: Any, name: str) -> Any:
    """add_.Tensor → add.Tensor; the out= overload sum.IntList_out → sum.dim_IntList, by their arguments."""
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    if packet is None:
        return None
    if name.endswith("_"):
        # pow_.Scalar is pow.Tensor_Scalar, not pow.Scalar: arguments of the same types, under the same name if there is.
        types = [str(a.type) for a in func._schema.arguments]
        found = [getattr(packet, o) for o in packet.overloads()]
        alike = [f for f in found if not f._schema.is_mutable and [str(a.type) for a in f._schema.arguments] == types]
        return next((f for f in alike if f._overloadname == func._overloadname), alike[0] if alike else None)
    read = [a for a in func._schema.arguments if not (a.alias_info and a.alias_info.is_write)]
    found = []
    for overload in packet.overloads():
        candidate = getattr(packet, overload)
        same = [(a.name, str(a.type)) for a in candidate._schema.arguments][: len(read)]
        if not candidate._schema.is_mutable and [n for n, _ in same] == [a.name for a in read]:
            # lt.Scalar_out is lt.Scalar, not lt.Tensor, whose arguments have the same names.
            found.append((sum(kind != str(a.type) for (_, kind), a in zip(same, read)), candidate))
    return min(found, key=lambda pair: pair[0])[1] if found else None


@functools.cache
def _decompositions() -> Mapping[Any, Any]:
    from torch._decomp import core_aten_decompositions, decomposition_table

    return {**decomposition_table, **core_aten_decompositions()}


def _decomposition(func: Any, given: Sequence[torch.Tensor]) -> Callable[..., Any] | None:
    """The decomposition of an operator for these tensors; None where PyTorch has none."""
    found = _decompositions().get(func)
    if found is not None:
        return (_without_casts(found) if _is_uncast(given) else None) or found
    return func.decompose if func._can_decompose() else None


UNCAST = frozenset({torch.float32, torch.float64})
"""Of arguments that all have one of these dtypes PyTorch's decompositions cast none: they are computed as they are."""


def _is_uncast(given: Sequence[torch.Tensor]) -> bool:
    dtypes = {t.dtype for t in given}
    return len(dtypes) == 1 and dtypes <= UNCAST


_CASTS = "type_casts.<locals>.inner"
"""PyTorch's decorator of a decomposition that casts to the dtype that is computed in."""

_OUT = frozenset({"out_wrapper.<locals>._out_wrapper.<locals>._fn", "_convert_out_params.<locals>._fn"})
"""Those that add an argument `out`."""


@functools.cache
def _without_casts(decomposition: Callable[..., Any]) -> Callable[..., Any] | None:
    """What stands behind the casts and the `out` of a decomposition; None where it has no casts, or more than these.

    To find out that nothing is cast takes PyTorch longer than the operations themselves.
    """
    layers = []
    while hasattr(decomposition, "__wrapped__"):
        layers.append(getattr(getattr(decomposition, "__code__", None), "co_qualname", ""))
        decomposition = decomposition.__wrapped__
    plain = inspect.isfunction(decomposition) and "is_out" not in inspect.signature(decomposition).parameters
    return decomposition if plain and _CASTS in layers and {*layers} <= {_CASTS, *_OUT} else None


# ---- results --------------------------------------------------------------------------------------------------------


def _outputs(xp: TorchTracer, leaves: Any, opaque: list[str]) -> tuple[tuple[Output, ...], list[int], list[Any]]:
    outputs: list[Output] = []
    nodes: list[int] = []
    tensors: list[Any] = []
    for path, leaf in leaves:
        where = pytree.keystr(path)
        if not isinstance(leaf, torch.Tensor):
            outputs.append(Output(where, type(leaf).__name__, type(leaf).__name__, ()))
            continue
        dtype, shape = _dtype_name(leaf.dtype), tuple(leaf.shape)
        if leaf.layout is not torch.strided:
            opaque.append(f"output {where or '0'} is {dtype} of layout {leaf.layout}: only strided tensors are traced")
            outputs.append(Output(where, "other", dtype, shape))
        elif not _floating(leaf):
            outputs.append(Output(where, kind_of(_array(leaf).dtype), dtype, shape))
        else:
            value = xp.find(leaf) or xp.known(leaf)
            # What an op without counterpart returns depends on inputs as far as can be seen: airy_ai has no gradient.
            detached = (value.wanted or (value.live and bool(value.why))) and not leaf.requires_grad
            _, cut = xp.detached.get(id(leaf), (leaf, None))
            if detached and cut:
                xp.uses[_said(cut)] = None
            for part, half in zip(_parts(leaf), _halves(leaf)):
                of = getattr(value, {"real": "re", "imag": "im"}[part], value) if part else value
                name = _dtype_name(half.dtype)
                outputs.append(Output(where, "float", name, shape, len(nodes), value.live, detached, part))
                tensors.append(half)
                try:
                    nodes.append(of.index)
                except Unsupported as e:
                    opaque.append(str(e))
                    nodes.append(0)
    return tuple(outputs), nodes, tensors


def _custom(leaves: list[Any]) -> bool:
    """Does a custom operation stand in the autograd graph behind these tensors?

    Custom is an autograd.Function (in Python or C++) or a `torch.library` operator. PyTorch's own Functions
    (checkpointing) do not count."""
    for node in nodes_behind(leaf for leaf in leaves if isinstance(leaf, torch.Tensor)):
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            module = node._forward_cls.__module__  # type: ignore[attr-defined]
            if not module.startswith("torch.") or module.startswith("torch._library"):
                return True
        elif "CppNode" in node.name():
            return True
    return False


def _ruled(leaves: list[Any]) -> bool:
    """Does a Function, PyTorch's own ones too, stand in the autograd graph behind these tensors?"""
    behind = nodes_behind(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
    return any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in behind)


def nodes_behind(tensors: Iterable[torch.Tensor]) -> Iterator[Any]:
    """The nodes of the autograd graph that leads to these, each once."""
    todo: list[Any] = [t.grad_fn for t in tensors]
    seen = {None}
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            yield node
            todo += [n for n, _ in node.next_functions]


def _stale(traced: Traced, inputs: list[torch.Tensor], seed: int) -> tuple[str, ...]:
    """The inputs that later calls do not read though the recorded one did."""
    assert traced.graph is not None
    free = [a for a in traced.arguments if a.role != "captured"]

    def run(point: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with eager():
            return [_array(t) for t in traced.function(*(_refilled(t, point[a.name]) for a, t in zip(free, inputs)))]

    names = [a.name for a in free if a.kind == "float"]
    roundoff = max(ROUNDOFF.get(n, 2.0**-4) for n in (traced.dtype, *traced.formats))
    try:
        return tuple(read_but_ignored(traced.graph, traced.values, names, roundoff, seed, run, traced.dtype))
    except JUDGED:  # a call that raises keeps nothing that we could tell
        return ()


def _confirmed(
    traced: Traced, inputs: list[torch.Tensor], outputs: list[torch.Tensor], seed: int, xp: Any
) -> str | None:
    assert traced.graph is not None
    moving = [a.name for a in traced.arguments if a.kind == "float" and a.role != "captured"]
    narrow = [o.dtype for o in traced.outputs if o.position is not None] + [traced.dtype, *traced.formats]
    roundoff = max(ROUNDOFF.get(n, 2.0**-4) for n in narrow)
    moved = nearby(traced.values, moving, roundoff, seed)
    replaceable = [a for a in traced.arguments if a.role != "captured"]
    if {STOPPED, CONVENTION} & xp.notes.keys():  # what is held fixed here moves in the function: this point must do
        moved, moving = dict(traced.values), []

    def run(point: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with eager():
            made = traced.function(*(_refilled(t, point[a.name]) for a, t in zip(replaceable, inputs)))
        return [_array(t) for t in made]

    def run_at(step: float) -> tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]:
        point = farther(traced.values, moving, step, seed)
        point |= {a.name: _array(_refilled(t, point[a.name])) for a, t in zip(replaceable, inputs)}
        return point, run(point)

    try:
        # A tensor each, laid out and rounded as the argument is: rounded there, the point is that of both.
        tensors = [_refilled(t, moved[a.name]) for a, t in zip(replaceable, inputs)]
        moved |= {a.name: _array(t) for a, t in zip(replaceable, tensors)}
        with eager():
            there = traced.function(*tensors)
        apart = unread_but_used(traced.graph, traced.values, moving, roundoff, seed, run)
    except JUDGED as e:
        xp.note(f"next to this point the function raised {type(e).__name__}: the graph was not confirmed there")
        return None
    try:
        why = disagreement(
            traced.graph,
            traced.values,
            moved,
            [_array(t) for t in outputs],
            [_array(t) for t in there],
            roundoff,
            traced.dtype,
            traced.leaves,
            run_at if moving else None,
            bool(xp.escapes.seen),
        )
    except (Unsupported, np.linalg.LinAlgError) as e:
        xp.note(f"the graph could not be confirmed in NumPy: {e}")
        return None
    left = ", ".join(xp.escapes.seen)
    unread = [n for n in moving if traced.graph.inputs.get(n) not in traced.graph.active]
    if left and unread and why is None:
        # What reads them may be too coarse to show it: (x + 1e8) - 1e8 stands still where x moves by a millionth.
        return f"values leave PyTorch's sight ({left}), and the recorded operations do not read {', '.join(unread)}"
    why = why or apart
    if why is None:
        return None
    if left:
        return f"values leave PyTorch's sight ({left}) and come back: {why}"
    if SCALARS in xp.notes:
        return f"a number that was read from a tensor goes back into the computation: {why}"
    return (
        f"the recorded operations are not the function (values left PyTorch's sight, or it is not reproducible): {why}"
    )
