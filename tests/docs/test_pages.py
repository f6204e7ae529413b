"""Every block of the documentation runs, and prints what stands below it; links lead somewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import gradverify.api  # noqa: F401 - fills the registry of probes
from gradverify.checker import probes
from gradverify.core.errors import SpecError, UnknownName
from gradverify.report import outcomes
from tests.docs.pages import ROOT, Differs, Page, pages, parse

DOCS = ROOT / "docs"


@pytest.mark.parametrize("path", list(pages()), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_block_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_REGISTERED", dict(probes._REGISTERED))  # a page adds one of its own
    pytest.importorskip("torch", reason="PyTorch is not installed")
    for module in re.findall(r"^import (jax|triton|autograd)\b|^from (jax|triton|autograd)\b", path.read_text(), re.M):
        pytest.importorskip("".join(module))
    if path.stem == "c-kernel" and shutil.which("cc") is None:
        pytest.skip("no C compiler is installed")
    Page(path, tmp_path).run()


def test_the_site_has_the_pages_that_the_package_has() -> None:
    """`gradverify outcome` and docs/outcomes say the same: `scripts/docs --write` copies them."""
    known = {name for name, _ in outcomes.names()}
    for folder in (DOCS / "outcomes", ROOT / "gradverify" / "report" / "outcomes"):
        assert {p.stem for p in folder.glob("*.md")} == known
    for name, heading in outcomes.names():
        text = outcomes.read(name)
        assert text.startswith(f"# {heading}\n")
        assert "\n## What to do\n" in text
        assert (DOCS / "outcomes" / f"{name}.md").read_text(encoding="utf-8") == text
        assert f"(outcomes/{name}.md)" in (DOCS / "outcomes.md").read_text(encoding="utf-8")
    with pytest.raises(UnknownName, match="precision"):
        outcomes.read("precison")


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(
    "path", [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_links_lead_to_files(path: Path) -> None:
    if "results" in path.parts:
        return
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.S)
    for link in LINK.findall(text):
        assert "://" in link or (path.parent / link).exists(), link


# ---- the tool itself finds what is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\nprint(1)\n```\n\nwords\n\n```python\nx = 1\n```\n",
        "```python\nprint(1)\n```\n",
        "```python\nx = undefined\n```\n",
        "```console\n$ echo 1\n2\n```\n",
        "```yaml\ngradverify: 1\ncases:\n  - {name: a, expr: sinh(, inputs: {x: 1.0}}\n```\n",
        "```toml\na = \n```\n",
        "```fortran\nend\n```\n",
        "```sh\ngradverify run --no-such-option\n```\n",
        "```sh\npytest --gradverify-no-such\n```\n",
        "```sh\ngradverify rnu specs\n```\n",
    ],
)
def test_a_page_that_lies_is_found(text: str, tmp_path: Path) -> None:
    page = tmp_path / "lie.md"
    page.write_text(text)
    with pytest.raises((Differs, ValueError, SpecError)):
        Page(page, tmp_path).run()


def test_a_page_is_written_with_what_it_prints(tmp_path: Path) -> None:
    page = tmp_path / "new.md"
    page.write_text("a\n\n```python\nprint(1 + 1)\n```\n\n```console\n$ echo 1\n```\n\nb\n")
    page.write_text(Page(page, tmp_path, write=True).run())
    assert page.read_text() == (
        "a\n\n```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n\n```console\n$ echo 1\n1\n```\n\nb\n"
    )
    assert Page(page, tmp_path).run() == page.read_text()


def test_commands_of_others_are_left_alone() -> None:
    parse("pip install gradverify[torch] triton==3.7.0")
    parse("gradverify run specs --max-failures 5")
    parse("python -m gradverify replay out.json")
