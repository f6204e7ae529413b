"""Make the pictures of the documentation: python -m tests.report.pictures [NAME …]

A small project is judged, and what its user sees is photographed in Chromium: `terminal` (pytest at 79 columns),
`report-light`, `report-dark` and `report-phone` (the HTML report), `notebook` (needs nbconvert and ipykernel).
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
COLUMNS = 79

OPS = """\
import torch


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        scale = (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        return x * scale * weight

    @staticmethod
    def backward(ctx, g):
        x, weight, scale = ctx.saved_tensors
        return g * weight * scale, (g * x * scale).sum(0)
"""

TEST = """\
import gradverify, torch
from mypkg.ops import RMSNorm


def test_norm():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 8, generator=draw)
    assert gradverify.check(RMSNorm.apply, x, torch.ones(8))
"""

CELLS = (
    "import gradverify, torch\nfrom mypkg.ops import RMSNorm",
    "x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))\ngradverify.check(RMSNorm.apply, x, torch.ones(8))",
    "gradverify.check(torch.nn.functional.silu, x)",
)

PAGE = """<html><body style="margin: 0; display: table; background: #0c0c0c; padding: 12px">
<pre style="margin: 0; font: 15px/1.35 'DejaVu Sans Mono', monospace; color: #d9d9d9">{code}</pre></body></html>"""


def project(folder: Path) -> None:
    """Write the project of the pictures."""
    (folder / "mypkg").mkdir()
    (folder / "mypkg" / "__init__.py").write_text("")
    (folder / "mypkg" / "ops.py").write_text(OPS)
    (folder / "test_ops.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    cells = [{"cell_type": "code", "execution_count": None, "id": f"c{k}", "metadata": {}, "outputs": [], "source": c}
             for k, c in enumerate(CELLS)]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / "norm.ipynb").write_text(
        json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    )


def run(folder: Path, *command: str) -> str:
    """What a command of this interpreter prints, in colour."""
    env = {**os.environ, "COLUMNS": str(COLUMNS), "PYTHONPATH": f"{ROOT}:{folder}", "FORCE_COLOR": "1"}
    env.pop("NO_COLOR", None)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=env, text=True, timeout=600, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


def terminal(folder: Path) -> str:
    """The terminal as a page. Raises AssertionError for a line that is wider than the terminal."""
    shown = run(folder, "pytest", "-q", "-p", "no:cacheprovider", "--color=yes", "test_ops.py")
    text = Text.from_ansi(f"$ pytest -q test_ops.py\n{shown.rstrip()}")
    ours = [line for line in text.plain.splitlines() if line.startswith("E ")]
    assert ours, text.plain
    assert max(map(len, ours)) <= COLUMNS, text.plain
    console = Console(record=True, width=200, file=io.StringIO(), color_system="truecolor")
    console.print(text, soft_wrap=True)
    return PAGE.format(code=console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}"))


def shoot(browser: Any, file: Path, name: str, width: int, height: int, dark: bool = False, selector: str = "") -> None:
    """Photograph a page, from an element on if one is named."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    page.goto(file.as_uri())
    if selector:
        page.locator(selector).first.evaluate("e => e.scrollIntoView()")
        page.wait_for_timeout(200)
    page.screenshot(path=str(IMAGES / f"{name}.png"), full_page=height == 1)
    page.close()


def main(names: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as at, sync_playwright() as tools:
        folder = Path(at)
        project(folder)
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        is_wanted = lambda name: not names or name in names
        if is_wanted("terminal"):
            (folder / "terminal.html").write_text(terminal(folder), encoding="utf-8")
            shoot(browser, folder / "terminal.html", "terminal", 760, 1)
        if any(map(is_wanted, ("report-light", "report-dark", "report-phone"))):
            run(folder, "pytest", "-q", "-p", "no:cacheprovider", "--gradverify", "--gradverify-report=html:r.html")
            fault = "h3"
            for name, width, dark in (("light", 1000, False), ("dark", 1000, True), ("phone", 390, False)):
                shoot(browser, folder / "r.html", f"report-{name}", width, 1100 if width > 500 else 844, dark, fault)
        if is_wanted("notebook"):
            print(run(folder, "nbconvert", "--to", "html", "--execute", "norm.ipynb"))
            shoot(browser, folder / "norm.html", "notebook", 900, 340)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
