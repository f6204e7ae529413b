"""The op table as text: a list, a page of the docs, and one op in detail."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from ..core.errors import UnknownName
from ..core.op import OpSpec
from ..ops import FAMILIES, OPS
from ..ops.complex.lowering import COMPLEX
from ..ops.complex.rules import RULES


def find(name: str) -> OpSpec:
    """The op of that name, or with that alias. Raises UnknownName."""
    known = {**OPS, **COMPLEX}
    by_alias = {alias: spec for spec in known.values() for alias in spec.aliases}
    spec = known.get(name) or by_alias.get(name)
    if spec is None:
        raise UnknownName("op", name, [*known, *by_alias])
    return spec


def plain() -> Iterator[str]:
    """A line per op, by family."""
    for family, specs in _families().items():
        yield f"{family}:"
        for spec in specs:
            yield f"  {spec.name:18} {spec.example:40} {spec.doc.splitlines()[0]}"


def markdown() -> Iterator[str]:
    """The tables for the docs."""
    for family, specs in _families().items():
        yield f"## {family}\n\n| op | what it computes | example |\n|---|---|---|"
        for spec in specs:
            yield f"| `{spec.name}` | {_cell(spec.doc)} | `{_cell(spec.example)}` |"
        yield ""


def _families() -> dict[str, tuple[OpSpec, ...]]:
    return {**FAMILIES, "complex": tuple(COMPLEX.values())}


def detail(spec: OpSpec) -> Iterator[str]:
    """Everything that the table knows of an op."""
    yield f"{spec.name}: {spec.doc}"
    yield f"example: {spec.example}"
    if spec.name in COMPLEX:  # the rule over pairs is in place of all the rest
        for name, p in spec.params.items():
            yield f"parameter {name}: {p.kind} = {p.default!r}"
        yield f"over pairs of reals:\n{_source(RULES[spec.name])}"
        return
    if spec.aliases:
        yield f"also called: {', '.join(spec.aliases)}"
    for name, p in spec.params.items():
        yield f"parameter {name}: {p.kind}" + ("" if p.required else f" = {p.default!r}")
    yield "domain: " + ("; ".join(str(d) for d in spec.domain) if spec.joint is None else "arguments bound each other")
    yield f"smooth: {'in its domain' if spec.kinks is None else 'but for its kinks'}"
    yield f"rule: {'that of its definition, op by op' if spec.composite else 'its own' if spec.vjp else 'none'}"
    yield f"rounding: {spec.ulps} ulp"
    if not spec.primitive:
        yield f"definition:\n{_source(spec.define)}"


def _source(f: Any) -> str:
    try:
        return inspect.getsource(f).strip()
    except (OSError, TypeError):
        return repr(f)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
