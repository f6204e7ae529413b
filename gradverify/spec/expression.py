"""Expressions → graphs. Parsed by Python's `ast` behind an allow-list of tokens and nodes; nothing is ever evaluated.

The language: names of inputs and bindings, numbers (`2j` and `1 - 2j` are complex ones), nested list literals,
`pi e inf nan`, the operators
``+ - * / ** @``, comparisons (also chained), ``& | ~`` on masks, subscripts with integers, slices, None and `...`,
and calls of the ops in the op table. Positional arguments past an op's arity are its parameters, in table order;
keyword arguments are parameters. Parameters are literals.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core.errors import ShapeError, SpecError, did_you_mean
from ..core.graph import Apply, Constant, Graph, Input, Node
from ..core.interval import Interval
from ..core.op import VARIADIC, Kind, OpSpec, Shape
from ..ops import OPS
from ..ops.build import too_large
from ..ops.complex.lowering import COMPLEX, ComplexBuilder, spec_of
from .nodes import Scalar

MAX_CHARACTERS = 20_000
"""Of one expression. Longer graphs are written with `let`."""

MAX_DEPTH = 80
"""Of nested calls and operators: three interpreter frames each, well under Python's default limit of 1000."""

MAX_NODES = 5_000
"""Of one case's graph."""

MAX_INTEGER = 2**63 - 1
"""Integers are int64."""

MAX_EXPONENT = 1_000
"""Magnitude of an exponent that depends on no input: more than this takes 10 out of the range of every dtype."""

MAX_ELEMENTS = 1 << 24
"""Of one input or one node: 128 MiB in float64."""

CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}

BINARY: Mapping[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "pow",
    ast.MatMult: "matmul",
    ast.BitAnd: "logical_and",
    ast.BitOr: "logical_or",
}
COMPARE: Mapping[type[ast.AST], str] = {
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}

