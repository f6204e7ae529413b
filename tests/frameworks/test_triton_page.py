"""docs/triton.md: the kernel, every planted bug, and what is said of each, run as they stand on the page."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")

import triton

if not triton.knobs.runtime.interpret:
    pytest.skip("TRITON_INTERPRET was not set before Triton was imported", allow_module_level=True)

PAGE = (Path(__file__).parents[2] / "docs" / "triton.md").read_text(encoding="utf-8")
KERNEL, RUN = re.findall(r"```python\n(.*?)```", PAGE, re.S)
FIRST = PAGE.split(RUN + "```\n\n```\n")[1].split("\n```")[0]
BUGS = re.findall(r"\*\*([^*]+)\.\*\*\n\n```diff\n(.*?)```\n\n(.*?)```\n(.*?)\n```", PAGE, re.S)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_kernels", None)


def printed(folder: Path, kernel: str, run: str) -> str:
    (folder / "my_kernels.py").write_text(kernel)
    importlib.invalidate_caches()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(run, {})
    return said.getvalue()


def words(text: str) -> str:
    """The text without its last digits and its line breaks: those are the machine's."""
    return " ".join(re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text).split())


def test_the_kernel(folder: Path) -> None:
    assert words(printed(folder, KERNEL, RUN)) == words(FIRST)


@pytest.mark.parametrize(("edit", "how", "said"), [b[1:] for b in BUGS], ids=[b[0] for b in BUGS])
def test_a_bug(folder: Path, edit: str, how: str, said: str) -> None:
    old = "\n".join(line[1:] for line in edit.splitlines() if line.startswith("-"))
    new = "\n".join(line[1:] for line in edit.splitlines() if line.startswith("+"))
    assert KERNEL.count(old) == 1
    run = RUN.replace(".bfloat16()", "") if "float32" in how else RUN
    got = printed(folder, KERNEL.replace(old, new), run).split("\nat x =")[0]
    assert words(got) == words(said)


def test_a_bug_of_each_kind() -> None:
    assert len(BUGS) >= 10
    outcomes = {said.partition(":")[0] for _, _, _, said in BUGS}
    assert outcomes == {"FAIL (law)", "FAIL (wrong)", "FAIL (structure)", "FAIL (precision)", "WEAK"}
