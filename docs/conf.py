"""Sphinx builds the site from these pages: `scripts/docs`."""

import re
import shutil
from importlib.metadata import version as version_of
from pathlib import Path

project = "gradverify"
author = "gradverify contributors"
version = release = version_of("gradverify")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "gradverify"
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True


def as_written(app, what, name, obj, options, lines):
    """A docstring as a literal block, its first paragraph as text."""
    text = list(lines)
    try:
        end = text.index("")
    except ValueError:
        end = len(text)
    first, rest = text[:end], text[end:]
    while rest and not rest[0]:
        rest.pop(0)
    lines[:] = [" ".join(first).replace("*", r"\*").replace("_", r"\_").replace("`", "``").replace("````", "``"), ""]
    if rest:
        lines += ["::", "", *(f"    {line}" if line else "" for line in rest), ""]


HERE = Path(__file__).parent


def copy_results(app):
    """The pages that benchmarks write, as pages of the site; `docs/results` is not kept."""
    shutil.rmtree(HERE / "results", ignore_errors=True)
    (HERE / "results").mkdir()
    for page in (HERE.parent / "bench" / "README.md", *(HERE.parent / "bench" / "results").glob("*.md")):
        shutil.copy(page, HERE / "results" / page.name)


def link_results(app, name, source):
    """Links to `bench/results` lead to the copies; those to other files below `bench` stay names."""
    text = re.sub(r"\]\((?:\.\./)+bench/(?:results/)?([\w.-]+\.md)", r"](/results/\1", source[0])
    if name.startswith("results/"):
        text = re.sub(r"\]\(results/([\w.-]+\.md)", r"](/results/\1", text)
        text = re.sub(r"\[([^\]]*)\]\((?:\.\./)+docs/", r"[\1](/", text)
    source[0] = text


def setup(app):
    app.connect("builder-inited", copy_results)
    app.connect("source-read", link_results)
    app.connect("autodoc-process-docstring", as_written)