# What other languages write, and what to write here.
INSTEAD: Mapping[str, str] = {
    "and": "write & (logical_and)",
    "or": "write | (logical_or)",
    "not": "write ~ (logical_not)",
    "if": "write where(mask, x, y)",
    "else": "write where(mask, x, y)",
    "lambda": "bind names with `let:`",
    ":=": "bind names with `let:`",
    "=": "bind names with `let:`, compare with ==",
    "^": "powers are written **",
    "//": "write floor(x / y)",
    "#": "comments go into YAML, or into `note:`",
    ".": "there are no attributes; ops are called by name, as in sum(x)",
    "!": "write ~ (logical_not)",
    ";": "bind names with `let:`",
}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?j?)(?![\w.])
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)(?!['"\w])
      | (?P<string>'[ -&(-\[\]-~]*'|"[ !#-\[\]-~]*")
      | (?P<op>\.\.\.|\*\*|<=|>=|==|!=|:=|//|[-+*/@()\[\],:=<>&|~])
      | (?P<other>[0-9][\w.]*|\w+|.)""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset(keyword.kwlist) - {"None", "True", "False"}
_OPENING, _CLOSING = {"(": ")", "[": "]"}, {")", "]"}

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def name_problem(name: str, taken: Iterable[str] = ()) -> str | None:
    """Why `name` cannot name an input or a binding; None where it can."""
    if not IDENTIFIER.match(name):
        return f"{name!r} is no name: letters, digits and _ only, not a digit first"
    if name in _KEYWORDS or name in ("None", "True", "False"):
        return f"{name!r} is a word of Python: take another name"
    if name in CONSTANTS:
        return f"{name!r} is a constant of the language: take another name"
    if re.match(r"g\d*\Z", name):
        return f"{name!r} stands for the cotangent in claims: take another name"
    if name in taken:
        return f"{name!r} stands twice"
    return None


class Names:
    """Named nodes of one graph under construction: the inputs, then the bindings; expressions are parsed against it."""

    def __init__(self, inputs: Mapping[str, tuple[Shape, Kind]]) -> None:
        self.builder = ComplexBuilder()
        self.known: dict[str, int] = {name: self.builder.input(name, *of) for name, of in inputs.items()}
        self._dependent: list[bool] = []
        self._images: list[Interval] = []

    def bind(self, name: str, scalar: Scalar) -> None:
        self.known[name] = self.parse(scalar)

    def parse(self, scalar: Scalar) -> int:
        """Append the nodes of an expression. Raises SpecError at the offending token."""
        return _Parser(self, scalar).parse()

    def depends_on_input(self, k: int) -> bool:
        """Does the value of node k depend on an input?"""
        for i in range(len(self._dependent), k + 1):  # arguments come before their ops: no recursion, each node once
            node = self.builder.nodes[i]
            args = node.args if isinstance(node, Apply) else ()
            self._dependent.append(isinstance(node, Input) or any(self._dependent[a] for a in args))
        return self._dependent[k]

    def image(self, k: int) -> Interval:
        """Where the value of a node lies that depends on no input."""
        for i in range(len(self._images), k + 1):
            self._images.append(self._image(i))
        return self._images[k]

    def _image(self, k: int) -> Interval:
        """The image of a node from those of its arguments."""
        node = self.builder.nodes[k]
        if isinstance(node, Constant):
            return hull(node.value)
        if not isinstance(node, Apply) or self.depends_on_input(k):
            return Interval()
        images = [self._images[a] for a in node.args]
        shapes = tuple(self.builder.shape(a) for a in node.args)
        try:
            return spec_of(node.op).image(*images, shapes=shapes, **dict(node.params))
        except (ArithmeticError, ValueError):
            return Interval()


def hull(value: Any) -> Interval:
    """The smallest interval around a literal's numbers; all reals where it has none or a NaN."""
    if isinstance(value, tuple):
        parts = [hull(v) for v in value]
        return Interval(min(p.lo for p in parts), max(p.hi for p in parts)) if parts else Interval()
    if isinstance(value, complex):
        return hull(abs(value))
    return Interval() if math.isnan(value) else Interval(float(value), float(value))


class _Parser:
    """One expression. `build` returns node indices; every error points at a token."""

    def __init__(self, names: Names, scalar: Scalar) -> None:
        self.names, self.builder, self.scalar = names, names.builder, scalar
        # Line breaks of a block scalar are white space; one character stays one character.
        self.text = re.sub(r"\s", " ", scalar.text)
        self.shift = len(self.text) - len(self.text.lstrip())  # what Python would call indentation

    def error(self, at: int | ast.AST, message: str) -> SpecError:
        index = at if isinstance(at, int) else at.col_offset + self.shift  # type: ignore[attr-defined]
        return self.scalar.source.error(self.scalar.position(index), message)

    def parse(self) -> int:
        if len(self.text) > MAX_CHARACTERS:
            raise self.error(0, f"an expression of {len(self.text)} characters; at most {MAX_CHARACTERS}: use `let:`")
        self.check_tokens()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # `1(x)`: an error below
                tree = ast.parse(self.text[self.shift :], mode="eval").body
        except SyntaxError as e:
            at = e.offset - 1 + self.shift if e.offset else len(self.text)  # 0: at the end
            raise self.misplaced(at) from None
        except (RecursionError, MemoryError):
            raise self.error(0, f"nested more than {MAX_DEPTH} deep: use `let:`") from None
        if isinstance(tree, ast.Tuple):
            raise self.error(0, "one expression, not several: `expr:` takes a list of expressions")
        self.check_depth(tree)
        return self.build(tree)

    # Before Python sees the text: only tokens of the language, brackets that match, integers that fit.
    def check_tokens(self) -> None:
        brackets: list[tuple[str, int]] = []
        empty = True
        for match in _TOKEN.finditer(self.text):
            token, at, kind = match.group(), match.start(), match.lastgroup
            if kind == "space":
                continue
            empty = False
            self.check_token(token, at, kind)
            if token in _OPENING:
                brackets.append((_OPENING[token], at))
                if len(brackets) > MAX_DEPTH:
                    raise self.error(at, f"nested more than {MAX_DEPTH} deep: use `let:`")
            elif token in _CLOSING and (not brackets or brackets.pop()[0] != token):
                raise self.error(at, f"{token!r} closes nothing")
        if brackets:
            closing, at = brackets[-1]
            raise self.error(at, f"{self.text[at]!r} is never closed: {closing!r} is missing")
        if empty:
            raise self.scalar.error("an empty expression")

    def check_token(self, token: str, at: int, kind: str | None) -> None:
        if kind == "other" and token[0].isascii() and token[0].isdigit():
            raise self.error(at, f"{token!r} is not a number")
        if kind == "other" or token in _KEYWORDS or token in (":=", "//"):
            what = INSTEAD.get(token)
            raise self.error(at, f"{token!r} is not part of the language" + (f"; {what}" if what else ""))
        if kind == "number":
            if token.isdigit() and (len(token) > 19 or int(token) > MAX_INTEGER):
                raise self.error(at, f"the integer {shortened(token)} does not fit 64 bits")
            if not math.isfinite(float(token.removesuffix("j"))):
                raise self.error(at, f"{shortened(token)} is larger than any double; write inf")

    def misplaced(self, index: int) -> SpecError:
        """The error about the token at `index`, in words that do not depend on Python's version."""
        for match in _TOKEN.finditer(self.text):
            if match.end() > index and match.lastgroup != "space":
                return self.error(match.start(), f"not an expression: {match.group()!r} is out of place")
        end = len(self.text.rstrip())
        return self.error(end, "not an expression: something is missing at the end")

    def check_depth(self, tree: ast.AST) -> None:
        level: list[ast.AST] = [tree]
        for _ in range(MAX_DEPTH):
            level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            if not level:
                return
        raise self.error(level[0], f"nested more than {MAX_DEPTH} deep: use `let:`")

    # From here on the tree is small, shallow and made of known tokens.
    def build(self, node: ast.AST, wanted: Kind = "float") -> int:
        if self.is_literal(node):
            return self.constant(node, wanted)
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self.apply(node, "negative", [self.build(node.operand)])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
            return self.build(node.operand, wanted)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            return self.apply(node, "logical_not", [self.build(node.operand, "bool")])
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            return self.binary(node)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Subscript):
            return self.subscript(node)
        if isinstance(node, ast.List):
            raise self.error(node, "a list literal holds numbers only; arrays are put together by stack([x, y])")
        if isinstance(node, ast.Tuple):
            raise self.error(node, "a tuple is no array; arrays are put together by stack([x, y])")
        if isinstance(node, ast.Constant):
            raise self.error(node, f"{shown(node.value)} is a parameter, not an array")
        raise self.error(node, f"{type(node).__name__.lower()} is not part of the language")

    def name(self, node: ast.Name) -> int:
        if node.id in self.names.known:
            return self.names.known[node.id]
        if node.id in OPS or node.id in COMPLEX:
            raise self.error(node, f"{node.id} is an op, not an array: call it, {spec_of(node.id).example}")
        known = ", ".join(list(self.names.known)[:20]) or "none"
        guess = did_you_mean(node.id, [*self.names.known, *CONSTANTS])
        raise self.error(node, f"unknown name {shortened(node.id)!r}{guess or f' (the names here are: {known})'}")

    def binary(self, node: ast.BinOp) -> int:
        op = BINARY[type(node.op)]
        wanted: Kind = "bool" if op.startswith("logical") else "float"
        left, right = self.build(node.left, wanted), self.build(node.right, wanted)
        at = self.operator(node.left.end_col_offset)
        if op == "pow":
            self.check_exponent(right, node.right)
        return self.apply(at, op, [left, right])

    def check_exponent(self, k: int, node: ast.AST) -> None:
        if self.names.depends_on_input(k):
            return
        if self.names.image(k).magnitude > MAX_EXPONENT:
            raise self.error(node, f"an exponent without inputs must lie in [-{MAX_EXPONENT}, {MAX_EXPONENT}]")

    def comparison(self, node: ast.Compare) -> int:
        operands = [node.left, *node.comparators]
        built = [self.build(n) for n in operands]
        masks = []
        for i, op in enumerate(node.ops):
            at = self.operator(operands[i].end_col_offset)
            if type(op) not in COMPARE:
                raise self.error(at, "compare with < <= > >= == !=")
            masks.append(self.apply(at, COMPARE[type(op)], [built[i], built[i + 1]]))
        whole = masks[0]
        for mask in masks[1:]:
            whole = self.apply(node, "logical_and", [whole, mask])
        return whole

    def operator(self, after: int | None) -> int:
        """Where the operator stands that follows an operand."""
        index = (after or 0) + self.shift
        while index < len(self.text) - 1 and self.text[index] in " )":
            index += 1
        return index

    def call(self, node: ast.Call) -> int:
        if not isinstance(node.func, ast.Name):
            raise self.error(node.func, "only ops are called, by their names")
        op = node.func.id
        if op not in OPS and op not in COMPLEX:
            raise self.error(node.func, self.unknown_op(op))
        spec = spec_of(op)
        arrays, positional = split_arguments(spec, node.args)
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise self.error(argument, "'*' unpacks nothing here")
        if len(positional) > len(spec.params):
            extra = positional[len(spec.params)]
            takes = f"{spec.arity} array{'s' * (spec.arity != 1)}" if spec.arity != VARIADIC else "arrays"
            named = ", ".join(spec.params)
            rest = f"the parameters {named}" if named else "no parameters"
            raise self.error(extra, f"{op} takes {takes} and {rest}")
        params: dict[str, Any] = {}
        for name, value in zip(spec.params, positional):
            params[name] = self.parameter(value, op, name)
        for given in node.keywords:
            self.named(given, op, spec, params)
        args = [self.build(a, spec.argument(i)) for i, a in enumerate(arrays)]
        if op == "pow" and len(args) == 2:
            self.check_exponent(args[1], arrays[1])
        return self.apply(node.func, op, args, params)

    def named(self, given: ast.keyword, op: str, spec: OpSpec, params: dict[str, Any]) -> None:
        if given.arg is None:
            raise self.error(given, "'**' unpacks nothing here")
        if given.arg not in spec.params:
            known = ", ".join(spec.params) or "none"
            guess = did_you_mean(given.arg, spec.params) or f" (it has: {known})"
            raise self.error(given, f"{op} has no parameter {shortened(given.arg)!r}{guess}")
        if given.arg in params:
            raise self.error(given, f"{op}: {given.arg} is given twice")
        params[given.arg] = self.parameter(given.value, op, given.arg)

    def unknown_op(self, op: str) -> str:
        if op in self.names.known:
            return f"{op} is an array, not an op"
        known = [*OPS, *COMPLEX]
        called = {a: n for n in known for a in spec_of(n).aliases}
        if op in called:
            return f"unknown op {op!r}; here it is called {called[op]!r}"
        return f"unknown op {shortened(op)!r}{did_you_mean(op, known) or did_you_mean(op, called)}"

    def subscript(self, node: ast.Subscript) -> int:
        value = self.build(node.value)
        entries = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        at = self.operator(node.value.end_col_offset)
        return self.apply(at, "getitem", [value], {"index": tuple(self.index_entry(e) for e in entries)})

    def index_entry(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Slice):
            return tuple(None if part is None else self.integer(part) for part in (node.lower, node.upper, node.step))
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, ast.Constant) and node.value is ...:
            return "..."
        return self.integer(node)

    def integer(self, node: ast.AST) -> int:
        value = self.literal(node) if self.is_literal(node) else None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(node, "an index is made of integers, slices, None and ...; arrays index through take")
        return value

    def apply(self, at: int | ast.AST, op: str, args: list[int], params: Mapping[str, Any] = {}) -> int:
        if op not in OPS and op not in COMPLEX:
            raise self.error(at, f"the op table has no {op!r}")
        if len(self.builder.nodes) >= MAX_NODES:
            raise self.error(at, f"a graph of more than {MAX_NODES} nodes")
        try:
            k = self.builder.apply(op, *args, **params)
        except ShapeError as e:
            raise self.error(at, str(e)) from None
        except (TypeError, ValueError, LookupError, ArithmeticError) as e:
            # A shape rule that meets parameters it did not foresee: still the author's text that is wrong.
            raise self.error(at, f"{op}: {e}") from None
        why_not = too_large(self.builder.shape(k), MAX_ELEMENTS)
        if why_not:
            raise self.error(at, f"{op} makes {why_not}")
        return k

    # Literals.
    def is_literal(self, node: ast.AST) -> bool:
        """A number, a boolean, or (nested lists) of them; signs included, and sums of a real and an imaginary number."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, bool | int | float | complex)
        if isinstance(node, ast.Name):
            return node.id in CONSTANTS and node.id not in self.names.known
        if isinstance(node, ast.UnaryOp):
            signed = isinstance(node.op, ast.USub | ast.UAdd) and self.is_literal(node.operand)
            return signed and type(self.literal(node.operand)) in (int, float, complex)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            parts = self.is_literal(node.left) and isinstance(node.right, ast.Constant)
            return parts and self.imaginary(node.right) and type(self.literal(node.left)) in (int, float)
        return isinstance(node, ast.List) and all(map(self.is_literal, node.elts))

    def literal(self, node: ast.AST) -> Any:
        """The value of a node for which `is_literal` holds; lists become tuples."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return CONSTANTS[node.id]
        if isinstance(node, ast.UnaryOp):
            value = self.literal(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):  # by the parts: a sum would lose the sign of a zero
            imag = self.literal(node.right).imag
            return complex(self.literal(node.left), imag if isinstance(node.op, ast.Add) else -imag)
        assert isinstance(node, ast.List)
        return tuple(self.literal(e) for e in node.elts)

    @staticmethod
    def imaginary(node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and isinstance(node.value, complex)

    def constant(self, node: ast.AST, wanted: Kind) -> int:
        value = self.literal(node)
        leaves = list(flat(value))
        booleans = sum(isinstance(v, bool) for v in leaves)
        if 0 < booleans < len(leaves):
            raise self.error(node, "a literal of booleans and numbers mixed")
        kind: Kind = "bool" if booleans else wanted if wanted == "int" else "float"
        if any(isinstance(v, complex) for v in leaves):
            kind, value = "complex", _complex(value)
        if kind == "int" and not all(isinstance(v, int) for v in leaves):
            raise self.error(node, "integers are wanted here")
        if len(self.builder.nodes) >= MAX_NODES:
            raise self.error(node, f"a graph of more than {MAX_NODES} nodes")
        try:
            return self.builder.constant(value, kind)
        except ShapeError as e:
            raise self.error(node, str(e)) from None

    def parameter(self, node: ast.AST, op: str, name: str) -> Any:
        """A parameter's value as plain data: numbers, strings, None, nested tuples of them; `...` as "..."."""
        if self.is_literal(node):
            return self.literal(node)
        if isinstance(node, ast.Constant):
            return "..." if node.value is ... else node.value
        if isinstance(node, ast.List | ast.Tuple):
            return tuple(self.parameter(e, op, name) for e in node.elts)
        raise self.error(node, f"{op}: the parameter {name} takes a literal, not an expression")


def split_arguments(spec: OpSpec, args: list[ast.expr]) -> tuple[list[ast.expr], list[ast.expr]]:
    """The array arguments of a call, and the positional parameters."""
    if spec.arity != VARIADIC:
        return args[: spec.arity], args[spec.arity :]
    if args and isinstance(args[0], ast.List | ast.Tuple):  # concat([x, y], 0)
        return list(args[0].elts), args[1:]
    if args and isinstance(args[0], ast.Constant) and isinstance(args[0].value, str):  # einsum("ij,j->i", x, y)
        return args[1:], args[:1]
    return args, []


def _complex(value: Any) -> Any:
    """All of a literal's numbers as complex ones."""
    return tuple(map(_complex, value)) if isinstance(value, tuple) else complex(value)


def flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for v in value:
            yield from flat(v)
    else:
        yield value


def shortened(text: str) -> str:
    """For messages: long text loses its middle."""
    return text if len(text) <= 40 else f"{text[:20]}...{text[-10:]}"


def shown(value: Any) -> str:
    return shortened(repr(value))


def canonical(graph: Graph) -> Graph:
    """The same graph with its nodes in the order that a spec file gives them.

    Inputs first; then the ops in their order, each right after those of its constants that were not there yet; equal
    constants are one, a number where an op wants a float is of kind "float"; what no output needs is gone, inputs
    excepted. Every graph out of a spec is in this form, so graphs that mean the same compare equal.
    """
    builder = ComplexBuilder()
    new: dict[int, int] = {}

    def constant(node: Constant, wanted: Kind) -> int:
        number = wanted in ("float", "complex")
        return builder.constant(node.value, "float" if node.kind == "int" and number else node.kind)

    for k, node in enumerate(graph.nodes):
        if isinstance(node, Input):
            new[k] = builder.input(node.name, node.shape, node.kind)
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Apply) or k not in graph.active:
            continue
        spec, args = spec_of(node.op), []
        for i, a in enumerate(node.args):
            leaf: Node = graph.nodes[a]
            args.append(constant(leaf, spec.argument(i)) if isinstance(leaf, Constant) else new[a])
        new[k] = builder.apply(node.op, *args, **dict(node.params))
    for o in graph.outputs:
        leaf = graph.nodes[o]
        if isinstance(leaf, Constant):
            new[o] = constant(leaf, "float")
    return builder.graph(*(new[o] for o in graph.outputs))


def parse(
    text: str,
    inputs: Mapping[str, tuple[Shape, Kind]],
    let: Mapping[str, str] | None = None,
    file: str = "<expression>",
) -> Graph:
    """The graph of one expression over `inputs` (name -> shape and kind). Raises SpecError."""
    names = Names(inputs)
    for name, bound in (let or {}).items():
        problem = name_problem(name, names.known)
        scalar = Scalar.of(bound, file)
        if problem:
            raise scalar.error(problem)
        names.bind(name, scalar)
    return canonical(names.builder.graph(names.parse(Scalar.of(text, file))))
