"""Lists of op names, in any module below the judge: each of their words is still the name of an op."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradverify
from gradverify.ops import OPS
from gradverify.ops.complex.lowering import COMPLEX, LEFT_OUT, REAL_RESULTS
from gradverify.ops.complex.rules import RULES

PACKAGE = Path(gradverify.__file__).parent
ROOMS = ("core", "ops", "namespaces", "oracle", "judge", "trace", "generate")
NAMES = {*OPS, *COMPLEX}

# Reviewed: words in such lists that are no op.
ELSEWHERE = {
    "isfinite": "a kernel of the vocabulary that graphs have no use for",
    "full_like": "a kernel of the vocabulary: creation",
    "literal": "the generator's: a factor",
    "": "a part of no name",
}


FOURIER = set("dft fft2 ifft2 fftn ifftn rfft2 irfft2 rfftn irfftn fftshift ifftshift".split())
"""Rules over pairs that tracers ask for by name, and graphs write as other ops."""


def lists(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The collections of words in a module: literal ones, and texts that are split. With their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
            value = node.func.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and not node.args:
                yield node.lineno, value.value.split()
        elif isinstance(node, ast.Set | ast.Tuple | ast.List | ast.Dict):
            entries = node.keys if isinstance(node, ast.Dict) else node.elts
            words = [e.value for e in entries if isinstance(e, ast.Constant) and isinstance(e.value, str)]
            if len(words) == len(entries):
                yield node.lineno, words


def op_lists(path: Path) -> list[tuple[int, list[str]]]:
    """Those of at least three words, of which most are ops."""
    return [(n, w) for n, w in lists(path) if len(w) > 2 and sum(word in NAMES for word in w) > len(w) / 2]


MODULES = [p for room in ROOMS for p in sorted((PACKAGE / room).rglob("*.py"))]


@pytest.mark.parametrize("path", [p for p in MODULES if op_lists(p)], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_word_is_stale(path: Path) -> None:
    stale = {f"line {n}: {w}" for n, words in op_lists(path) for w in words if w not in NAMES and w not in ELSEWHERE}
    assert not stale


def test_lists_are_seen(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text('A = "exp log sinus".split()\nB = {"exp": 1, "log": 2, "sin": 3}\nC = ("a", "b", "exp")\n')
    assert op_lists(module) == [(1, ["exp", "log", "sinus"]), (2, ["exp", "log", "sin"])]


def test_rules_of_complex_ops_are_of_ops() -> None:
    assert set(RULES) - FOURIER <= NAMES
    assert set(LEFT_OUT) <= set(OPS)
    assert set(REAL_RESULTS) <= NAMES
