"""Pictures of a report as SVG text that takes its colours from the page: by Matplotlib, which needs no script there."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

GREY = "#767676"
"""Of axes: it has contrast on light and dark pages. Text takes the page's own colour."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's palette, for all kinds of colour vision."""

WITHIN, NOT_FINITE = "#c9ced6", "#7b3294"

SVG = "http://www.w3.org/2000/svg"


class Plots:
    """Draws the plots of one page. They are numbered, so that no two have an id in common."""

    def __init__(self) -> None:
        self.drawn = 0

    def histogram(self, groups: Mapping[str, Sequence[float]], label: str, words: str) -> str:
        """A stacked histogram of positive figures on a logarithmic axis; "" where there are none."""
        kept = {name: [x for x in xs if x > 0 and math.isfinite(x)] for name, xs in groups.items()}
        logs = {name: np.log10(xs) for name, xs in kept.items() if xs}
        if not logs:
            return ""
        everything = np.concatenate(list(logs.values()))
        low, high = math.floor(everything.min()), math.ceil(everything.max())
        high += low == high
        per_decade = 4 if high - low <= 8 else 2 if high - low <= 16 else 1
        with self._figure(5.2, 2.6) as (figure, save):
            axes = figure.add_axes((0.12, 0.2, 0.85, 0.77))
            edges = np.linspace(low, high, (high - low) * per_decade + 1).tolist()
            axes.hist(list(logs.values()), edges, stacked=True, label=list(logs), color=COLOURS[: len(logs)])
            axes.set_xlabel(label)
            axes.set_ylabel("verdicts")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(8, integer=True))
            axes.xaxis.set_major_formatter(_power_of_ten)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=8)
            return save(words)

    def error_map(self, rows: Sequence[Sequence[float]], words: str, *, is_pooled: bool) -> str:
        """A picture of errors over their budgets: grey within, a colour by decades beyond, violet where not finite.

        The axes count entries, unless a cell stands for several.
        """
        share = np.array(rows, dtype=float)
        finite = share[np.isfinite(share)]
        decades = max(math.ceil(math.log10(max(float(finite.max(initial=1.0)), 1.0))), 1)
        colours = colormaps["YlOrRd"].with_extremes(under=WITHIN, bad=NOT_FINITE)
        with np.errstate(divide="ignore"):
            logs = np.ma.masked_invalid(np.where(share > 0, np.log10(share), -1.0))
        n, m = share.shape
        across, down = min(max(m, 4) * 0.28, 4.6), min(max(n, 2) * 0.28, 3.8)  # inches of the picture
        left, right, bottom, top = 0.4, 1.0, 0.3, 0.12
        width, height = left + across + right, bottom + max(down, 1.1) + top
        with self._figure(width, height) as (figure, save):
            axes = figure.add_axes((left / width, bottom / height, across / width, down / height))
            shown = axes.imshow(logs, colours, vmin=0, vmax=decades, aspect="auto", interpolation="none")
            for axis, count in ((axes.xaxis, m), (axes.yaxis, n)):
                axis.set_major_locator(NullLocator() if count == 1 or is_pooled else MaxNLocator(8, integer=True))
            axes.spines[:].set_visible(False)
            beside = ((left + across + 0.12) / width, bottom / height, 0.12 / width, 1 - (bottom + top) / height)
            figure.colorbar(shown, figure.add_axes(beside), extend="min", label="error / budget",
                            ticks=MaxNLocator(6, integer=True), format=_power_of_ten)  # fmt: skip
            return save(words)

    @contextmanager
    def _figure(self, width: float, height: float) -> Iterator[tuple[Figure, Callable[[str], str]]]:
        """A figure, and a function that returns it as SVG."""
        self.drawn += 1
        settings: dict[Any, Any] = {
            "svg.fonttype": "none", "svg.hashsalt": f"gradverify {self.drawn}", "font.family": "sans-serif", "font.size": 9,
            "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY, "image.composite_image": False,
        }  # fmt: skip
        with rc_context(settings):
            figure = Figure(figsize=(width, height))

            def save(words: str) -> str:
                out = io.StringIO()
                figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
                return _tidied(out.getvalue(), words)

            yield figure, save


_power_of_ten = FuncFormatter(lambda x, _: f"1e{x:.0f}")
"""Not 10 to a small exponent, whose setting takes longer than the plot."""


def _tidied(svg: str, words: str) -> str:
    """The SVG element alone, described by `words`, without metadata and the names of groups, which other plots have too."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for group in root.iter(f"{{{SVG}}}g"):
        group.attrib.pop("id", None)
    for image in root.iter(f"{{{SVG}}}image"):
        image.attrib.pop("id", None)
    root.set("role", "img")
    root.set("aria-label", words)
    return ElementTree.tostring(root, encoding="unicode")
