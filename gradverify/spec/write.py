"""Cases → spec files: the paste-able form of a reproduction. What is written reads back as the same graph and values.

`loads(dumps(case)).cases[0].case(case.dtype)` has `canonical(case.graph)` and bit-equal values and cotangents. Names
that the language does not allow are changed (`layer.weight` → `layer_weight`), and what a claim shares between several
of its ops is computed once for each use.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import Unsupported
from ..core.graph import Apply, Constant, Graph, Input
from ..core.imports import parsed
from ..core.op import VARIADIC
from ..namespaces.dtypes import complex_name, is_float, to_float64
from ..ops.complex.lowering import is_complex, spec_of
from .expression import BINARY, COMPARE, MAX_CHARACTERS, canonical, name_problem
from .keys import VERSION
from .nodes import resolve

MAX_VALUES = 50_000
"""Numbers in one written file: about what `nodes.MAX_CHARACTERS` leaves room for, at 20 characters each."""

LINE = 72
"""Expressions longer than this are split by `let`."""

NESTED = 8
"""And so are deeper ones."""


@dataclass(frozen=True)
class _Text:
    """An expression: how tightly its outermost operator binds, and how deep it is."""

    text: str
    binds: int = 9
    depth: int = 0

    def within(self, binds: int) -> str:
        return self.text if self.binds >= binds else f"({self.text})"


# Python's precedence, from loose to tight; both operands must bind at least that tightly.
_OPERATORS: Mapping[str, tuple[str, int, int, int]] = {
    **{op: (s, 2, 3, 3) for op, s in zip(COMPARE.values(), ("<", "<=", ">", ">=", "==", "!="))},
    "logical_or": ("|", 3, 3, 4),
    "logical_and": ("&", 4, 4, 5),
    "add": ("+", 5, 5, 6),
    "subtract": ("-", 5, 5, 6),
    "multiply": ("*", 6, 6, 7),
    "divide": ("/", 6, 6, 7),
    "matmul": ("@", 6, 6, 7),
    "pow": ("**", 8, 9, 7),
}
assert set(_OPERATORS) == {*COMPARE.values(), *BINARY.values()}


class _Printer:
    """Prints a canonical graph as bindings and one expression per output.

    Reading these appends the ops in the same order.

    Ops that are used once stay pending until their consumer comes; they go into its text if they are the last ones
    pending, in the order of its arguments, and into `let` otherwise: then reading the text meets them in that order
    (the way WebAssembly compilers turn registers into a stack program).
    """

    def __init__(self, graph: Graph, names: Mapping[str, str]) -> None:
        self.graph, self.taken = graph, set(names.values())
        self.let: dict[str, str] = {}
        self.pending: list[int] = []
        self.texts: dict[int, _Text] = {}
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Input):
                self.texts[k] = _Text(names[node.name])
            elif isinstance(node, Constant):
                self.texts[k] = literal(node.value)
        uses = [a for n in graph.nodes if isinstance(n, Apply) for a in n.args] + list(graph.outputs)
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Apply):
                self.consume(list(node.args))
                text = call(node, [self.texts[a] for a in node.args])
                if len(text.text) > LINE or text.depth > NESTED:
                    self.flush()
                    text = call(node, [self.texts[a] for a in node.args])
                self.pending = [p for p in self.pending if p not in node.args]
                self.texts[k] = text
                self.pending.append(k)
                if uses.count(k) > 1:
                    self.flush()
        self.consume(list(graph.outputs), last=True)
        self.outputs = [self.texts[o].text for o in graph.outputs]

    def consume(self, args: list[int], last: bool = False) -> None:
        """Bind the pending ops unless they can stand inside a text with these arguments."""
        inside = [a for a in args if a in self.pending]
        tail = self.pending[len(self.pending) - len(inside) :]
        if inside != tail or (last and len(inside) < len(self.pending)):
            self.flush()

    def flush(self) -> None:
        for k in self.pending:
            name = next(
                n for i in range(1, len(self.graph.nodes) + len(self.taken) + 2) if (n := f"t{i}") not in self.taken
            )
            self.taken.add(name)
            self.let[name] = self.texts[k].text
            self.texts[k] = _Text(name)
        self.pending = []


def call(node: Apply, args: Sequence[_Text]) -> _Text:
    """One op applied to texts."""
    spec = spec_of(node.op)
    depth = 1 + max((a.depth for a in args), default=0)
    params = dict(node.params)
    if node.op in _OPERATORS and not params:
        symbol, binds, left, right = _OPERATORS[node.op]
        return _Text(f"{args[0].within(left)} {symbol} {args[1].within(right)}", binds, depth)
    if node.op == "negative" and not isinstance(resolve(args[0].text), int | float) and args[0].binds != 7:
        return _Text(f"-{args[0].within(8)}", 7, depth)
    if node.op == "getitem":
        return _Text(f"{args[0].within(9)}[{index(params['index'])}]", 9, depth)
    written = [a.text for a in args]
    if spec.arity == VARIADIC and node.op != "einsum":
        written = [f"[{', '.join(written)}]"]
    elif node.op == "einsum":
        written = [value(params.pop(next(iter(spec.params)))), *written]
    for name, given in params.items():
        declared = spec.params[name]
        if declared.required or not _same(declared.default, given):
            written.append(f"{name}={value(given)}")
    return _Text(f"{node.op}({', '.join(written)})", 9, depth)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def index(entries: Any) -> str:
    """The text between the brackets of x[...]."""
    entries = entries if isinstance(entries, tuple) else (entries,)

    def one(entry: Any) -> str:
        if isinstance(entry, tuple):
            start, stop, step = ("" if v is None else str(v) for v in entry)
            return f"{start}:{stop}" + (f":{step}" if step else "")
        return "..." if entry == "..." else str(entry)

    return ", ".join(map(one, entries)) or "()"


def value(v: Any) -> str:
    """A parameter."""
    if isinstance(v, tuple):
        return f"({', '.join(map(value, v))}{',' * (len(v) == 1)})"
    if isinstance(v, str):
        return f'"{v}"' if v != "..." else "..."
    return number(v).text if isinstance(v, float) else repr(v)


def literal(v: Any) -> _Text:
    """A constant: a number, or nested tuples of numbers as nested lists."""
    if isinstance(v, tuple):
        return _Text(f"[{', '.join(literal(e).text for e in v)}]")
    return number(v)


def number(v: Any) -> _Text:
    if isinstance(v, complex):
        if not (math.isfinite(v.real) and math.isfinite(v.imag)):
            raise Unsupported(f"the complex literal {v} cannot be written in an expression")
        return _Text(_complex(v), 5)
    text = repr(float(v) if isinstance(v, np.floating) else v)
    return _Text(text, 7 if text.startswith("-") else 9)


def _renamed(names: Iterable[str]) -> dict[str, str]:
    """Names that the language allows, all different."""
    new: dict[str, str] = {}
    for name in names:
        candidate = re.sub(r"[^A-Za-z0-9_]", "_", name)
        candidate = candidate if candidate and not candidate[0].isdigit() else f"x{candidate}"
        while name_problem(candidate, new.values()):
            candidate += "_"
        new[name] = candidate
    return new


# YAML.


def scalar(text: str, flow: bool = False) -> str:
    """Text as a YAML scalar that reads back as that text: plain where that is safe (in a flow list, less is)."""
    safe = r"[A-Za-z0-9_.-]+\Z" if flow else r"(-?[A-Za-z0-9_(])[ -~]*\Z"
    if (
        re.match(safe, text)
        and not re.search(r":( |\Z)| #|\s\Z|\A(\.|-[0-9 ]|-\Z)", text)
        and isinstance(resolve(text), str)
    ):
        return text
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}

    def escaped(c: str) -> str:
        if c in escapes:
            return escapes[c]
        if c.isprintable() and c != "\ufeff":
            return c
        n = ord(c)
        return f"\\x{n:02x}" if n < 0x100 else f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}"

    return '"' + "".join(map(escaped, text)) + '"'


def _complex(v: complex) -> str:
    """1.5-2.0j: both parts, whatever they are, so that the signs of zeros are kept."""

    def part(x: float) -> str:
        return ".nan" if math.isnan(x) else ".inf" if math.isinf(x) else repr(abs(x))

    signs = ["-" if math.copysign(1.0, x) < 0 else "" for x in (v.real, v.imag)]
    return f"{signs[0]}{part(v.real)}{signs[1] or '+'}{part(v.imag)}j"


def _item(v: Any) -> str:
    if isinstance(v, np.complexfloating | complex):
        return _complex(complex(v))
    if isinstance(v, np.bool_ | bool):
        return "true" if v else "false"
    if isinstance(v, np.integer | int):
        return str(int(v))
    v = float(v)
    if math.isnan(v):
        return ".nan"
    return repr(v) if math.isfinite(v) else ".inf" if v > 0 else "-.inf"


def _flow(a: np.ndarray) -> str:
    return _item(a[()]) if a.ndim == 0 else f"[{', '.join(map(_flow, map(np.asarray, a)))}]"


def array(a: np.ndarray, indent: int) -> str:
    """An array's values as the text after a key; each row of a matrix stands on a line of its own."""
    # By way of float64, which holds every float dtype exactly.
    a = to_float64(a) if is_float(a) else a
    if a.ndim < 2 or a.size == 0:
        return f" {_flow(a)}"
    return "".join(f"\n{' ' * indent}- {_flow(row)}" for row in a)


