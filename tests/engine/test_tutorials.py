"""Forty short programs of the kind that tutorials show: each prints the same under PyTorch and under the engine, unchanged.

They are this project's own writing. What depends on numbers that are drawn is not printed: the two draw differently.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest

import gradverify.engine

pytest.importorskip("torch")
FOLDER = Path(__file__).parent / "tutorials"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py"))
MODULES = (
    "nn nn.functional nn.utils nn.init optim optim.lr_scheduler utils utils.data utils.checkpoint func autograd "
    "autograd.functional autograd.forward_ad distributions"
).split()

FAILING: dict[str, str] = {}
"""The programs that do not run, and why."""


def printed(name: str, modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> str:
    for module, found in modules.items():
        monkeypatch.setitem(sys.modules, module, found)
    out = io.StringIO()
    with redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile((FOLDER / f"{name}.py").read_text(), f"{name}.py", "exec"), {"__name__": name})
    return out.getvalue()


def engine_as_torch() -> dict[str, ModuleType]:
    found = {"torch": gradverify.engine}
    for name in MODULES:
        try:
            found[f"torch.{name}"] = importlib.import_module(f"gradverify.engine.{name}")
        except ImportError:
            continue
    return found


def comparable(text: str) -> str:
    """Three digits of each number; zeros have no sign, and widths (of a sign that one has) do not count."""
    number = lambda m: f"{float(m[0]):.3g}" if float(m[0]) else "0"
    return re.sub(r"\s+", "", re.sub(r"-?\d+\.\d*(e[+-]\d+)?", number, text).replace("-0,", "0,"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_prints_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = printed(name, {}, monkeypatch)
    assert theirs
    if name in FAILING:
        with pytest.raises(Exception, match=FAILING[name]):
            printed(name, engine_as_torch(), monkeypatch)
        return
    assert comparable(printed(name, engine_as_torch(), monkeypatch)) == comparable(theirs)


def test_there_are_forty() -> None:
    assert len(PROGRAMS) == 40
    assert len(FAILING) <= 4
