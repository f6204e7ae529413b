"""`gradverify conformance --engine FILE.py:NAME`, and what an engine has not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradverify.cli import Exit, main

ENGINE = """
from gradverify.conformance.engines import Engine

ENGINE = Engine(
    name="mine", setup=("from mine_tape import Value",), module="Value", has=frozenset({"tape"}), closed=True, show="{0}",
    spell={"tensor": "Value({0})", "backward": "{0}.backward()", "sum": "{0}"},
)
other = 3
"""

TAPE = """
class Value:
    def __init__(self, data, parents=()):
        self.data, self.parents, self.grad = data, parents, 0.0

    def __add__(self, other):
        return Value(self.data + value(other).data, ((self, 1.0), (value(other), 1.0)))

    def __mul__(self, other):
        other = value(other)
        return Value(self.data * other.data, ((self, other.data), (other, self.data)))

    __radd__, __rmul__ = __add__, __mul__

    def backward(self, g=1.0):
        self.grad ASSIGN g
        for parent, slope in self.parents:
            parent.backward(g * slope)


def value(x):
    return x if isinstance(x, Value) else Value(x)
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "engine_of_mine.py").write_text(ENGINE)
    monkeypatch.delitem(__import__("sys").modules, "mine_tape", raising=False)

    def call(engine: str) -> Result:
        return CliRunner().invoke(main, ["conformance", "--steps", "0", "--engine", engine])

    return call


def test_a_word_that_is_not_spelt_is_lacked_and_not_broken(call, tmp_path: Path) -> None:
    (tmp_path / "mine_tape.py").write_text(TAPE.replace("ASSIGN", "+="))
    done = call("engine_of_mine.py:ENGINE")
    assert done.exit_code == Exit.OK, done.output
    assert "broken" not in done.output
    assert " lacks" in done.output


def test_a_broken_law_is_shown_in_the_engines_own_words(call, tmp_path: Path) -> None:
    (tmp_path / "mine_tape.py").write_text(TAPE.replace("ASSIGN", "="))
    done = call("engine_of_mine.py:ENGINE")
    assert done.exit_code == Exit.FAIL
    assert "    from mine_tape import Value" in done.output


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("engine_of_mine.py:other", "Engine is wanted, and other is 3"),
        ("engine_of_mine.py:absent", "absent has no such name"),
        ("nowhere.py:ENGINE", "FILE.py:NAME is wanted"),
        ("engine_of_mine.py", "FILE.py:NAME is wanted"),
        ("raising.py:ENGINE", "raising.py raises ZeroDivisionError"),
    ],
)
def test_what_is_no_engine(call, tmp_path: Path, engine: str, said: str) -> None:
    (tmp_path / "raising.py").write_text("1 / 0\n")
    done = call(engine)
    assert done.exit_code == Exit.USAGE
    assert said in done.output