def _input(name: str, a: np.ndarray, kind: str) -> list[str]:
    head = f"      {name}:"
    if a.size == 0 and a.shape != (0,):
        dtypes = {"int": ", dtype: int64, values: []", "bool": ", dtype: bool", "complex": ", dtype: complex"}
        dtype = dtypes.get(kind, "")
        return [f"{head} {{shape: {list(a.shape)}{dtype}}}"]
    if kind in ("float", "complex") or (kind == "bool" and a.size):
        return [head + array(a, 8)]
    return [head, f"        dtype: {'int64' if kind == 'int' else 'bool'}", "        values:" + array(a, 10)]


def dumps(
    case: Case,
    *,
    subjects: Sequence[str] = (),
    note: str = "",
) -> str:
    """A spec file with this one case. Raises Unsupported where it is too large for a file that people read."""
    graph = canonical(case.graph)
    size = sum(np.size(v) for v in case.values.values()) + sum(np.size(g) for g in case.cotangent)
    if size > MAX_VALUES:
        raise Unsupported(f"{size} numbers are too many for a spec file; at most {MAX_VALUES} are written")
    names = _renamed(graph.inputs)
    printed = _Printer(graph, names)
    lines = [f"gradverify: {VERSION}", "cases:", f"  - name: {scalar(_title(case.name))}"]
    if note:
        lines.append(f"    note: {scalar(note)}")
    if printed.let:
        lines += ["    let:", *(f"      {name}: {scalar(text)}" for name, text in printed.let.items())]
    if len(printed.outputs) == 1:
        lines.append(f"    expr: {scalar(printed.outputs[0])}")
    else:
        lines += ["    expr:", *(f"      - {scalar(text)}" for text in printed.outputs)]
    lines.append("    inputs:" if names else "    inputs: {}")
    for node in graph.nodes:
        if isinstance(node, Input):
            lines += _input(names[node.name], np.asarray(case.values[node.name]), node.kind)
    if case.claims:
        lines += ["    grad:", *(f"      {names[x]}: {scalar(_claim(c, names))}" for x, c in case.claims.items())]
    if len(case.cotangent) == 1:
        if case.cotangent[0].size:
            lines.append("    cotangent:" + array(np.asarray(case.cotangent[0]), 6))
    else:
        given = (np.asarray(g) if np.iscomplexobj(g) else to_float64(g) for g in case.cotangent)
        lines += ["    cotangent:", *(f"      - {_flow(g)}" for g in given)]
    floats = tuple(n.name for n in graph.nodes if isinstance(n, Input) and n.kind in ("float", "complex"))
    if tuple(case.wrt) != floats and case.wrt:
        lines.append(f"    wrt: [{', '.join(names[x] for x in case.wrt)}]")
    if case.function is not None:
        call = parsed(case.function)
        lines.append(f"    call: {scalar(call.renamed(lambda name: names.get(name, name)))}")
    if case.vjp is not None:
        lines.append(f"    vjp: {scalar(case.vjp)}")
    if case.expect != "pass":
        lines.append(f"    expect: {case.expect}")
    if case.invariants:
        lines.append(f"    invariants: [{', '.join(scalar(i, flow=True) for i in case.invariants)}]")
    if subjects:
        lines.append(f"    subjects: [{', '.join(scalar(i, flow=True) for i in subjects)}]")
    lines.append(f"    dtypes: [{complex_name(case.dtype) if is_complex(graph) else case.dtype}]")
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    """A case's name as the format allows it."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return " ".join(printable.split())[:200].strip() or "case"


def _claim(graph: Graph, names: Mapping[str, str]) -> str:
    """A claim has no bindings of its own: what it shares stands in it once for each use."""
    texts: list[_Text] = []
    for node in graph.nodes:
        if isinstance(node, Input):
            texts.append(_Text(names.get(node.name, node.name)))
        elif isinstance(node, Constant):
            texts.append(literal(node.value))
        else:
            texts.append(call(node, [texts[a] for a in node.args]))
            if len(texts[-1].text) > MAX_CHARACTERS:
                raise Unsupported("a claim too long for a spec file")
    return texts[graph.outputs[0]].text
