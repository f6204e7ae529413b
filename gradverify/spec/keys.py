"""The keys of a spec file, each declared once: the reader's allow-lists, the JSON Schema and the table in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

VERSION = 1
REAL_DTYPES = ("float16", "bfloat16", "float32", "float64")
COMPLEX_DTYPES = ("complex64", "complex128")
DTYPES = REAL_DTYPES + COMPLEX_DTYPES
DEFAULT_DTYPES = ("float32", "float64")
INPUT_DTYPES = ("float", "complex", "int64", "bool")
EXPECTATIONS = ("pass", "fail", "raises")

# How the parts below are called in the schema's `$defs`.
_ref = lambda name: {"$ref": f"#/$defs/{name}"}
_text = {"type": "string", "minLength": 1}
_texts = {"type": "array", "items": _text}
_expression = {"type": ["string", "number"]}


@dataclass(frozen=True)
class Key:
    """A key: what it means, and its JSON Schema (draft 2020-12) without the description."""

    doc: str
    schema: Mapping[str, Any]
    required: bool = False


TAG = "^[A-Za-z][A-Za-z0-9_.-]*$"
"""A tag, as `-m` can be asked for it."""

_SHARED = {
    "dtypes": Key(
        "The dtypes that the case is run in; default: " + ", ".join(DEFAULT_DTYPES) + ", and for a case with complex "
        "numbers " + ", ".join(COMPLEX_DTYPES) + ".",
        {"type": "array", "items": {"enum": list(DTYPES)}, "minItems": 1, "uniqueItems": True},
    ),
    "subjects": Key(
        "What is judged: `engine`, `torch`, `jax`, or a subject of a plugin; default: what the run asks for.",
        {"type": "array", "items": _text, "minItems": 1, "uniqueItems": True},
    ),
    "invariants": Key(
        "Laws to check as well, by name: `linearity`, `accumulation`, `detach`, … (the section on laws lists them).",
        {"type": "array", "items": _text, "uniqueItems": True},
    ),
    "tags": Key(
        "Marks for selection with `-m`; none that pytest or a plugin of it gives a meaning to (`skip`, `xfail`, `timeout`).",
        {"type": "array", "items": {"type": "string", "pattern": TAG}, "uniqueItems": True},
    ),
    "seed": Key(
        "Changes what is drawn; drawn values depend on it, on the name of the case and on that of the input.",
        {"type": "integer", "minimum": 0},
    ),
}

DOCUMENT: Mapping[str, Key] = {
    "gradverify": Key("The version of the format.", {"const": VERSION}, required=True),
    "defaults": Key("What every case takes where it does not say.", _ref("defaults")),
    "cases": Key("The cases.", {"type": "array", "items": _ref("case")}, required=True),
}

DEFAULTS: Mapping[str, Key] = {
    **_SHARED,
    "domain": Key("Where drawn inputs lie, instead of a domain derived from the ops.", _ref("domain")),
}

CASE: Mapping[str, Key] = {
    "name": Key(
        "Unique in its file; part of the test's id.",
        {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^\\S(.*\\S)?$"},
        required=True,
    ),
    "expr": Key(
        "The definition: an expression over the inputs, or a list of expressions for several outputs.",
        {"oneOf": [_expression, {"type": "array", "items": _expression, "minItems": 1}]},
        required=True,
    ),
    "inputs": Key(
        "Name → values (a number, nested lists) or a mapping of shape, domain, values, dtype; in positional order.",
        {"type": "object", "additionalProperties": _ref("input")},
        required=True,
    ),
    "let": Key(
        "Name → expression, in order; each may use the ones before it. A binding is one node, however often used.",
        {"type": "object", "additionalProperties": _expression},
    ),
    "grad": Key(
        "Name of an input → the expression that is claimed to be its gradient: the VJP, that is, the gradient of "
        "sum(g * expr) where `g` (`g0`, `g1`, … for several outputs) is the cotangent. Of a complex input, "
        "dL/d(real) + i dL/d(imag), as PyTorch has it; a complex `g` is in that convention too. Verified as well.",
        {"type": "object", "additionalProperties": _expression},
    ),
    "call": Key(
        "`package.module:function`, a function of the subject's own arrays that is held against `expr`, "
        "forward and backward. It is given all inputs, in order, or what stands in brackets: names of inputs and literals, "
        "as in `package.module:norm(x, 1e-6, axis=-1)`.",
        {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*:"
                                      "[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*(\\(.*\\))?$"},
    ),
    "vjp": Key(
        "`package.module:function`, the backward pass of `call`, where that has none of its own (C through ctypes, Numba, "
        "CuPy's RawKernel, a kernel without an `autograd.Function`): it is given the cotangent (a tuple of several), then "
        "what `call` is given, and returns the gradient, or one per array. Subjects: `numpy`, `cupy`, `torch`, whose "
        "arrays both functions get.",
        {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*:"
                                      "[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*$"},
    ),
    "wrt": Key(
        "The inputs that are differentiated; default: all of them that are floating-point.",
        {"type": "array", "items": _text, "minItems": 1, "uniqueItems": True},
    ),
    "cotangent": Key(
        "Its values, in the output's shape or one number for all (a list of such for several outputs). Default: "
        "1 for a single real output of no dimensions, else signed numbers of magnitude 1/2 to 2, drawn (for both "
        "parts of a complex one).",
        _ref("values"),
    ),
    "expect": Key(
        "`fail` and `raises` for negative cases, which are fine when the subject's verdict is just that.",
        {"enum": list(EXPECTATIONS)},
    ),
    "inconclusive": Key(
        "Why there is no verdict here, as text or by subject: an explained INCONCLUSIVE is fine.",
        {"oneOf": [_text, {"type": "object", "additionalProperties": _text, "minProperties": 1}]},
    ),
    "note": Key("For the reader; reports quote it.", {"type": "string"}),
    **_SHARED,
}  # fmt: skip

INPUT: Mapping[str, Key] = {
    "shape": Key(
        "Its shape; without values they are drawn.",
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 32},
    ),
    "values": Key("A number or nested lists; one number fills the shape. Complex ones are written 1+2j.", _ref("values")),
    "domain": Key(
        "Where drawn values lie (of a complex input: both parts). Default: derived from the ops that use the input; "
        "in cases with complex numbers `nonzero`.",
        _ref("domain"),
    ),
    "dtype": Key(
        "`float` (the case's dtype, the default), `complex` (complex64 in a case of float32's precision, complex128 in "
        "one of float64's), `int64` or `bool`; the last two are not differentiated.",
        {"enum": list(INPUT_DTYPES)},
    ),
}  # fmt: skip

TABLES: Mapping[str, Mapping[str, Key]] = MappingProxyType(
    {"document": DOCUMENT, "defaults": DEFAULTS, "case": CASE, "input": INPUT}
)


def table(name: str) -> str:
    """A table of keys for the docs, in Markdown."""
    rows = [f"| `{key}`{' (required)' if k.required else ''} | {k.doc} |" for key, k in TABLES[name].items()]
    return "\n".join(["| key | meaning |", "|---|---|", *rows])
