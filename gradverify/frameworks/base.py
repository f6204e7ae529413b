"""What a subject is: something that computes a VJP. Write one in under 50 lines; see `gradverify.testing.check_subject`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..core.errors import Unsupported
from ..core.graph import Apply, Constant, Graph, Input, evaluate
from ..core.op import Define, Vjp
from ..ops.complex.lowering import is_complex, spec_of


@dataclass(frozen=True)
class Observation:
    """What a subject did, as NumPy arrays.

    outputs     one array per output
    gradients   input name -> array, or None where the subject gave no gradient (an undefined one)
    devices     array label ("out0", "dx") -> device, where the subject has devices and it is not the expected one
    raised      the exception of the subject's own code, if it raised; then the rest is empty
    stage       where it raised: "forward" or "backward"
    mutated     labels ("x", "cotangent 0") of inputs and cotangents that no longer held the given values afterwards
    """

    outputs: tuple[np.ndarray, ...] = ()
    gradients: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    raised: BaseException | None = None
    stage: str = ""
    mutated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """A formula that a framework is known to compute an op with, where it loses digits that the op table's text keeps.

    Not a tolerance: the judge reruns the budget with this text, and a FAIL that it explains to the last digit is
    reported as a known weakness of the framework instead of as news. `reason` says what is lost, where, and who
    documents it; `dtypes` in which, where not in all. A subject lists its forms in an attribute `forms`, op name -> Form.
    One that rounds partial sums to a 16-bit dtype, instead of accumulating in float32, says so in an attribute
    `partial_sums`, with where.
    """

    reason: str
    vjp: Vjp = None
    define: Define | None = None
    dtypes: tuple[str, ...] | None = None


@runtime_checkable
class Subject(Protocol):
    """An adapter to something that differentiates.

    name      as users write it in `subjects: [torch]`
    dtypes    the dtype names that it computes in
    """

    name: str
    dtypes: tuple[str, ...]

    def unavailable(self) -> str | None:
        """Why it cannot run here (not installed, no such device); None when it can. Imports its framework at most."""

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        """A callable of the framework's own arrays, in the graph's input order, that computes the graph's outputs
        (one array, or a tuple of them). Raises Unsupported, with the reason, for an op that the framework lacks."""

    def vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """Run `function` on `values` (in order), differentiate with respect to the inputs `wrt`, return everything as
        NumPy arrays that share no memory with the framework's. What the function raises is put into `raised`."""


class ManyWays(Protocol):
    """What a subject adds that can be asked for one VJP in several ways (create_graph=True, under jit, …), of which a
    user's function must give the same gradient in each, or raise."""

    ways: tuple[str, ...]

    def vjp_by(
        self,
        way: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """As `Subject.vjp`, by one of `ways`. Outputs and `mutated` may be empty: only gradients are compared."""


Pushed = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
"""(outputs, tangents of the outputs) of a JVP."""


def several(result: Any) -> tuple[Any, ...]:
    """What a function returned, as its outputs."""
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def places(values: Mapping[str, Any], names: Iterable[str]) -> list[int]:
    """Where in `values` these names are."""
    return [list(values).index(n) for n in names]


def restricted(function: Callable[..., Any], arrays: Sequence[Any], at: Sequence[int]) -> Callable[..., Any]:
    """The function of its arguments at the places `at` alone, in that order; the others are held as they are in `arrays`."""

    def of_some(*active: Any) -> Any:
        full = list(arrays)
        for k, x in zip(at, active):
            full[k] = x
        return function(*full)

    return of_some


def mutated(
    values: Mapping[str, np.ndarray],
    given: Iterable[Any],
    cotangent: Iterable[np.ndarray],
    weights: Iterable[Any],
    get: Callable[[Any], np.ndarray],
) -> tuple[str, ...]:
    """The labels for `Observation.mutated`: `given` and `weights` are the framework's arrays of `values` and `cotangent`,
    in order, and `get` reads one. Compared by bytes, so that NaN equals itself, and -0.0 is not 0.0."""
    held = [(name, was, now) for (name, was), now in zip(values.items(), given)]
    held += [(f"cotangent {i}", was, now) for i, (was, now) in enumerate(zip(cotangent, weights))]
    return tuple(label for label, was, now in held if get(now).tobytes() != np.asarray(was).tobytes())


Binding = Mapping[str, Callable[..., Any]]


def compiled(
    graph: Graph,
    bind: Callable[[str], Callable[..., Any]],
    constant: Callable[[Constant], Any],
    widen: Callable[[Any], Any] = lambda x: x,
) -> Callable[..., Any]:
    """The graph as a callable over a framework's arrays: most of an adapter's `function`.

    `bind(op)` gives the framework's function for an op, called as op(*args, **params); it raises Unsupported.
    `constant` makes the framework's array of a literal. Every op is bound at once, so that what is unsupported is
    known before anything runs.

    A complex graph is computed in complex arithmetic, and the callable is over pairs of real arrays all the same (see
    `over_pairs`). `widen` makes a complex array of a real one that meets complex ones outside of elementwise ops, for
    frameworks that ask their users to.
    """
    bound = {n.op: bind(n.op) for n in graph.nodes if isinstance(n, Apply)}
    names = list(graph.inputs)

    def run(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))

        def leaf(node: Input) -> Any:
            return given[node.name]

        def apply(node: Apply, args: list[Any]) -> Any:
            for i, a in enumerate(node.args):
                literal = graph.nodes[a]
                # An integer literal may stand where a float is wanted: frameworks promote it, some to float32.
                if isinstance(literal, Constant) and literal.kind == "int" and spec_of(node.op).argument(i) == "float":
                    args[i] = constant(replace(literal, kind="float"))
            kinds = [graph.nodes[a].kind for a in node.args]
            if "complex" in kinds and not spec_of(node.op).broadcasts:
                args = [widen(x) if kind == "float" else x for x, kind in zip(args, kinds)]
            return bound[node.op](*args, **dict(node.params))

        values = evaluate(graph, leaf=leaf, constant=constant, apply=apply)
        outs = tuple(values[o] for o in graph.outputs)
        return outs[0] if len(outs) == 1 else outs

    return over_pairs(run, graph, bind) if is_complex(graph) else run


def over_pairs(
    function: Callable[..., Any], graph: Graph, bind: Callable[[str], Callable[..., Any]]
) -> Callable[..., Any]:
    """A function of the graph's complex inputs as one of their real and imaginary parts, in order; complex outputs are
    split in turn. Joined and split by the framework's own differentiable functions, so that its derivatives of those
    turn its convention for complex gradients into the partial derivatives by the parts."""
    join, real, imag = bind("complex"), bind("real"), bind("imag")
    kinds = [graph.nodes[k].kind for k in graph.inputs.values()]

    def run(*arrays: Any) -> Any:
        left = iter(arrays)
        result = function(*(join(next(left), next(left)) if kind == "complex" else next(left) for kind in kinds))
        outs = several(result)
        split = []
        for o, out in zip(graph.outputs, outs):
            split += [real(out), imag(out)] if graph.nodes[o].kind == "complex" else [out]
        return split[0] if len(split) == 1 else tuple(split)

    return run


def lookup(table: Binding, *modules: Any) -> Callable[[str], Callable[..., Any]]:
    """`bind` for `compiled`: an adapter's own table first, then the framework's functions of the same name."""

    def bind(op: str) -> Callable[..., Any]:
        if op in table:
            return table[op]
        for module in modules:
            if hasattr(module, op):
                return getattr(module, op)
        raise Unsupported(f"no counterpart of the op {op!r}")

    return bind
