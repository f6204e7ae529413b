"""The HTML report in a real browser: filter, sort, copy, keyboard, phone, dark mode. Without Chromium it is skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
for needed in ("jinja2", "matplotlib", "networkx", "torch"):
    pytest.importorskip(needed)

from gradverify.report.html import write  # noqa: E402
from tests.report.runs import report  # noqa: E402

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: scripts/browser, or apt install chromium"),
]

SHOTS = os.environ.get("GRADVERIFY_SHOTS")
"""A folder for screenshots; those of docs/images are made by `python -m tests.report.pictures`."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "r.html"
    write(path, report())
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as tools:
        # Chromium's own sandbox does not start for root, which CI is; the page is ours.
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as page:
        yield page


class opened:
    """A page that complains about nothing: no error of a script, no refused or failed request."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *raised: object) -> None:
        self.context.close()
        if raised == (None, None, None):
            assert not self.complaints
            assert [r for r in self.requests if not r.startswith(("file:", "data:"))] == []


def shown(page: Any) -> list[str]:
    return [row.get_attribute("data-id") for row in page.locator("#table tbody tr:visible").all()]


def shoot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def test_the_table_is_filtered(page: Any) -> None:
    every = [r["id"] for r in report()["results"]]
    assert sorted(shown(page)) == sorted(every)
    page.get_by_label("only what is not acceptable").check()
    assert sorted(shown(page)) == sorted(r["id"] for r in report()["results"] if not r["ok"])
    page.get_by_label("only what is not acceptable").uncheck()
    page.locator("#find").fill("GROWTH off")
    assert set(shown(page)) == {f"a.grad.yaml::growth[off-{d}]" for d in ("float32", "float64")}
    assert page.locator("#count").inner_text() == f"2 of {len(every)} results"
    page.locator("#dtype").select_option("float64")
    assert shown(page) == ["a.grad.yaml::growth[off-float64]"]
    page.locator("#find").fill("nothing is called so")
    assert shown(page) == []
    page.locator("#find").fill("")
    page.locator("#dtype").select_option("")
    page.locator('input[value="FAIL"]').uncheck()
    assert sorted(shown(page)) == sorted(r["id"] for r in report()["results"] if r["verdict"]["outcome"] != "FAIL")


def test_the_table_is_sorted_by_numbers_and_by_text(page: Any) -> None:
    page.get_by_role("button", name="what was judged").click()
    assert shown(page) == sorted(shown(page), key=str.lower)
    column = page.get_by_role("button", name="seconds")
    column.click()
    seconds = [float(r.get_attribute("data-seconds")) for r in page.locator("#table tbody tr").all()]
    assert seconds == sorted(seconds)
    column.click()
    assert page.locator('th[aria-sort="descending"]').inner_text().startswith("seconds")
    again = [float(r.get_attribute("data-seconds")) for r in page.locator("#table tbody tr").all()]
    assert again == sorted(seconds, reverse=True)
    page.get_by_role("button", name="error / budget").click()  # some have none
    assert len(shown(page)) == len(seconds)


def test_it_works_by_keyboard_alone(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.type("off/")  # a slash that is typed is a slash
    assert page.locator("#find").input_value() == "off/"
    page.keyboard.press("Backspace")
    assert len(shown(page)) == 2
    page.keyboard.press("Escape")
    assert len(shown(page)) == len(report()["results"])
    page.keyboard.type("off-float64")
    reached = walk(page, lambda: page.evaluate("document.activeElement.closest('#table tbody tr')?.dataset.id ?? ''"))
    assert reached == "a.grad.yaml::growth[off-float64]"
    page.keyboard.press("Enter")
    place = page.evaluate("location.hash")
    assert page.locator(place).is_visible()
    assert page.evaluate(f"document.querySelector('{place}').getBoundingClientRect().top") < 200
    # On to the reproducer: open it, and copy it.
    walk(page, lambda: page.evaluate("document.activeElement.tagName === 'SUMMARY'"))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "copy"


def test_the_page_about_an_outcome_is_opened_by_its_link(page: Any) -> None:
    link = page.locator('a[href^="#outcome-"]').first
    guide = page.locator(link.get_attribute("href"))
    assert not guide.get_by_text("What to do", exact=True).is_visible()
    link.focus()
    page.keyboard.press("Enter")
    assert guide.get_by_text("What to do", exact=True).is_visible()
    assert guide.evaluate("e => e.getBoundingClientRect().top < innerHeight && e.getBoundingClientRect().bottom > 0")


def walk(page: Any, there: Any, most: int = 60) -> Any:
    """Press Tab until something is reached."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if found := there():
            return found
    raise AssertionError(f"not reached by {most} tabs")


