"""PyTorch as a subject: its own ops, its own backward, on the CPU or on CUDA.

The ops are in `bindings.torch`, the formulas of PyTorch that are known to lose digits in `forms.torch`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ...core.errors import JUDGED, Unsupported
from ...core.graph import Constant, Graph
from ...namespaces.dtypes import complex_name
from ...ops.complex.lowering import is_complex
from ...trace import Traced
from ...trace.value import Launches, OtherRun
from ..base import Call, Derived, Form, Framework, HolomorphicForm, Observation, Pushed, Template
from ..customs import Custom, Draws, function_classes
from ..forms import COMPLEX
from ..graphs import Binding, compiled, over_pairs
from ..numpy.handwritten import HandWritten, Named
from ..tape import Tape
from ..values import mutated, several
from ..watching import Definition, Recorder, Sample, Script
from . import derivatives
from .arrays import tensor, to_numpy
from .beneath import mended, other_runs
from .bindings import bindings
from .forms import FORMS
from .hooks import without_hooks
from .modes import kept_modes

LACKING = re.compile(
    r"not implemented for '(Half|BFloat16)'|Low precision dtypes not supported"
    r"|[Tt]he derivative (for|of) .* (is not implemented|depends on)|derivative for .* is not implemented"
    r"|is not differentiable when"
)
"""What PyTorch says where it has no kernel for a 16-bit dtype, and where it has no derivative and says so; not always in
a NotImplementedError."""

CREATE_GRAPH = "create_graph=True"
EDITED = "the inputs edited in place before the backward pass"
BATCHED = "a batch of cotangents (is_grads_batched)"
RETAINED = "a second backward pass over a retained graph"
VIEWS = "inputs that are views of tensors that require grad"


TEMPLATE = Template(
    framework="torch",
    package="torch",
    imports=("import torch",),
    adapter="gradverify.frameworks.torch.bindings",
    constant="torch.tensor({value}, dtype=torch.{dtype}).reshape({shape})",
    body="""\
