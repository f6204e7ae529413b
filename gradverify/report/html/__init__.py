"""The HTML report: one file, without anything that is loaded from elsewhere.

`page` shapes the plain data of a run for the template `report.html.jinja`, `layout` places the steps of graphs, `plots`
draws the histograms and the pictures of errors. Jinja2, NetworkX and Matplotlib are needed: the extra `html`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import replace_file
from .page import page_of


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the report of a run, in the shape of `schema.json`, as a page. Raises OSError."""
    replace_file(path, render(data))


def render(data: dict[str, Any]) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    loader = FileSystemLoader(here)
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    read = lambda name: (here / name).read_text(encoding="utf-8")
    template = env.get_template("report.html.jinja")
    return template.render(page=page_of(data), style=read("report.css"), script=read("report.js"))
