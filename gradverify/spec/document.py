"""`*.grad.yaml` → cases. Every mistake of an author is one SpecError with file, line and column.

document = load("specs/elementwise.grad.yaml")
case = document.cases[0].case("float64")
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from ..core.case import Case, Expect, Source
from ..core.errors import ShapeError, SpecError, did_you_mean
from ..core.graph import Apply, Graph, Input
from ..core.interval import Interval
from ..core.op import Kind, Shape
from ..namespaces import NUMPY
from ..namespaces.dtypes import COMPLEX, PRECISION, is_float, numpy_dtype, rounded
from ..ops import OPS
from ..ops.complex.lowering import is_complex
from ..ops.shapes import broadcast
from . import nodes
from .domains import derive
from .expression import MAX_ELEMENTS, Names, canonical, name_problem, shortened
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
    VERSION,
    Key,
)
from .nodes import Node, Scalar, Sequence, SourceText
from .values import DOMAINS, Domain, complex_number, draw, draw_integers, overflows, signed, signed_complex

MAX_CASES = 10_000
MAX_DIMENSIONS = 32
"""NumPy's own limit before 2.0; PyTorch and JAX set none below it that matters here."""

KINDS: Mapping[str, Kind] = {"float": "float", "complex": "complex", "int64": "int", "bool": "bool"}