def test_the_reproducer_is_copied(browser: Any, address: str) -> None:
    with opened(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        code = page.locator("article .code").first
        code.locator("summary").click()
        code.locator(".copy").click()
        page.wait_for_function("document.querySelector('article .copy').textContent === 'Copied'")
        scripts = [r["verdict"]["script"] for r in report()["results"]]
        scripts += [(r["verdict"]["culprit"] or {}).get("script") for r in report()["results"]]
        assert page.evaluate("navigator.clipboard.readText()") in [s for s in scripts if s]


def test_where_there_is_no_clipboard_the_text_is_copied_all_the_same(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        code = page.locator("article .code").first
        code.locator("summary").click()
        code.locator(".copy").click()
        page.wait_for_function("document.querySelector('article .copy').textContent !== 'Copy'")
        assert code.locator(".copy").inner_text() in ("Copied", "Select it and copy it by hand")
        page.locator("#find").focus()
        page.keyboard.press("Control+v")
        assert "gradient" in page.locator("#find").input_value()


@pytest.mark.parametrize("width", [320, 390, 768, 1400])
def test_nothing_runs_over_the_side(browser: Any, address: str, width: int) -> None:
    """WCAG 2.2, 1.4.10 asks for 320 pixels without scrolling in two directions; tables and drawings scroll by themselves."""
    with opened(browser, address, viewport={"width": width, "height": 800}) as page:
        for opener in page.locator("summary").all():
            opener.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        over = page.evaluate(
            """() => [...document.querySelectorAll('main *, header *')].filter(e =>
                 !e.closest('.scroll') && !e.closest('pre') && !e.closest('thead') &&
                 e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"""
        )
        assert over == []


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(…)`, as WCAG defines it."""
    parts = [float(x) / 255 for x in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, address: str, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, of each piece of text on what lies behind it, drawings included."""
    with opened(browser, address, color_scheme=scheme) as page:
        found = page.evaluate(
            """() => {
              const behind = e => {
                for (; e; e = e.parentElement) {
                  const rect = e.matches('g.box') && e.querySelector('rect');
                  if (rect) return getComputedStyle(rect).fill;
                  const c = getComputedStyle(e).backgroundColor;
                  if (c !== 'rgba(0, 0, 0, 0)') return c;
                }
                return 'rgb(255, 255, 255)';
              };
              const opaque = c => {  // color(srgb r g b), of color-mix
                const m = c.match(/^color\\(srgb ([\\d.]+) ([\\d.]+) ([\\d.]+)\\)$/);
                return m ? `rgb(${m.slice(1).map(x => 255 * x).join(',')})` : c;
              };
              return [...document.querySelectorAll('body *')]
                .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.checkVisibility?.())
                .filter(e => !['SCRIPT', 'STYLE', 'title', 'OPTION'].includes(e.tagName) && !e.matches('.mark'))
                .map(e => [e.textContent.trim().slice(0, 40), opaque(behind(e)),
                           opaque(getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color'])]);
            }"""
        )
        assert len(found) > 100
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(background) < 0.1) == (scheme == "dark")
        for text, colour, behind in found:
            a, b = sorted((luminance(colour), luminance(behind)))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (text, colour, behind)


def test_a_large_drawing_shows_its_first_wrong_step(browser: Any, address: str) -> None:
    with opened(browser, address, viewport={"width": 390, "height": 500}) as page:
        for wrong in page.locator(".box.wrong").all():
            inside = wrong.evaluate(
                """e => { const [b, a] = [e.getBoundingClientRect(), e.closest('.scroll').getBoundingClientRect()];
                          return b.top >= a.top - 20 && b.bottom <= a.bottom + 20; }"""
            )
            assert inside


def test_everything_has_a_name(page: Any) -> None:
    """By the browser's accessibility tree: controls, pictures and regions are called something."""
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, [role=img], [role=group], section')].filter(e =>
             !(e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim())
           ).map(e => e.outerHTML.slice(0, 90))"""
    )
    assert nameless == []
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("report-light", {"viewport": {"width": 1000, "height": 1100}, "color_scheme": "light"}),
        ("report-dark", {"viewport": {"width": 1000, "height": 1100}, "color_scheme": "dark"}),
        ("report-phone", {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"}),
    ],
)
def test_pictures_of_a_failure(browser: Any, address: str, name: str, options: dict[str, Any]) -> None:
    """The failing custom gradient fills the screen; with GRADVERIFY_SHOTS it is the picture in the docs."""
    with opened(browser, address, **options) as page:
        article = page.locator("article", has_text="::Custom").first
        article.evaluate("e => e.scrollIntoView()")
        assert article.locator(".graph svg").count() == 2
        assert article.locator("figure.plot").count() == 1
        shoot(page, name)