leaves = {name: torch.tensor(v, requires_grad=name in wrt) for name, v in values.items()}
outputs = forward(*leaves.values())
pairs = [(out, torch.tensor(g)) for out, g in zip(outputs, cotangent) if out.requires_grad]
found = torch.autograd.grad(
    [out for out, _ in pairs], [leaves[n] for n in wrt], [g for _, g in pairs], allow_unused=True
)
got = {name: None if g is None else g.numpy() for name, g in zip(wrt, found)}
""",
)


class TorchFramework(Framework):
    """Eager PyTorch through torch.autograd.grad."""

    name = "torch"
    title = "PyTorch"
    roots = ("torch",)
    template = TEMPLATE
    draws = Draws(("import torch",), "torch.tensor({values})")
    compiler = "torch.compile"
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    pull_modes = (CREATE_GRAPH, EDITED, BATCHED, RETAINED, VIEWS)

    def __init__(self, device: str = "cpu", table: Binding | None = None) -> None:
        """`table` replaces single ops, op name -> function of tensors: to judge one's own kernel under an op's name."""
        self.device, self.table = device, dict(table or {})
        self.forms: Mapping[str, Form] = {op: form for op, form in FORMS.items() if op not in self.table}
        self.complex_forms: Mapping[str, HolomorphicForm] = {
            op: form for op, form in COMPLEX.items() if op not in self.table
        }

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "PyTorch is not installed: pip install gradverify[torch]"
        import torch

        if self.device.startswith("cuda") and not torch.cuda.is_available():
            return "PyTorch sees no CUDA device"
        return None

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        import torch

        if dtype not in self.dtypes:
            raise Unsupported(f"the adapter for PyTorch does not run {dtype}")
        dtypes = {"float": getattr(torch, dtype), "int": torch.int64, "bool": torch.bool}
        if is_complex(graph):
            dtypes["complex"] = getattr(torch, complex_name(dtype))

        def constant(node: Constant) -> Any:
            # Through a double: PyTorch then rounds to nearest, as NumPy does for everyone else.
            return torch.tensor(node.value, dtype=dtypes[node.kind], device=self.device).reshape(node.shape)

        def widen(x: Any) -> Any:
            return x.to(dtypes["complex"])

        return compiled(graph, self._bind, constant, widen)

    def tape(self) -> Tape:
        import torch

        return Tape(torch, self.put, to_numpy)

    def pairs(self, function: Callable[..., Any], graph: Graph) -> Callable[..., Any]:
        """A function of complex tensors as one of their parts; see `base.over_pairs`."""
        return over_pairs(function, graph, self._bind)

    def _bind(self, op: str) -> Callable[..., Any]:
        return self.table.get(op) or bindings()(op)

    def with_vjp(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        arguments: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]],
        names: tuple[str, ...],
    ) -> Callable[..., Any]:
        from .by_hand import differentiable

        return differentiable(Named(HandWritten(forward, backward), arguments, names, self.is_array), names)

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        with mended():
            return self._vjp("", function, values, wrt, cotangent)

    @contextlib.contextmanager
    def kept_modes(self, function: Callable[..., Any]) -> Iterator[None]:
        with kept_modes(function), mended():  # laws of the tape run kernels as well
            yield

    def without_hooks(self) -> AbstractContextManager[list[str]]:
        return without_hooks()

    def run_vjp_by(
        self,
        mode: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """By one of `pull_modes`. After an edit of what the forward pass was given, autograd raises where that was saved
        ("In-place correctness checks" in PyTorch's notes on autograd mechanics); what was kept elsewhere is read anew."""
        with mended():
            return self._vjp(mode, function, values, wrt, cotangent)

    def _vjp(
        self,
        mode: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        import torch

        leaves = {name: self.put(v).requires_grad_(name in wrt) for name, v in values.items()}
        given = [self.put(g) for g in cotangent]
        try:
            with torch.enable_grad():
                result = function(*(t.view_as(t) if mode == VIEWS else t for t in leaves.values()))
            if mode == EDITED:
                given_memory = {t.untyped_storage()._cdata for t in leaves.values() if t.layout is torch.strided}
                if any(torch.is_tensor(o) and o.layout is torch.strided and o.untyped_storage()._cdata in given_memory
                       for o in several(result)):  # fmt: skip
                    why = Unsupported("a view of an input is edited with it: autograd gives it another history")
                    return Observation(raised=why, stage="forward")
                with torch.no_grad():
                    for leaf in leaves.values():
                        if leaf.is_floating_point():
                            leaf.mul_(-1.5).sub_(1)
        except Unsupported:
            raise
        except JUDGED as e:
            return Observation(raised=_lacking(e), stage="forward")
        outputs = several(result)
        # A backward pass may free its outputs, as reversible layers do; and what NumPy has seen cannot be freed.
        kept = [o.detach().clone() for o in outputs]
        sizes = [_size_in_memory(o) for o in outputs]
        gradients: list[Any] = [None] * len(wrt)
        # An output without a graph (a constant) takes no cotangent; it contributes zero.
        tracked = [(out, g) for out, g in zip(outputs, given) if out.requires_grad]
        if tracked and wrt:
            outs, cotangents = zip(*tracked)
            try:
                again = None if mode == EDITED else lambda: function(*leaves.values())
                gradients = _PULLS.get(mode, _pulled)(outs, [leaves[n] for n in wrt], cotangents, again)
            except JUDGED as e:
                return Observation(raised=_lacking(e), stage="backward")
        named = dict(zip(wrt, gradients))
        arrays = {f"out{i}": o for i, o in enumerate(outputs)} | {f"d{n}": d for n, d in named.items() if d is not None}
        wanted = torch.device(self.device).type
        # One that writes into an output changes what the user has.
        held = [o.detach() if _size_in_memory(o) == n else copy for o, copy, n in zip(outputs, kept, sizes)]
        return Observation(
            outputs=tuple(to_numpy(o.clone()) for o in held),
            gradients={n: None if d is None else to_numpy(d) for n, d in named.items()},
            devices={label: str(t.device) for label, t in arrays.items() if t.device.type != wanted},
            mutated=mutated(values, leaves.values(), cotangent, given, to_numpy),
        )

    def put(self, value: np.ndarray) -> Any:
        return tensor(value, self.device)

    def get(self, array: Any) -> np.ndarray:
        return to_numpy(array)

    def is_array(self, x: Any) -> bool:
        import torch

        return isinstance(x, torch.Tensor)

    def replace(self, change: Callable[[np.ndarray], np.ndarray | None], args: tuple[Any, ...]) -> tuple[Any, ...]:
        from .tracer import replaced

        return replaced(change, args)

    def cast(self, call: Call, dtype: str) -> Call:
        from .casting import cast

        return cast(call, dtype)

    def parameter(self, value: np.ndarray, dtype: str) -> Any:
        import torch

        return torch.from_numpy(np.array(value)).to(getattr(torch, dtype))

    def trace(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, seed: int = 0,
        stop_detached: bool = False, confirm: bool = True, strict: bool = True,
    ) -> Traced:  # fmt: skip
        from .tracer import trace

        return trace(fn, args, kwargs, seed=seed, stop_detached=stop_detached, confirm=confirm, strict=strict)

    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any] | None:
        from .compiled import compiled, is_compiled

        return None if is_compiled(fn) else compiled(fn)

    @contextmanager
    def asks_if_compiling(self) -> Iterator[Callable[[], bool]]:
        if "torch" not in sys.modules:  # else nobody can ask
            yield lambda: False
            return
        from .compiled import listening

        with listening() as heard:
            yield heard

    def shared(
        self, fn: Callable[..., Any], args: tuple[Any, ...], fits: Callable[[Any, Any], bool]
    ) -> Callable[..., Any] | None:
        from .sharing import shared

        return shared(fn, args, fits)

    def conjugated_lazily(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The cotangent of conj is a lazy conjugate; that of conj_physical undoes it in memory."""
        return lambda *tensors: tuple(o.conj().conj_physical() if o.is_complex() else o for o in function(*tensors))

    def keeps_results(self, custom: bool) -> bool:
        """A view that a custom Function's backward returns is kept as .grad, without a copy."""
        return custom

    def poisoned(self) -> AbstractContextManager[None]:
        from .memory import poisoned

        return poisoned()

    watches = "torch"

    def watch(self, recorder: Recorder) -> AbstractContextManager[None]:
        from .watch import watching

        return watching(recorder)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        if "torch" not in sys.modules:
            yield
            return
        import torch

        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            yield

    def custom_definitions(self) -> Iterable[Definition]:
        if "torch" not in sys.modules:
            return ()
        from .watch import all_definitions

        return all_definitions()

    def customs_of(self, module: ModuleType) -> Iterable[Custom]:
        if "torch" not in sys.modules:
            return ()
        import torch

        return function_classes(module, torch.autograd.Function)

    def script(self, sample: Sample) -> Script | None:
        from .scripts import script

        return script(sample)

    def custom_nodes(self, roots: Sequence[Any]) -> list[Any]:
        left, seen, custom = [o.grad_fn for o in roots], set(), []
        while left:
            node = left.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            left += [n for n, _ in node.next_functions]
            if hasattr(node, "saved_tensors"):  # which are ctx's
                custom.append(node)
        return custom

    def other_runs(self, launches: Launches) -> Sequence[OtherRun]:
        return other_runs(launches)

    def drops_outputs(self, function: Callable[..., Any], values: Mapping[str, np.ndarray]) -> bool:
        import torch

        leaves = [self.put(v) for v in values.values()]
        with torch.enable_grad():
            result = function(*(t.requires_grad_(t.is_floating_point() or t.is_complex()) for t in leaves))
        roots = [o for o in several(result) if o.grad_fn is not None]
        used = {(o.grad_fn, o.output_nr) for o in roots}
        left, seen = [o.grad_fn for o in roots], set()
        while left:
            node = left.pop()
            if node not in seen:
                seen.add(node)
                edges = [edge for edge in node.next_functions if edge[0] is not None]
                used.update(edges)
                left += [n for n, _ in edges]
        nodes = self.custom_nodes(roots)
        return any((n, k) not in used for n in nodes for k in range(len(n._input_metadata)))

    def dense(self, call: Call) -> tuple[Call, Callable[..., Any]] | None:
        from .sparse import over_values

        return over_values(call) if "torch" in sys.modules else None

    def dense_result(self, call: Call) -> Call | None:
        from .sparse import of_dense_result

        return of_dense_result(call) if "torch" in sys.modules else None

    def densified(self, fn: Callable[..., Any], like: Call) -> Callable[..., Any]:
        from .sparse import over_dense

        return over_dense(fn, like)

    def run_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:  # fmt: skip
        return derivatives.run_jvp(function, values, tangents, batched)

    def lift_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Derived:
        return derivatives.lift_vjp(function, values, wrt, cotangent)

    def trace_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Traced:
        return derivatives.trace_vjp(function, values, wrt, cotangent)

    def operations(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> tuple[Any, ...] | None:
        from .operations import operations

        return operations(function, values, wrt, cotangent)

    def lift_jvp(
        self, function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
    ) -> Derived:
        return derivatives.lift_jvp(function, values, tangents)


def _batched(outs: Any, leaves: list[Any], cotangents: Any, again: Any) -> list[Any]:
    """The gradients for a batch of g, -g and 2g: half of the last, which no scaling rounds. Raises where an operation of
    the backward pass cannot be batched."""
    import torch

    batch = [torch.stack([g, -g, 2 * g]) for g in cotangents]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        found = torch.autograd.grad(outs, leaves, batch, allow_unused=True, is_grads_batched=True)
    return [d if d is None else d[2] / 2 for d in found]


def _pulled(
    outs: Any, leaves: list[Any], cotangents: Any, again: Callable[[], Any] | None, create_graph: bool = False
) -> list[Any]:
    """Return the gradients by autograd.grad, or by .backward() where that alone works or names the fault.

    `again`
    computes the outputs once more (None: they would be others by now)."""
    import torch

    # Behind what once_differentiable gives there is nothing for autograd.grad; running into it raises the reason.
    once = any(o.grad_fn is not None and o.grad_fn.name() == "torch::autograd::Error" for o in outs)
    if not once:
        try:
            return list(torch.autograd.grad(outs, leaves, cotangents, allow_unused=True, create_graph=create_graph))
        except RuntimeError as e:
            # Reentrant checkpointing refuses autograd.grad, and so do Functions written like it: they name what works.
            if again is None or not any(said in str(e) for said in ("use_reentrant=True", ".backward()")):
                raise
            outs = [o for o in several(again()) if o.requires_grad]
    torch.autograd.backward(outs, cotangents)
    return [leaf.grad for leaf in leaves]


def _retained(outs: Any, leaves: list[Any], cotangents: Any, again: Any) -> list[Any]:
    """The gradients of the second of two backward passes over one graph, which is what the first one left of it.

    A Function that writes to what it saved gives others there; one that has freed it may raise.
    """
    import torch

    # The second cotangent is a copy: what the first pass wrote to that is another law's.
    torch.autograd.grad(outs, leaves, [g.clone() for g in cotangents], allow_unused=True, retain_graph=True)
    return list(torch.autograd.grad(outs, leaves, cotangents, allow_unused=True))


_PULLS: Mapping[str, Callable[..., list[Any]]] = {
    CREATE_GRAPH: partial(_pulled, create_graph=True),
    BATCHED: _batched,
    RETAINED: _retained,
}


def _size_in_memory(x: Any) -> int:
    """The bytes of its storage; 0 of what has none."""
    import torch

    try:
        return int(x.untyped_storage().nbytes()) if x.layout is torch.strided else 0
    except (NotImplementedError, RuntimeError):  # of a subclass that wraps others
        return 0


def _lacking(e: BaseException) -> BaseException:
    return Unsupported(str(e).splitlines()[0]) if LACKING.search(str(e)) else e