@dataclass(frozen=True, eq=False)
class InputSpec:
    """An input: its values, or how they are drawn (`domain`; for integers `bounds`, both ends included)."""

    name: str
    shape: Shape
    kind: Kind = "float"
    values: np.ndarray | None = None
    domain: Domain | None = None
    bounds: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class CaseSpec:
    """A case as its author wrote it; `case(dtype)` gives it values.

    subjects      None where neither the case nor the defaults say
    outputs       shapes of the outputs
    cotangent     one array, or None to draw it, per output
    inconclusive  subject -> why no verdict is to be had on it; "*" for every subject
    guards        inputs that a structured op takes directly and whose domain nobody stated: name -> index of that op
    """

    name: str
    file: str
    line: int
    graph: Graph
    inputs: Mapping[str, InputSpec]
    claims: Mapping[str, Graph] = field(default_factory=dict)
    cotangent: tuple[np.ndarray | None, ...] = ()
    wrt: tuple[str, ...] = ()
    function: str | None = None
    expect: Expect = "pass"
    invariants: tuple[str, ...] = ()
    subjects: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] = DEFAULT_DTYPES
    tags: tuple[str, ...] = ()
    seed: int = 0
    note: str = ""
    inconclusive: Mapping[str, str] = field(default_factory=dict)
    guards: Mapping[str, int] = field(default_factory=dict)

    def explained(self, subject: str) -> str | None:
        """Why an INCONCLUSIVE on this subject is fine; None where it is not."""
        return self.inconclusive.get(subject) or self.inconclusive.get("*")

    def case(self, dtype: str) -> Case:
        """The case in `dtype`, its values rounded to it. For a case with complex numbers complex128 is its name for
        float64, and complex64 for float32."""
        dtype = PRECISION.get(dtype, dtype)
        values = {name: _rounded(v, dtype) for name, v in self._drawn().items()}
        return Case(
            name=self.name,
            graph=self.graph,
            values=values,
            cotangent=tuple(_rounded(g, dtype) for g in self._cotangents()),
            dtype=dtype,
            wrt=self.wrt,
            claims=self.claims,
            function=self.function,
            expect=self.expect,
            invariants=self.invariants,
            source=Source("spec", self.file, self.line, self.seed),
        )

    def _drawn(self) -> dict[str, np.ndarray]:
        """All inputs, float ones in float64."""
        values: dict[str, np.ndarray] = {}
        for name, i in self.inputs.items():
            key = ("gradverify", self.name, self.seed, name)
            if i.values is not None:
                values[name] = i.values
            elif i.kind == "bool":
                values[name] = draw_integers(0, 1, key, i.shape).astype(np.bool_)
            elif i.kind == "int":
                values[name] = draw_integers(*(i.bounds or (0, 0)), key, i.shape)
            elif i.kind == "complex":
                parts = (i.domain or DOMAINS["nonzero"]).parts
                real, imag = (draw(parts, (*key, part), i.shape) for part in ("real", "imag"))
                values[name] = real + 1j * imag
            else:
                domain = i.domain or DOMAINS["real"]
                v = draw(domain.parts, key, i.shape)
                values[name] = domain.shape(v) if domain.shape is not None else v
        for k in sorted(set(self.guards.values())):
            self._guard(k, values)
        return values

    def _guard(self, k: int, values: dict[str, np.ndarray]) -> None:
        """Move the drawn arguments of a structured op (a positive definite matrix) into its domain."""
        node = self.graph.nodes[k]
        assert isinstance(node, Apply)
        guard = OPS[node.op].guard
        assert guard is not None
        leaves = [self.graph.nodes[a] for a in node.args]
        arrays = [values[n.name] if isinstance(n, Input) else np.zeros(n.shape) for n in leaves]
        for leaf, moved in zip(leaves, guard(NUMPY, *arrays)):
            if isinstance(leaf, Input) and self.guards.get(leaf.name) == k:
                values[leaf.name] = np.asarray(moved, dtype=np.float64)

    def _cotangents(self) -> Iterable[np.ndarray]:
        outputs = [self.graph.nodes[o] for o in self.graph.outputs]
        for i, (node, given) in enumerate(zip(outputs, self.cotangent)):
            key = ("gradverify", self.name, self.seed, "cotangent", i)
            if given is not None:
                yield given
            elif node.kind == "complex":
                yield signed_complex(key, node.shape)
            elif len(outputs) == 1 and node.shape == ():
                yield np.ones(())
            else:
                yield signed(key, node.shape)


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Floating-point values in `dtype`, complex ones in the complex dtype of that precision, others as they are."""
    if values.dtype.kind == "c":
        return np.array(values, dtype=numpy_dtype(dtype, "complex"))
    return rounded(values, dtype) if is_float(values) else values.copy()


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
    keys = _Keys(root, DOCUMENT, "a spec file")
    version = keys["gradverify"]
    if not isinstance(version, Scalar) or version.value != VERSION or isinstance(version.value, bool):
        raise version.error(f"this gradverify reads version {VERSION} of the format: write `gradverify: {VERSION}`")
    defaults = _Keys(_mapping(keys.get("defaults"), "defaults"), DEFAULTS, "defaults")
    shared = _shared(defaults, {})
    domain = _domain(defaults["domain"]) if "domain" in defaults else None
    cases: list[CaseSpec] = []
    lines: dict[str, int] = {}
    listed = _sequence(keys["cases"], "cases")
    if len(listed) > MAX_CASES:
        raise listed[MAX_CASES].error(f"more than {MAX_CASES} cases in one file")
    for item in listed:
        spec, at = _Reader(_mapping(item, "a case"), source.file, shared, domain).read()
        if spec.name in lines:
            raise at.error(f"two cases are called {shortened(spec.name)!r}; the other is in line {lines[spec.name]}")
        lines[spec.name] = spec.line
        cases.append(spec)
    return Document(source.file, tuple(cases))


# Reading nodes: each helper returns plain data, or raises at the node.


class _Keys:
    """The entries of a mapping, once its keys are known to be legal and complete."""

    def __init__(self, node: nodes.Mapping | None, known: Mapping[str, Key], what: str) -> None:
        self.values: dict[str, Node] = {}
        for key, value in node.entries if node else ():
            if key.text not in known:
                guess = did_you_mean(key.text, known) or f" (it has: {', '.join(known)})"
                raise key.error(f"{what} has no key {shortened(key.text)!r}{guess}")
            self.values[key.text] = value
        for name, declared in known.items():
            if declared.required and name not in self.values and node is not None:
                raise node.error(f"{what} needs the key {name!r}")

    def __getitem__(self, name: str) -> Node:
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> Node | None:
        return self.values.get(name)


def _wrong(node: Node, what: str, wanted: str) -> NoReturn:
    raise node.error(f"{what} must be {wanted}, not {node.kind}")


def _mapping(node: Node | None, what: str) -> nodes.Mapping | None:
    if node is not None and not isinstance(node, nodes.Mapping):
        _wrong(node, what, "a mapping")
    return node


def _sequence(node: Node, what: str) -> tuple[Node, ...]:
    if not isinstance(node, Sequence):
        _wrong(node, what, "a list")
    return node.items


def _text(node: Node, what: str) -> str:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        _wrong(node, what, "text")
    if not node.text.strip():
        raise node.error(f"{what} is empty")
    return node.text


def _texts(node: Node, what: str, nonempty: bool = False) -> tuple[str, ...]:
    found: list[str] = []
    for item in _sequence(node, what):
        text = _text(item, f"an entry of {what}")
        if text in found:
            raise item.error(f"{what} names {shortened(text)!r} twice")
        found.append(text)
    if nonempty and not found:
        raise node.error(f"{what} is an empty list")
    return tuple(found)


def _integer(node: Node, what: str, least: int = 0, most: int = 2**63 - 1) -> int:
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(node, what, "an integer")
    if not least <= value <= most:
        raise node.error(f"{what} must lie in [{least}, {most}]")
    return value


def _real(node: Node, what: str) -> float:
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        _wrong(node, what, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    assert isinstance(node, Scalar)
    if math.isinf(number) and "inf" not in node.text.lower():
        raise node.error(f"{shortened(node.text)} is larger than any double; write .inf")
    return number


def _complex(node: Node, what: str) -> complex:
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, str):
        return complex(_real(node, what), 0.0)
    number = complex_number(value)
    if number is None:
        raise node.error(f"{what} must be a number such as 1+2j (no blanks), not {shortened(value)!r}")
    return number


def _choice(node: Node, what: str, choices: Iterable[str]) -> str:
    text = _text(node, what)
    if text not in choices:
        guess = did_you_mean(text, choices) or f" (there are: {', '.join(choices)})"
        raise node.error(f"unknown {what} {shortened(text)!r}{guess}")
    return text


def _expressions(node: Node) -> list[Scalar]:
    items = node.items if isinstance(node, Sequence) else (node,)
    if not items:
        raise node.error("expr is an empty list")
    return [_expression(item, "expr") for item in items]


def _expression(node: Node, what: str) -> Scalar:
    if not isinstance(node, Scalar):
        _wrong(node, what, "an expression")
    if not node.text.strip():
        raise node.error(f"{what} is empty")
    return node


def _domain(node: Node) -> Domain:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return DOMAINS[_choice(node, "domain", DOMAINS)]
    lo, hi = _bounds(node, _real)
    if not math.isfinite(lo) or not math.isfinite(hi):
        raise node.error("the ends of a domain must be finite")
    if not lo <= hi:
        raise node.error(f"a domain is [lo, hi] with lo <= hi, not [{lo:g}, {hi:g}]")
    if not math.isfinite(hi - lo):
        raise node.error("a domain wider than any double")
    return Domain((Interval(lo, hi),))


def _bounds(node: Node, read: Any) -> Any:
    if not isinstance(node, Sequence) or len(node.items) != 2:
        raise node.error(f"a domain is [lo, hi] or one of: {', '.join(DOMAINS)}")
    return tuple(read(item, "an end of a domain") for item in node.items)


def _shape(node: Node) -> Shape:
    items = _sequence(node, "shape")
    if len(items) > MAX_DIMENSIONS:
        raise node.error(f"{len(items)} dimensions; at most {MAX_DIMENSIONS}")
    shape = tuple(_integer(item, "a dimension") for item in items)
    _check_size(node, shape)
    return shape


def _check_size(node: Node, shape: Shape) -> None:
    if math.prod(shape) > MAX_ELEMENTS:
        raise node.error(f"an array of {math.prod(shape)} elements; at most {MAX_ELEMENTS}")


def _literal(node: Node, what: str) -> tuple[Shape, list[Scalar]]:
    """Shape and entries of a number or of nested lists."""
    if isinstance(node, Scalar):
        return (), [node]
    if not isinstance(node, Sequence):
        _wrong(node, what, "a number or nested lists of numbers")
    shape: Shape | None = None
    entries: list[Scalar] = []
    for item in node.items:
        inner, found = _literal(item, what)
        if shape is not None and inner != shape:
            raise item.error(f"the rows of {what} differ in shape: {list(inner)} after {list(shape)}")
        shape = inner
        entries += found
    return (len(node.items), *(shape or ())), entries


def _array(node: Node, what: str, kind: Kind | None) -> np.ndarray:
    """The values of a literal: float64, complex128, int64 or bool. Without `kind`, booleans make a mask and numbers
    floats, or, where one of them is complex, complex numbers."""
    shape, entries = _literal(node, what)
    if len(shape) > MAX_DIMENSIONS:
        raise node.error(f"{len(shape)} dimensions; at most {MAX_DIMENSIONS}")
    if kind is None:
        kind = "bool" if entries and isinstance(entries[0].value, bool) else "float"
        if any(isinstance(e.value, str) and complex_number(e.text) is not None for e in entries):
            kind = "complex"
    if kind == "complex":
        return np.array([_complex(e, f"an entry of {what}") for e in entries], dtype=np.complex128).reshape(shape)
    if kind == "bool":
        for e in entries:
            if not isinstance(e.value, bool):
                _wrong(e, f"an entry of {what}", "a boolean")
        return np.array([e.value for e in entries], dtype=np.bool_).reshape(shape)
    if kind == "int":
        least = -(2**63)
        return np.array([_integer(e, f"an entry of {what}", least) for e in entries], dtype=np.int64).reshape(shape)
    return np.array([_real(e, f"an entry of {what}") for e in entries], dtype=np.float64).reshape(shape)


def _kind(values: np.ndarray) -> Kind:
    return {"b": "bool", "c": "complex"}.get(values.dtype.kind, "float")  # type: ignore[return-value]


def _fitted(node: Node, values: np.ndarray, shape: Shape, what: str) -> np.ndarray:
    """Values in `shape`; one number fills it, and an empty list fits every empty shape."""
    if values.shape == shape:
        return values
    if values.ndim == 0 or (values.size == 0 and math.prod(shape) == 0):
        return np.full(shape, values if values.ndim == 0 else 0, dtype=values.dtype)
    raise node.error(f"{what} has the shape {list(values.shape)}, not {list(shape)}")


def _shared(keys: _Keys, inherited: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that defaults and cases have in common."""
    found = dict(inherited)
    if "dtypes" in keys:
        for item in _sequence(keys["dtypes"], "dtypes"):
            _choice(item, "dtype", DTYPES)
        found["dtypes"] = _texts(keys["dtypes"], "dtypes", nonempty=True)
    if "subjects" in keys:
        found["subjects"] = _texts(keys["subjects"], "subjects", nonempty=True)
    for name in ("invariants", "tags"):
        if name in keys:
            found[name] = _texts(keys[name], name)
    if "seed" in keys:
        found["seed"] = _integer(keys["seed"], "seed")
    return found


