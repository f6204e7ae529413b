"""A recording printed as the code of its framework: single uses folded into the expressions that use them.

The one idea: every entry holds the very text that was executed. Folding changes names and lines, never the order in which
things happen: an expression moves into a later one only if nothing happens in between.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

PLACE = re.compile(r"\{(\d+)\}")
_QUIET = re.compile(r"\{0\}(\.\w+|\[\d+\])|\w+")
_NAMES = [*"xyzwuvabcdefhijklmnopqrst", *(f"x{i}" for i in range(1, 1000))]
INDENT = "    "


@dataclass(slots=True)
class Entry:
    """One executed piece of code.

    text    with {0}, {1}, … for the variables in `args`
    out     the number of the variable that holds its value; None for a statement
    opens   it opens a `with` block; closes: it ends one
    error   the type of the exception that it was expected to raise, and did, unless `missing`
    verbatim  the text has no places: a definition
    """

    text: str
    args: tuple[int, ...] = ()
    out: int | None = None
    opens: bool = False
    closes: bool = False
    error: str = ""
    missing: bool = False
    verbatim: bool = False


def fill(text: str, parts: Sequence[str]) -> str:
    """`text` with its places filled, in parentheses where the grammar asks for them."""

    def place(m: re.Match[str]) -> str:
        part = parts[int(m.group(1))]
        before, after = _binding(text[: m.start()].rstrip(), -1), _binding(text[m.end() :].lstrip(), 0)
        strength = _strength(part)
        return part if strength > before and strength >= after else f"({part})"

    return PLACE.sub(place, text)


# How strongly an operator binds, by Python's grammar; a dot, a call or an index binds its left side most.
_OPERATORS = {"**": 4, "*": 2, "@": 2, "+": 1, "-": 1}
_ATOM = 9


def _binding(rest: str, end: int) -> float:
    """How strongly the text next to a place (its end -1: what stands before it, 0: behind) pulls at it."""
    if not rest:
        return -1
    if rest[end] in ".[" and end == 0:
        return _ATOM
    if rest[end] in "=<>" and rest[-2:] != "= " and (end == 0 or rest.endswith("==")):
        return 0.5
    words = rest.split()
    if words and words[end] in ("is", "assert", "not", "return"):
        return 0.5 if words[end] == "is" else -1
    for op, strength in _OPERATORS.items():
        if rest.startswith(op) if end == 0 else rest.endswith(op):
            return 3 if op == "-" and rest == "-" else strength
    return -1


def _strength(part: str) -> float:
    node = ast.parse(part, mode="eval").body
    if isinstance(node, ast.BinOp):
        return {ast.Add: 1, ast.Sub: 1, ast.Mult: 2, ast.MatMult: 2, ast.Pow: 4}.get(type(node.op), 0)
    if isinstance(node, ast.UnaryOp):
        return 3
    return 0.5 if isinstance(node, ast.Compare | ast.Lambda | ast.BoolOp | ast.IfExp) else _ATOM + 1


def lines(entries: Iterable[Entry], given: Sequence[tuple[int, str]] = (), result: int | None = None) -> list[str]:
    """The code, line by line. `given` names variables that exist already; `result` is to be returned."""
    return list(_Printer(list(entries), dict(given), result).run())


class _Printer:
    def __init__(self, entries: list[Entry], given: dict[int, str], result: int | None) -> None:
        self.entries, self.result = entries, result
        self.names = given
        self.fresh = iter(n for n in _NAMES if n not in given.values())
        self.uses = Counter(e.args[int(k)] for e in entries for k in PLACE.findall(e.text))
        if result is not None:
            self.uses[result] += 1
        self.pending: list[tuple[int, str]] = []
        self.depth = 0

    def run(self) -> Iterator[str]:
        for k, e in enumerate(self.entries):
            if e.closes:
                yield from self.flush()
                if self.entries[k - 1].opens:
                    yield self.at("pass")
                self.depth -= 1
                continue
            if e.out is not None and not e.args and e.text.isidentifier():
                self.names[e.out] = e.text  # a name that a definition made
                continue
            if e.out is not None and not self.uses[e.out] and _QUIET.fullmatch(e.text) and not e.error and not e.opens:
                continue  # a flag or a gradient that was looked at, and was as expected
            places = [e.args[int(k)] for k in PLACE.findall(e.text)]
            waiting = [a for a in places if any(a == p for p, _ in self.pending)]
            texts = {}
            if waiting and [p for p, _ in self.pending[-len(waiting) :]] == waiting:
                texts = dict(self.pending[-len(waiting) :])
                del self.pending[-len(waiting) :]
            elif waiting:
                yield from self.flush()
            text = e.text if e.verbatim else fill(e.text, [texts.get(a) or self.names[a] for a in e.args])
            if e.error:
                yield from self.flush()
                if e.missing and e.error == "Exception":
                    yield from map(
                        self.at, (f"try: {text}", "except Exception: pass", 'else: raise AssertionError("no error")')
                    )
                    continue
                yield self.at(f"try: {text}" + (f'; assert False, "{e.error} expected"' if e.missing else ""))
                yield self.at(f"except {e.error}: pass")
            elif e.opens:
                yield from self.flush()
                yield self.at(f"with {text}:")
                self.depth += 1
            elif e.out is None:
                yield from self.flush()
                yield from (self.at(line) for line in text.splitlines())
            elif self.uses[e.out] == 1:
                self.pending.append((e.out, text))
            else:
                yield from self.flush()
                yield self.at(self.named(e.out, text) if self.uses[e.out] else text)
        if self.result is not None:
            if self.pending and self.pending[-1][0] == self.result:
                text = self.pending.pop()[1]
            else:
                text = self.names[self.result]
            yield from self.flush()
            yield self.at(f"return {text}")
        yield from self.flush()

    def flush(self) -> Iterator[str]:
        for out, text in self.pending:
            yield self.at(self.named(out, text))
        self.pending.clear()

    def named(self, out: int, text: str) -> str:
        self.names[out] = next(self.fresh)
        return f"{self.names[out]} = {text}"

    def at(self, line: str) -> str:
        return INDENT * self.depth + line
