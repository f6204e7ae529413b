"""Read `*.grad.yaml` files. Every mistake of an author is one SpecError with file, line and column.

document = load("specs/elementwise.grad.yaml")
case = document.cases[0].case("float64")
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.errors import ShapeError, SpecError, did_you_mean
from ..core.graph import Apply, Graph, Input
from ..core.imports import parsed
from ..core.op import Kind, Shape
from ..namespaces.dtypes import COMPLEX, PRECISION
from ..ops.complex.lowering import is_complex
from ..ops.shapes import broadcast
from . import nodes, read
from .case_spec import CaseSpec, InputSpec
from .domains import place
from .expression import Names, canonical, name_problem, shortened
from .keys import (
    CASE,
    COMPLEX_DTYPES,
    DEFAULT_DTYPES,
    DEFAULTS,
    DOCUMENT,
    DTYPES,
    EXPECTATIONS,
    INPUT,
    INPUT_DTYPES,
    REAL_DTYPES,
    TAG,
    VERSION,
)
from .nodes import Node, Scalar, Sequence, SourceText
from .size import too_much
from .values import Domain, overflows

MAX_CASES = 10_000

KINDS: Mapping[str, Kind] = {"float": "float", "complex": "complex", "int64": "int", "bool": "bool"}


@dataclass(frozen=True, eq=False)
class Document:
    """A spec file."""

    file: str
    cases: tuple[CaseSpec, ...]


def load(path: str | Path) -> Document:
    """The cases of a file. Raises SpecError."""
    return _document(nodes.read(path))


def loads(text: str, file: str = "<string>") -> Document:
    """The cases of a text. Raises SpecError."""
    return _document(SourceText(text, file))


def _document(source: SourceText) -> Document:
    root = nodes.compose(source)
    if not isinstance(root, nodes.Mapping):
        raise root.error(f"a spec file is a mapping with the keys {', '.join(DOCUMENT)}; this is {root.kind}")
    keys = read.Keys(root, DOCUMENT, "a spec file")
    version = keys["gradverify"]
    if not isinstance(version, Scalar) or version.value != VERSION or isinstance(version.value, bool):
        raise version.error(f"this gradverify reads version {VERSION} of the format: write `gradverify: {VERSION}`")
    defaults = read.Keys(read.as_mapping(keys.get("defaults"), "defaults"), DEFAULTS, "defaults")
    shared = _shared(defaults, {})
    domain = read.as_domain(defaults["domain"]) if "domain" in defaults else None
    cases: list[CaseSpec] = []
    lines: dict[str, int] = {}
    listed = read.as_sequence(keys["cases"], "cases")
    if len(listed) > MAX_CASES:
        raise listed[MAX_CASES].error(f"more than {MAX_CASES} cases in one file")
    for item in listed:
        spec, at = _Reader(read.as_mapping(item, "a case"), source.file, shared, domain).read()
        if spec.name in lines:
            raise at.error(f"two cases are called {shortened(spec.name)!r}; the other is in line {lines[spec.name]}")
        lines[spec.name] = spec.line
        cases.append(spec)
    return Document(source.file, tuple(cases))


def _shared(keys: read.Keys, inherited: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys that defaults and cases share, over the inherited ones."""
    found = dict(inherited)
    if "dtypes" in keys:
        for item in read.as_sequence(keys["dtypes"], "dtypes"):
            read.as_choice(item, "dtype", DTYPES)
        found["dtypes"] = read.as_texts(keys["dtypes"], "dtypes", nonempty=True)
    if "subjects" in keys:
        found["subjects"] = read.as_texts(keys["subjects"], "subjects", nonempty=True)
    for name in ("invariants", "tags"):
        if name in keys:
            found[name] = read.as_texts(keys[name], name)
    for node, tag in zip(read.as_sequence(keys["tags"], "tags") if "tags" in keys else (), found.get("tags", ())):
        if not re.match(TAG, tag) or tag.endswith("\n"):
            raise node.error(f"a tag is a letter, then letters, digits and any of _.-; not {shortened(tag)!r}")
    if "seed" in keys:
        found["seed"] = read.as_integer(keys["seed"], "seed")
    return found