class _Reader:
    """One case."""

    def __init__(self, node: nodes.Mapping | None, file: str, shared: Mapping[str, Any], domain: Domain | None) -> None:
        assert node is not None
        self.node, self.file, self.domain = node, file, domain
        self.keys = _Keys(node, CASE, "a case")
        self.shared = _shared(self.keys, shared)

    def read(self) -> tuple[CaseSpec, Node]:
        keys = self.keys
        name = self.name()
        nodes_of, inputs = self.inputs()
        graph, scalars = self.definition(inputs)
        shared = self.shared | {"dtypes": self.dtypes(graph)}
        inputs, guards = self.placed(graph, scalars[0], nodes_of, inputs)
        spec = CaseSpec(
            name=name,
            file=self.file,
            line=self.node.line,
            graph=graph,
            inputs=MappingProxyType(inputs),
            claims=self.claims(graph, inputs, wrt := self.wrt(inputs)),
            cotangent=self.cotangent(graph),
            wrt=wrt,
            function=self.function(),
            expect=_choice(keys["expect"], "expect", EXPECTATIONS) if "expect" in keys else "pass",  # type: ignore[arg-type]
            note=_text(keys["note"], "note") if "note" in keys else "",
            inconclusive=self.inconclusive(),
            guards=guards,
            **shared,
        )
        self.check_range(spec, nodes_of)
        return spec, keys["name"]

    def dtypes(self, graph: Graph) -> tuple[str, ...]:
        """Complex names for a case with complex numbers, whichever its author wrote."""
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
        node = self.keys["name"]
        if isinstance(node, Scalar) and isinstance(node.value, int | float):
            text = node.text  # `name: 2` is fine
        else:
            text = _text(node, "name")
        if text != text.strip() or not text.isprintable() or len(text) > 200:
            raise node.error("a name is one line of at most 200 printable characters, no white space around it")
        return text

    def inputs(self) -> tuple[dict[str, Node], dict[str, InputSpec]]:
        node = _mapping(self.keys["inputs"], "inputs")
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
        if isinstance(node, Scalar | Sequence):
            values = _array(node, key.text, None)
            return InputSpec(key.text, values.shape, _kind(values), values)
        assert isinstance(node, nodes.Mapping)
        keys = _Keys(node, INPUT, f"the input {key.text}")
        kind = KINDS[_choice(keys["dtype"], "dtype", INPUT_DTYPES)] if "dtype" in keys else None
        if "values" in keys:
            if "domain" in keys:
                raise keys["domain"].error("values or a domain to draw them from, not both")
            values = _array(keys["values"], key.text, kind)
            kind = kind or _kind(values)
            if "shape" in keys:
                values = _fitted(keys["values"], values, _shape(keys["shape"]), key.text)
            return InputSpec(key.text, values.shape, kind, values)
        if "shape" not in keys:
            raise node.error(f"the input {key.text} needs a shape, or values")
        shape = _shape(keys["shape"])
        if kind == "int":
            if "domain" not in keys:
                raise node.error(f"the integers {key.text} need values, or a domain [lo, hi] to draw them from")
            lo, hi = _bounds(keys["domain"], lambda item, what: _integer(item, what, -(2**52), 2**52))
            if lo > hi:
                raise keys["domain"].error(f"a domain is [lo, hi] with lo <= hi, not [{lo}, {hi}]")
            return InputSpec(key.text, shape, kind, bounds=(lo, hi))
        if "domain" in keys:
            if kind == "bool":
                raise keys["domain"].error("booleans have no domain")
            domain = _domain(keys["domain"])
            if domain.shape is not None and (len(shape) < 2 or shape[-1] != shape[-2]):
                raise keys["domain"].error(f"{key.text} is no square matrix: its shape is {list(shape)}")
            if domain.shape is not None and kind == "complex":
                raise keys["domain"].error(f"{key.text} is complex: this domain is of real matrices; state values")
            return InputSpec(key.text, shape, kind or "float", domain=domain)
        usual = self.domain if kind != "bool" else None
        if kind == "complex" and usual is not None and usual.shape is not None:
            usual = None
        return InputSpec(key.text, shape, kind or "float", domain=usual)

    def names(self, inputs: Mapping[str, InputSpec], cotangents: Mapping[str, tuple[Shape, Kind]] = {}) -> Names:
        """The inputs, the cotangents under their names in claims, and the bindings."""
        leaves: dict[str, tuple[Shape, Kind]] = {i.name: (i.shape, i.kind) for i in inputs.values()}
        names = Names(leaves | dict(cotangents))
        for key, value in self.bindings():
            problem = name_problem(key.text, inputs)
            if problem:
                raise key.error(problem)
            names.bind(key.text, _expression(value, f"let {key.text}"))
        return names

    def bindings(self) -> tuple[tuple[Scalar, Node], ...]:
        node = _mapping(self.keys.get("let"), "let")
        return node.entries if node else ()

    def definition(self, inputs: Mapping[str, InputSpec]) -> tuple[Graph, list[Scalar]]:
        names = self.names(inputs)
        scalars = _expressions(self.keys["expr"])
        outputs = []
        for scalar in scalars:
            k = names.parse(scalar)
            if names.builder.kind(k) not in ("float", "complex"):
                raise scalar.error(f"expr is {names.builder.kind(k)}: only floating-point results have gradients")
            outputs.append(k)
        return canonical(names.builder.graph(*outputs)), scalars

    def placed(
        self, graph: Graph, expr: Scalar, at: Mapping[str, Node], inputs: dict[str, InputSpec]
    ) -> tuple[dict[str, InputSpec], dict[str, int]]:
        """The inputs with a domain for each that has to be drawn and states none; and those left to an op's guard."""
        # An input of no entries has nothing to draw, so nothing to keep inside a domain.
        inputs = {
            n: replace(i, values=np.zeros(i.shape)) if i.kind == "float" and 0 in i.shape else i
            for n, i in inputs.items()
        }
        if is_complex(graph):  # intervals are of real numbers: nothing is derived
            usual = {n: replace(i, domain=i.domain or DOMAINS["nonzero"]) if i.values is None and i.kind == "float" else i
                     for n, i in inputs.items()}  # fmt: skip
            return usual, {}
        free = tuple(i.name for i in inputs.values() if i.kind == "float" and i.values is None and i.domain is None)
        known = {}
        for i in inputs.values():
            if i.domain is not None:
                known[i.name] = i.domain.parts
            elif i.values is not None and i.values.size and np.all(np.isfinite(i.values)):
                known[i.name] = (Interval(float(i.values.min()), float(i.values.max())),)
        chosen = derive(graph, known, free)
        if isinstance(chosen, int):
            node = graph.nodes[chosen]
            assert isinstance(node, Apply)
            first = next(name for name in free if _reaches(graph, graph.inputs[name], chosen))
            raise at[first].error(
                f"no usual domain of {first} keeps {node.op} inside its own: state `domain: [lo, hi]` or values"
            )
        guards: dict[str, int] = {}
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Apply) and OPS[node.op].guard is not None:
                for a in node.args:
                    leaf = graph.nodes[a]
                    if isinstance(leaf, Input) and leaf.name in free:
                        guards.setdefault(leaf.name, k)
        placed = {n: InputSpec(n, i.shape, i.kind, domain=DOMAINS[chosen[n]]) if n in chosen else i
                  for n, i in inputs.items()}  # fmt: skip
        return placed, guards

    def claims(self, graph: Graph, inputs: Mapping[str, InputSpec], wrt: tuple[str, ...]) -> dict[str, Graph]:
        node = _mapping(self.keys.get("grad"), "grad")
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
            scalar = _expression(value, f"grad {key.text}")
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
        outputs = [graph.nodes[o] for o in graph.outputs]
        if "cotangent" not in self.keys:
            return (None,) * len(outputs)
        node = self.keys["cotangent"]
        items = (node,) if len(outputs) == 1 else _sequence(node, "cotangent (of several outputs)")
        if len(items) != len(outputs):
            raise node.error(f"{len(items)} cotangents for {len(outputs)} outputs")
        return tuple(_fitted(n, _array(n, "cotangent", o.kind), o.shape, "cotangent") for n, o in zip(items, outputs))

    def wrt(self, inputs: Mapping[str, InputSpec]) -> tuple[str, ...]:
        if "wrt" not in self.keys:
            return tuple(i.name for i in inputs.values() if i.kind in ("float", "complex"))
        wanted = _texts(self.keys["wrt"], "wrt", nonempty=True)
        for item, name in zip(_sequence(self.keys["wrt"], "wrt"), wanted):
            if name not in inputs:
                raise item.error(f"unknown input {shortened(name)!r}{did_you_mean(name, inputs)}")
            if inputs[name].kind not in ("float", "complex"):
                raise item.error(f"{name} is {inputs[name].kind}: it is not differentiated")
        return wanted

    def function(self) -> str | None:
        if "call" not in self.keys:
            return None
        text = _text(self.keys["call"], "call")
        if not re.match(CASE["call"].schema["pattern"], text) or text.endswith("\n"):
            raise self.keys["call"].error(f"call is `package.module:function`, not {shortened(text)!r}")
        return text

    def inconclusive(self) -> dict[str, str]:
        node = self.keys.get("inconclusive")
        if node is None:
            return {}
        if isinstance(node, nodes.Mapping):
            if not node.entries:
                raise node.error("inconclusive is an empty mapping")
            return {key.text: _text(value, f"inconclusive {key.text}") for key, value in node.entries}
        return {"*": _text(node, "inconclusive")}

    def check_range(self, spec: CaseSpec, at: Mapping[str, Node]) -> None:
        """A finite literal must stay finite in every dtype of the case."""
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


def _reaches(graph: Graph, source: int, target: int) -> bool:
    seen = {source}
    for k, node in enumerate(graph.nodes[: target + 1]):
        if isinstance(node, Apply) and not seen.isdisjoint(node.args):
            seen.add(k)
    return target in seen


def _without(graph: Graph, names: set[str]) -> Graph:
    """The graph without inputs that nothing uses."""
    keep = [k for k, n in enumerate(graph.nodes) if not (isinstance(n, Input) and n.name in names)]
    new = {old: k for k, old in enumerate(keep)}
    moved = [
        Apply(n.op, tuple(new[a] for a in n.args), n.params, n.shape, n.kind) if isinstance(n, Apply) else n
        for n in (graph.nodes[k] for k in keep)
    ]
    return Graph(tuple(moved), tuple(new[o] for o in graph.outputs))


__all__ = ["CaseSpec", "Document", "InputSpec", "SpecError", "load", "loads"]
