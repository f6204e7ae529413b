"""The HTML report as text: complete, self-contained, nothing of the user's taken for markup."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gradverify.core.errors import GradverifyError
from gradverify.core.verdict import Drawing, Step
from gradverify.report import outcomes
from gradverify.report import targets as formats
from gradverify.report.html import render, write
from gradverify.report.html.guide import guides
from gradverify.report.html.layout import laid_out
from gradverify.report.json import read
from gradverify.report.json import write as write_json
from gradverify.report.targets import targets

for needed in ("jinja2", "matplotlib", "networkx", "torch"):
    pytest.importorskip(needed)

from tests.report.runs import report  # noqa: E402  # it needs torch


class Tree(HTMLParser):
    """Checks that elements are closed in order, and collects ids, links and text."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.elements: list[dict[str, str | None]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
        given = dict(attrs)
        self.elements.append(given)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if tag == "a" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return render(report())


def test_it_is_one_sound_document_that_loads_nothing(page: str) -> None:
    tree = Tree(page)
    assert len(set(tree.ids)) == len(tree.ids)
    assert all(link.startswith("#") and link[1:] in tree.ids for link in tree.links)
    loaded = [(t, n, v) for t, n, v in tree.attributes if n in ("src", "href", "xlink:href")]
    assert all(v.startswith(("#", "data:image/png;base64,")) for _, _, v in loaded)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_result_is_in_the_table_and_each_fault_has_its_evidence(page: str) -> None:
    text = "".join(Tree(page).texts)
    rows = [d["data-id"] for d in Tree(page).elements if "data-id" in d]
    assert sorted(rows) == sorted(r["id"] for r in report()["results"])
    linked = [r for r in report()["results"] if r["verdict"]["outcome"] in ("FAIL", "KNOWN", "WEAK")]
    assert page.count("<article") == page.count('class="id"><a href="#r') == len(linked)
    for r in linked:
        assert r["verdict"]["message"].split("\x1b")[0] in text
    assert "5 of 9 gradients are not acceptable; 1 could not be judged" in text
    assert "ValueError: <no> number" in text
    scripts = [(r["verdict"]["culprit"] or r["verdict"])["script"] for r in linked]
    assert sum(map(bool, scripts)) >= 2
    assert all(script in text for script in scripts)
    assert "first wrong step" in text


def test_what_a_user_calls_things_is_no_markup(page: str) -> None:
    assert "<growth>" not in page
    assert "&lt;no&gt;" in page


def test_each_fault_links_to_the_page_about_its_outcome(page: str) -> None:
    tree = Tree(page)
    notable = {outcomes.name_of(r["verdict"]) for r in report()["results"] if r["verdict"]["outcome"] != "PASS"}
    assert {f"outcome-{name}" for name in notable} <= set(tree.ids)
    shown = [r for r in report()["results"] if r["verdict"]["outcome"] in ("FAIL", "KNOWN", "WEAK")]
    linked = [link for link in tree.links if link.startswith("#outcome-")]
    assert sorted(linked) == sorted(f"#outcome-{outcomes.name_of(r['verdict'])}" for r in shown)
    assert "What to do" in "".join(tree.texts)


@pytest.mark.parametrize("name", [name for name, _ in outcomes.names()])
def test_each_page_about_an_outcome_stands_by_itself(name: str) -> None:
    (guide,) = guides([name])
    tree = Tree(guide.body)
    assert "h4" in tree.tags
    assert not {"h1", "h2", "h3"} & set(tree.tags)
    assert all("://" in link for link in tree.links)
    words = lambda text: re.findall(r"[A-Za-z]{3,}", text)
    said = "".join(tree.texts)
    written = re.sub(r"<!--(?s:.*?)-->|\]\([^)]*\)|^ *```.*$", "", outcomes.read(name).partition("\n")[2], flags=re.M)
    assert words(said) == words(written)


def test_a_verdict_that_no_page_is_about_has_no_link() -> None:
    run = report()
    (odd, *_) = [r for r in run["results"] if r["verdict"]["outcome"] == "FAIL"]
    changed = {**odd, "verdict": {**odd["verdict"], "kind": "of tomorrow"}}
    tree = Tree(render({**run, "results": [changed]}))
    assert not [link for link in tree.links if link.startswith("#outcome-")]


def test_a_wrong_op_and_a_wrong_step_are_marked_in_their_drawings(page: str) -> None:
    marked = re.findall(r"<title>([^<]*the first wrong step)</title>", page)
    assert any(title.startswith("%2 = exp(y)") for title in marked)  # of the adapter whose exp is off
    assert any("2.0" in title for title in marked)  # of the traced backward pass: twice the term


