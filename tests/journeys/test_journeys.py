"""Five users' first hour: pages of commands, with the output that they read on screen.

The pages are docs/tutorial.md and docs/howto/*.md: what is documented is what is walked. Here they are walked from a fresh
environment that a wheel was installed into, and the time is printed; `tests/docs` walks the same pages in the environment of
the tests.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, agrees

JOURNEYS = {
    "C-kernel author with YAML": ("docs/howto/c-kernel.md", "FAIL (wrong): silu in C on numpy in float32"),
    "author of an engine": ("docs/howto/own-engine.md", "tape ?: "),
    "CI maintainer": ("docs/howto/ci.md", "exit code 1"),
}
"""Who -> the page, and the first line on screen that is a verdict. No framework is needed."""

WITH_FRAMEWORKS = {
    "kernel author": ("docs/tutorial.md", "FAILED test_ops.py::test_norm - FAIL (wrong): RMSNorm on torch in float32"),
    "JAX user": ("docs/howto/jax.md", "FAIL (wrong): silu on jax in float32 (model.py:12)"),
}
"""The same, whose framework is taken from the environment of the tests: its wheel is too large to download for a test."""

MINUTES = 5.0
"""From `pip install` to the last verdict of the page, on a slow and loaded machine."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The programs of an environment that has gradverify's wheel and nothing else; and the seconds that it took."""
    folder = tmp_path_factory.mktemp("fresh")
    started = time.perf_counter()
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", str(ROOT)], capture_output=True, text=True, timeout=600
    )
    if done.returncode and "Could not find a version" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return python.parent, time.perf_counter() - started


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
sys.path += {more!r}
from pathlib import Path
from tests.docs.pages import Page
import tests.docs.pages as pages
pages.ROOT = Path({empty!r})            # commands find the installed package, not the checkout
Page(Path({page!r}), Path({folder!r})).run()
"""


def walk(bin: Path, page: str, tmp_path: Path, more: list[str]) -> None:
    """Run a page in another environment."""
    tests, empty, folder = tmp_path / "suite", tmp_path / "empty", tmp_path / "walked"
    for made in (tests / "tests" / "docs", empty, folder):
        made.mkdir(parents=True)
    (tests / "tests" / "__init__.py").write_text("")
    shutil.copy(ROOT / "tests" / "docs" / "pages.py", tests / "tests" / "docs")
    if more:
        (empty / "sitecustomize.py").write_text(f"import sys\nsys.path += {more!r}\n")
    text = SCRIPT.format(tests=str(tests), more=more, empty=str(empty), page=str(ROOT / page), folder=str(folder))
    done = subprocess.run([bin / "python", "-c", text], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("who", [*JOURNEYS, *WITH_FRAMEWORKS])
def test_a_journey_from_a_fresh_environment(fresh: tuple[Path, float], who: str, tmp_path: Path) -> None:
    bin, installing = fresh
    page, _ = (JOURNEYS | WITH_FRAMEWORKS)[who]
    more: list[str] = []
    if who in WITH_FRAMEWORKS:
        module = pytest.importorskip("torch" if who == "kernel author" else "jax", reason="it is not installed")
        more = [str(Path(module.__file__).parent.parent)]
    if who.startswith("C-kernel") and shutil.which("cc") is None:
        pytest.skip("no C compiler is installed")
    started = time.perf_counter()
    walk(bin, page, tmp_path, more)
    walking = time.perf_counter() - started
    print(f"{who}: installed in {installing:.0f} s, the whole page in {walking:.0f} s", file=sys.stderr)
    assert installing + walking < 60 * MINUTES


@pytest.mark.parametrize("who", [*JOURNEYS, *WITH_FRAMEWORKS])
def test_the_first_verdict_stands_on_the_page(who: str) -> None:
    """What is walked shows a verdict, and not only that nothing was raised."""
    page, line = (JOURNEYS | WITH_FRAMEWORKS)[who]
    outputs = re.findall(r"```(?:text|console)\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    assert any(agrees(line, shown[: len(line)]) for out in outputs for shown in out.splitlines()), outputs
