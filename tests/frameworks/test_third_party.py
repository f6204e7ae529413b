"""A framework that a distribution of its own brings along, by the entry point `gradverify.frameworks`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "adapter_package"

CHECK = """
import numpy as np
import gradverify, minitape
from gradverify.frameworks import names

assert "minitape" in names()
x = minitape.Array(np.array([0.5, -1.25, 2.0]))
y = minitape.Array(np.array([1.5, 0.75, 0.5]))
right = gradverify.check(lambda x, y: minitape.exp(x) * y + minitape.sin(x) / y, x, y)
assert right.outcome.value == "PASS" and right.subject == "minitape", right.text()
assert "exp" in right.graph

wrong = minitape.primitive(np.tanh, lambda g, out, x: g * (1 - out))
verdict = gradverify.check(lambda x: wrong(x) * x, x)
assert verdict.outcome.value == "FAIL" and verdict.kind.value == "wrong", verdict.text()

said = gradverify.check(lambda x: minitape.log(x) * x, y, framework="minitape")
assert said.outcome.value == "PASS"
single = gradverify.check(lambda x: minitape.square(x), x, dtype="float32")
assert single.outcome.value == "PASS" and single.dtype == "float32", single.text()


class Untraced(minitape.Minitape):
    name = "untraced"
    trace = gradverify.frameworks.Framework.trace


gradverify.frameworks.register(Untraced())
opaque = gradverify.check(lambda x: minitape.exp(x) * x, x, effort="quick", framework="untraced")
assert opaque.outcome.value == "PASS", opaque.text()
assert "not traced" in opaque.notes[0]
"""

SPEC = """\
gradverify: 1
cases:
  - name: a product
    expr: exp(x) * y
    inputs: {x: [0.5, -1.0], y: [1.5, 2.0]}
    subjects: [minitape]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the distribution in it."""
    folder = tmp_path_factory.mktemp("distribution")
    source, target = folder / "source", folder / "site"
    shutil.copytree(SOURCE, source)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


def ran(installed: Path, folder: Path, *command: str) -> str:
    path = os.pathsep.join([str(installed), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_check(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(CHECK)
    ran(installed, tmp_path, "script.py")


def test_a_spec_and_random_graphs(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "own.grad.yaml").write_text(SPEC)
    printed = ran(installed, tmp_path, "-m", "gradverify", "run", ".", "--subjects", "minitape", "--examples", "5")
    assert "minitape" in printed
    assert ran(installed, tmp_path, "-m", "gradverify", "run", "own.grad.yaml")


def test_a_campaign(installed: Path, tmp_path: Path) -> None:
    printed = ran(installed, tmp_path, "-m", "gradverify", "campaign", "--graphs", "5", "--subjects", "minitape")
    assert "minitape" in printed
