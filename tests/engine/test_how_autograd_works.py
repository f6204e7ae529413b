"""docs/how-autograd-works.md: every block runs, and prints what stands below it; a seed's block under three engines."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import gradverify.engine

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-autograd-works.md"
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(), re.S)
torch_real = pytest.importorskip("torch")


def printed(code: str, scope: dict[str, Any]) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, str(PAGE), "exec"), scope)
    return out.getvalue()


def test_every_block_prints_what_stands_below_it() -> None:
    scope: dict[str, Any] = {"__name__": "how_autograd_works"}
    seeds = 0
    for k, (kind, code) in enumerate(BLOCKS):
        if kind == "text":
            continue
        if not code.startswith("# seed"):
            assert printed(code, scope) == ""
            continue
        seeds += 1
        following, expected = BLOCKS[k + 1]
        assert following == "text"
        assert printed(code, scope) == expected, code
        for torch in (gradverify.engine, torch_real):
            assert (
                without_prefix(
                    printed(code, {"torch": torch, "draw": scope["draw"]} if "draw" in scope else {"torch": torch})
                )
                == expected
            )
    assert seeds == 8


def without_prefix(text: str) -> str:
    """PyTorch calls the node of a leaf `torch::autograd::AccumulateGrad`."""
    return text.replace("torch::autograd::", "")


def test_the_files_that_it_names_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text())
    assert links
    assert all((PAGE.parent / link).exists() for link in links), links
