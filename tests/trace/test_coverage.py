"""The page on coverage is the tables'."""

from __future__ import annotations

from pathlib import Path

from gradverify.frameworks.coverage import page
from gradverify.frameworks.jax.lax import mapped as primitives
from gradverify.frameworks.numpy.ufuncs import mapped as functions
from gradverify.frameworks.torch.aten import mapped as overloads

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_page_is_up_to_date() -> None:
    """Regenerate it with `python -m gradverify.frameworks.coverage > docs/coverage.md`."""
    assert (DOCS / "coverage.md").read_text(encoding="utf-8") == page()


def test_every_name_is_on_the_page() -> None:
    text = page()
    for name in (*(n.removeprefix("aten.") for n in overloads()), *primitives(), *functions()):
        assert f"`{name}`" in text


def test_as_many_as_promised() -> None:
    assert len(overloads()) >= 150
    assert len(primitives()) >= 100
    assert len(functions()) >= 200
