"""The JUnit report, for dashboards of CI: a test case per result.

What is not acceptable is a failure. INCONCLUSIVE and WEAK that are acceptable are *skipped*, since JUnit has no other state
that dashboards show and that does not fail; KNOWN, SURROGATE and accepted faults pass, with their text as output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from ..core.outcome import Outcome
from .files import replace_file
from .sentences import Sentence, sentence_of

SKIPPED = (Outcome.INCONCLUSIVE, Outcome.WEAK)
"""Outcomes that are shown as skipped where they are acceptable."""

_NO_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
"""Characters that XML 1.0 cannot have (its production 2, Char)."""


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the report of a run, in the shape of `schema.json`. Raises OSError."""
    replace_file(path, ET.tostring(suites_of(data), encoding="utf-8", xml_declaration=True))


def suites_of(data: Mapping[str, Any]) -> ET.Element:
    """The `testsuites` element: a suite per file, or group of ids."""
    found: dict[str, list[Sentence]] = {}
    for result in data["results"]:
        found.setdefault(result["id"].partition("::")[0], []).append(sentence_of(result))
    root = ET.Element("testsuites", name="gradverify", time=f"{data['seconds']:.3f}")
    for name, sentences in found.items():
        root.append(_suite(name, sentences))
    if data["errors"]:
        root.append(_lost(data["errors"]))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    return root


def _suite(name: str, sentences: Sequence[Sentence]) -> ET.Element:
    suite = ET.Element("testsuite", name=_xml(name), errors="0", tests=str(len(sentences)),
                       time=f"{sum(s.seconds for s in sentences):.3f}")  # fmt: skip
    for s in sentences:
        case = ET.SubElement(suite, "testcase", classname=_xml(name), name=_xml(s.id.partition("::")[2] or s.id),
                             time=f"{s.seconds:.3f}")  # fmt: skip
        if s.file:
            case.set("file", _xml(s.file))
            case.set("line", str(s.line))
        properties = ET.SubElement(case, "properties")
        for key, value in s.properties.items():
            ET.SubElement(properties, "property", name=f"gradverify_{key}", value=_xml(value))
        if not s.is_ok:
            made = ET.SubElement(case, "failure", type=_xml(s.heading), message=_xml(s.title))
            made.text = _xml(s.text)
        elif s.outcome in SKIPPED:
            ET.SubElement(case, "skipped", type=_xml(s.heading), message=_xml(f"{s.heading}: {s.summary}"))
        elif s.outcome is not Outcome.PASS:
            ET.SubElement(case, "system-out").text = _xml(s.text)
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    return suite


def _lost(errors: Sequence[Mapping[str, str]]) -> ET.Element:
    """What could not be judged."""
    n = str(len(errors))
    suite = ET.Element("testsuite", name="not judged", tests=n, errors=n, failures="0", skipped="0", time="0")
    for error in errors:
        case = ET.SubElement(suite, "testcase", classname="not judged", name=_xml(error["id"]), time="0")
        first = error["message"].strip().splitlines()[:1]
        ET.SubElement(case, "error", message=_xml("".join(first))).text = _xml(error["message"])
    return suite


def _xml(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