class _Reader:
    """Reads one case: `read()` returns its CaseSpec, and the node of its name."""

    def __init__(self, node: nodes.Mapping | None, file: str, shared: Mapping[str, Any], domain: Domain | None) -> None:
        assert node is not None
        self.node, self.file, self.domain = node, file, domain
        self.keys = read.Keys(node, CASE, "a case")
        self.shared = _shared(self.keys, shared)

    def read(self) -> tuple[CaseSpec, Node]:
        keys = self.keys
        name = self.name()
        nodes_of, inputs = self.inputs()
        graph = self.definition(inputs)
        why_not = too_much(graph)
        if why_not:
            raise self.node.error(why_not)
        shared = self.shared | {"dtypes": self.dtypes(graph)}
        inputs, guards = place(graph, inputs, nodes_of)
        spec = CaseSpec(
            name=name,
            file=self.file,
            line=self.node.line,
            graph=graph,
            inputs=MappingProxyType(inputs),
            claims=self.claims(graph, inputs, wrt := self.wrt(inputs)),
            cotangent=self.cotangent(graph),
            wrt=wrt,
            function=self.function(inputs),
            vjp=self.vjp(),
            expect=read.as_choice(keys["expect"], "expect", EXPECTATIONS) if "expect" in keys else "pass",  # type: ignore[arg-type]
            note=read.as_text(keys["note"], "note") if "note" in keys else "",
            inconclusive=self.inconclusive(),
            guards=guards,
            **shared,
        )
        self.check_range(spec, nodes_of)
        return spec, keys["name"]

    def dtypes(self, graph: Graph) -> tuple[str, ...]:
        """The dtypes of the case; complex names if it has complex numbers."""
        given = self.shared.get("dtypes")
        if not is_complex(graph):
            if given is None:
                return DEFAULT_DTYPES
            if not set(given) & set(REAL_DTYPES):
                node = self.keys.get("dtypes") or self.keys["name"]
                raise node.error(f"there is no complex number in this case: {', '.join(given)} say nothing about it")
            return tuple(d for d in given if d in REAL_DTYPES)
        if given is None:
            return COMPLEX_DTYPES
        for dtype in given:
            if dtype not in COMPLEX and dtype not in PRECISION:
                node = self.keys.get("dtypes") or self.keys["name"]
                raise node.error(
                    f"there are no complex numbers of {dtype}, and the case has some: write complex64, complex128"
                )
        return tuple(dict.fromkeys(COMPLEX.get(dtype, dtype) for dtype in given))

    def name(self) -> str:
        """The case's name: one printable line."""
        node = self.keys["name"]
        if isinstance(node, Scalar) and isinstance(node.value, int | float):
            text = node.text  # `name: 2` is fine
        else:
            text = read.as_text(node, "name")
        if text != text.strip() or not text.isprintable() or len(text) > 200:
            raise node.error("a name is one line of at most 200 printable characters, no white space around it")
        return text

    def inputs(self) -> tuple[dict[str, Node], dict[str, InputSpec]]:
        """Name -> node, and name -> input, before domains are derived."""
        node = read.as_mapping(self.keys["inputs"], "inputs")
        assert node is not None
        at: dict[str, Node] = {}
        found: dict[str, InputSpec] = {}
        for key, value in node.entries:
            problem = name_problem(key.text)
            if problem:
                raise key.error(problem)
            at[key.text] = value
            found[key.text] = self.input(key, value)
        return at, found

    def input(self, key: Scalar, node: Node) -> InputSpec:
        """One input: a literal, or a mapping with values or a domain."""
        if isinstance(node, Scalar | Sequence):
            values = read.as_array(node, key.text, None)
            return InputSpec(key.text, values.shape, read.kind_of(values), values)
        assert isinstance(node, nodes.Mapping)
        keys = read.Keys(node, INPUT, f"the input {key.text}")
        kind = KINDS[read.as_choice(keys["dtype"], "dtype", INPUT_DTYPES)] if "dtype" in keys else None
        if "values" in keys:
            if "domain" in keys:
                raise keys["domain"].error("values or a domain to draw them from, not both")
            values = read.as_array(keys["values"], key.text, kind)
            kind = kind or read.kind_of(values)
            if "shape" in keys:
                values = read.fit(keys["values"], values, read.as_shape(keys["shape"]), key.text)
            return InputSpec(key.text, values.shape, kind, values)
        if "shape" not in keys:
            raise node.error(f"the input {key.text} needs a shape, or values")
        shape = read.as_shape(keys["shape"])
        if kind == "int":
            if "domain" not in keys:
                raise node.error(f"the integers {key.text} need values, or a domain [lo, hi] to draw them from")
            lo, hi = read.as_bounds(keys["domain"], lambda item, what: read.as_integer(item, what, -(2**52), 2**52))
            if lo > hi:
                raise keys["domain"].error(f"a domain is [lo, hi] with lo <= hi, not [{lo}, {hi}]")
            return InputSpec(key.text, shape, kind, bounds=(lo, hi))
        if "domain" in keys:
            if kind == "bool":
                raise keys["domain"].error("booleans have no domain")
            domain = read.as_domain(keys["domain"])
            if domain.shape is not None and (len(shape) < 2 or shape[-1] != shape[-2]):
                raise keys["domain"].error(f"{key.text} is no square matrix: its shape is {list(shape)}")
            if domain.shape is not None and kind == "complex":
                raise keys["domain"].error(f"{key.text} is complex: this domain is of real matrices; state values")
            return InputSpec(key.text, shape, kind or "float", domain=domain, stated=True)
        usual = self.domain if kind != "bool" else None
        if kind == "complex" and usual is not None and usual.shape is not None:
            usual = None
        return InputSpec(key.text, shape, kind or "float", domain=usual, stated=usual is not None)

    def names(self, inputs: Mapping[str, InputSpec], cotangents: Mapping[str, tuple[Shape, Kind]] = {}) -> Names:
        """The names that an expression may use: inputs, cotangents (in claims) and bindings."""
        leaves: dict[str, tuple[Shape, Kind]] = {i.name: (i.shape, i.kind) for i in inputs.values()}
        names = Names(leaves | dict(cotangents))
        for key, value in self.bindings():
            problem = name_problem(key.text, inputs)
            if problem:
                raise key.error(problem)
            names.bind(key.text, read.as_expression(value, f"let {key.text}"))
        return names

    def bindings(self) -> tuple[tuple[Scalar, Node], ...]:
        """The entries of `let`."""
        node = read.as_mapping(self.keys.get("let"), "let")
        return node.entries if node else ()

    def definition(self, inputs: Mapping[str, InputSpec]) -> Graph:
        """The graph of `expr`."""
        names = self.names(inputs)
        outputs = []
        for scalar in read.as_expressions(self.keys["expr"]):
            k = names.parse(scalar)
            if names.builder.kind(k) not in ("float", "complex"):
                raise scalar.error(f"expr is {names.builder.kind(k)}: only floating-point results have gradients")
            outputs.append(k)
        return canonical(names.builder.graph(*outputs))

    def claims(self, graph: Graph, inputs: Mapping[str, InputSpec], wrt: tuple[str, ...]) -> dict[str, Graph]:
        """Input -> the graph of the gradient that `grad` claims for it."""
        node = read.as_mapping(self.keys.get("grad"), "grad")
        found: dict[str, Graph] = {}
        leaves: list[tuple[Shape, Kind]] = [(graph.nodes[o].shape, graph.nodes[o].kind) for o in graph.outputs]
        cotangents = {"g": leaves[0]} if len(leaves) == 1 else {f"g{i}": leaf for i, leaf in enumerate(leaves)}
        for key, value in node.entries if node else ():
            if key.text not in inputs:
                raise key.error(f"unknown input {shortened(key.text)!r}{did_you_mean(key.text, inputs)}")
            if inputs[key.text].kind not in ("float", "complex"):
                raise key.error(f"{key.text} is {inputs[key.text].kind}: it has no gradient")
            if key.text not in wrt:
                raise key.error(f"{key.text} is not differentiated: `wrt` does not name it")
            scalar = read.as_expression(value, f"grad {key.text}")
            names = self.names(inputs, cotangents)
            k, wanted = names.parse(scalar), inputs[key.text].shape
            kind, own = names.builder.kind(k), inputs[key.text].kind
            if kind not in ("float", "complex"):
                raise scalar.error(f"the claim is {kind}, not floating-point")
            if kind == "complex" and own == "float":
                raise scalar.error(f"the claim is complex, {key.text} is real: take real(...) of it")
            if kind == "float" and own == "complex":
                k = names.builder.apply("complex", k, names.builder.constant(0.0))
            got = names.builder.shape(k)
            if got != wanted:
                if _broadcast(got, wanted) != wanted:
                    raise scalar.error(f"the claim has the shape {list(got)}, {key.text} has {list(wanted)}")
                k = names.builder.apply("broadcast_to", k, shape=wanted)
            used = names.builder.graph(k)
            spare = {n for n in cotangents if used.inputs[n] not in used.active}
            found[key.text] = _without(canonical(used), spare)
        return found

    def cotangent(self, graph: Graph) -> tuple[np.ndarray | None, ...]:
        """The cotangent of each output; None where it is to be drawn."""
        outputs = [graph.nodes[o] for o in graph.outputs]
        if "cotangent" not in self.keys:
            return (None,) * len(outputs)
        node = self.keys["cotangent"]
        items = (node,) if len(outputs) == 1 else read.as_sequence(node, "cotangent (of several outputs)")
        if len(items) != len(outputs):
            raise node.error(f"{len(items)} cotangents for {len(outputs)} outputs")
        return tuple(
            read.fit(n, read.as_array(n, "cotangent", o.kind), o.shape, "cotangent") for n, o in zip(items, outputs)
        )

    def wrt(self, inputs: Mapping[str, InputSpec]) -> tuple[str, ...]:
        """The inputs to differentiate; without `wrt` all floating-point ones."""
        if "wrt" not in self.keys:
            found = tuple(i.name for i in inputs.values() if i.kind in ("float", "complex"))
            if not found:
                raise self.keys["inputs"].error("no input is floating-point: there is no gradient to judge")
            return found
        wanted = read.as_texts(self.keys["wrt"], "wrt", nonempty=True)
        for item, name in zip(read.as_sequence(self.keys["wrt"], "wrt"), wanted):
            if name not in inputs:
                raise item.error(f"unknown input {shortened(name)!r}{did_you_mean(name, inputs)}")
            if inputs[name].kind not in ("float", "complex"):
                raise item.error(f"{name} is {inputs[name].kind}: it is not differentiated")
        return wanted

    def function(self, inputs: Mapping[str, InputSpec]) -> str | None:
        """The function that `call` names, not imported yet, with its call."""
        if "call" not in self.keys:
            return None
        text = read.as_text(self.keys["call"], "call")
        if not re.match(CASE["call"].schema["pattern"], text) or text.endswith("\n"):
            raise self.keys["call"].error(f"call is `package.module:function`, not {shortened(text)!r}")
        try:
            named = parsed(text)
        except ValueError as e:
            raise self.keys["call"].error(f"call: {e}") from None
        if named.positional is not None and not named.inputs:
            raise self.keys["call"].error("call: it is given none of the inputs")
        for name in named.inputs:
            if name not in inputs:
                raise self.keys["call"].error(f"call: unknown input {shortened(name)!r}{did_you_mean(name, inputs)}")
        return text

    def vjp(self) -> str | None:
        """The function that `vjp` names, not imported yet."""
        if "vjp" not in self.keys:
            return None
        node = self.keys["vjp"]
        if "call" not in self.keys:
            raise node.error("vjp is the backward pass of `call`, and there is none")
        text = read.as_text(node, "vjp")
        if not re.match(CASE["vjp"].schema["pattern"], text) or text.endswith("\n"):
            raise node.error(f"vjp is `package.module:function`, not {shortened(text)!r}")
        return text

    def inconclusive(self) -> dict[str, str]:
        """Subject, or "*" for all -> why INCONCLUSIVE is expected."""
        node = self.keys.get("inconclusive")
        if node is None:
            return {}
        if isinstance(node, nodes.Mapping):
            if not node.entries:
                raise node.error("inconclusive is an empty mapping")
            return {key.text: read.as_text(value, f"inconclusive {key.text}") for key, value in node.entries}
        return {"*": read.as_text(node, "inconclusive")}

    def check_range(self, spec: CaseSpec, at: Mapping[str, Node]) -> None:
        """Raise where a finite literal overflows in a dtype of the case."""
        for dtype in spec.dtypes:
            literals = [(at[i.name], i.values) for i in spec.inputs.values() if i.kind in ("float", "complex")]
            literals += [(self.keys["cotangent"], g) for g in spec.cotangent if g is not None]
            for node, values in literals:
                bad = overflows(values, dtype) if values is not None else np.zeros(0, dtype=bool)
                if bad.any():
                    assert values is not None
                    raise node.error(f"{values[bad].flat[0]:g} overflows {dtype}")


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    try:
        return broadcast(a, b)
    except ShapeError:
        return None


def _without(graph: Graph, names: set[str]) -> Graph:
    """The graph without the unused inputs `names`."""
    keep = [k for k, n in enumerate(graph.nodes) if not (isinstance(n, Input) and n.name in names)]
    new = {old: k for k, old in enumerate(keep)}
    moved = [
        Apply(n.op, tuple(new[a] for a in n.args), n.params, n.shape, n.kind) if isinstance(n, Apply) else n
        for n in (graph.nodes[k] for k in keep)
    ]
    return Graph(tuple(moved), tuple(new[o] for o in graph.outputs))


__all__ = ["CaseSpec", "Document", "InputSpec", "SpecError", "load", "loads"]