def test_errors_are_a_picture_of_at_most_48_by_48_cells_with_the_worst_entries() -> None:
    every = [c for r in report()["results"] for c in r["verdict"]["comparisons"]]
    found = next(c for c in every if c["size"] == 4200 and c["failing"])
    errors = found["errors"]
    assert (errors["shape"], len(errors["rows"]), {len(row) for row in errors["rows"]}) == ([70, 60], 48, {48})
    shares = [e["error"] / e["budget"] for e in errors["entries"]]
    assert errors["entries"][0] == found["worst"]
    assert shares == sorted(shares, reverse=True)
    # Every failing entry is in some cell: the picture's largest cell is the worst entry's.
    assert max(map(max, errors["rows"])) == pytest.approx(found["share"])
    off = sum(x > 1 for row in errors["rows"] for x in row)
    assert 0 < off <= found["failing"]


def test_a_report_that_was_read_back_makes_the_same_page(tmp_path: Path, page: str) -> None:
    write_json(tmp_path / "r.json", report())
    again = read(tmp_path / "r.json")
    assert render(again) == page


def test_reports_of_older_formats_have_a_page(tmp_path: Path) -> None:
    old: dict[str, Any] = json.loads(json.dumps(report()))
    for r in old["results"]:
        del r["verdict"]["forward"], r["verdict"]["backward"], r["verdict"]["point"]
        for c in r["verdict"]["comparisons"]:
            del c["errors"]
    (tmp_path / "r.json").write_text(json.dumps(old | {"format": 2}))
    Tree(render(read(tmp_path / "r.json")))


def test_an_empty_run_has_a_page() -> None:
    Tree(render(report() | {"results": [], "summary": [], "errors": []}))


def test_many_results_are_a_table_with_the_faults_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradverify.report.html import page as shaped

    monkeypatch.setattr(shaped, "MOST_ROWS", 6)
    monkeypatch.setattr(shaped, "MOST_DETAILS", 2)
    made = shaped.page_of(report())
    assert [r.is_ok for r in made.results] == [False] * 5 + [True]
    assert (made.left_out, made.undrawn, len(made.details)) == (3, 4, 2)


def drawing(*steps: tuple[str, tuple[int, ...]]) -> Mapping[str, Any]:
    made = Drawing(tuple(Step(f"%{k}", f"{op}()", args, (2,)) for k, (op, args) in enumerate(steps)), (len(steps) - 1,))
    return {"steps": [vars_of(s) for s in made.steps], "outputs": list(made.outputs), "wrong": None}


def vars_of(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in Step.__slots__}


GRAPHS = {
    "one input": drawing(("x", ())),
    "a chain": drawing(("x", ()), ("exp", (0,)), ("exp", (1,))),
    "squares": drawing(("x", ()), ("multiply", (0, 0)), ("multiply", (1, 0))),
    "an unused input": drawing(("x", ()), ("y", ()), ("exp", (1,))),
    "a skip over four": drawing(("x", ()), ("a", (0,)), ("b", (1,)), ("c", (2,)), ("add", (3, 0))),
    "wide": drawing(*((f"x{k}", ()) for k in range(9)), ("stack", tuple(range(9)))),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_boxes_do_not_overlap_and_lie_on_the_page(graph: Mapping[str, Any]) -> None:
    made = laid_out(graph, None)
    places = [(b.x, b.y) for b in made.boxes]
    for k, (x, y) in enumerate(places):
        assert 0 <= x <= made.width - 138
        assert 0 <= y <= made.height - 44
        assert all(abs(x - u) >= 138 or abs(y - v) >= 44 for u, v in places[:k])
    assert len(made.edges) == sum(len(set(s["args"])) for s in graph["steps"])
    for k, step in enumerate(graph["steps"]):
        assert all(places[a][1] < places[k][1] for a in step["args"])  # from the top down


def test_gradients_run_the_other_way() -> None:
    down, up = (laid_out(GRAPHS["a skip over four"], None, gradients=g).edges for g in (False, True))
    ends = lambda path: (re.findall(r"-?\d+ -?\d+", path)[0], re.findall(r"-?\d+ -?\d+", path)[-1])
    assert [ends(p) for p in down] == [ends(p)[::-1] for p in up]


def test_what_the_extra_lacks_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert targets([f"html:{tmp_path}/r.html"])
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "jinja2" else find_spec(name))
    with pytest.raises(GradverifyError, match=r"jinja2 is not installed: pip install 'gradverify\[html\]'"):
        targets([f"html:{tmp_path}/r.html"])


def test_a_page_is_of_moderate_size(tmp_path: Path) -> None:
    """A page of pictures weighs what a photograph does; one of plotly's starts at four megabytes."""
    write(tmp_path / "r.html", report())
    assert (tmp_path / "r.html").stat().st_size < 400_000
