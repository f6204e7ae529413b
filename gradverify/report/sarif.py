"""The SARIF 2.1.0 report, which GitHub's code scanning and editors read: each fault at its line, a rule per kind.

The standard is OASIS's (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html); the sections are cited below.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..core.outcome import FailKind, Outcome, Reason
from . import outcomes
from .files import encoded, replace_file
from .sentences import Sentence, sentence_of

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

KINDS: Mapping[FailKind, str] = {
    FailKind.WRONG: "The gradient is not that of the function.",
    FailKind.PRECISION: "The leading digits of the gradient are right, and digits are lost.",
    FailKind.NON_FINITE: "The gradient is infinite or NaN where the true one is finite.",
    FailKind.STRUCTURE: "A gradient has the wrong shape, dtype or device, or is missing.",
    FailKind.LAW: "A law that holds for every gradient is broken.",
    FailKind.RAISED: "The function or its backward pass raised.",
    FailKind.DETACHED: "The gradient is right only with detached values held constant.",
    FailKind.CLAIM: "What the author says of the gradient does not hold.",
}

OTHERS: Mapping[Outcome, str] = {
    Outcome.PASS: "The gradient is right, where another outcome was expected.",
    Outcome.KNOWN: "A formula that the framework declares explains the loss.",
    Outcome.WEAK: "The formula is right, and digits are lost that need not be.",
    Outcome.SURROGATE: "The true derivative is zero almost everywhere, and the rule is not.",
    Outcome.INCONCLUSIVE: "Nothing is claimed.",
}

LEVELS: Mapping[Outcome, str] = {Outcome.WEAK: "warning", Outcome.FAIL: "warning"}
"""Levels of what is acceptable (section 3.27.10); what is not is an error, the rest a note."""


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the report of a run, in the shape of `schema.json`. Raises OSError."""
    replace_file(path, json.dumps(log_of(data), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def log_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The log: one run, whose results are all that is no acceptable PASS."""
    sentences = [s for s in map(sentence_of, data["results"]) if s.is_notable]
    pages = {_rule_id(s): s.page for s in sentences}
    names = sorted(pages)
    driver = {
        "name": "gradverify",
        "semanticVersion": data["gradverify"],
        "rules": [_rule(name, pages[name]) for name in names],
    }
    notified = [
        {
            "level": "error",
            "message": {"text": e["message"] or "no message"},
            "descriptor": {"id": "not-judged"},
            "properties": {"id": e["id"]},
        }
        for e in data["errors"]
    ]
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {
                "executionSuccessful": not data["interrupted"] and not data["errors"],
                "toolExecutionNotifications": notified,
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [_result(s, names.index(_rule_id(s))) for s in sentences],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule_id(s: Sentence) -> str:
    """`gradverify/fail-wrong`: stable, since who dismisses an alert does so by it."""
    words = re.findall(r"[a-z_-]+", s.heading.lower())
    return "gradverify/" + "-".join(words).replace("_", "-")


def _rule(name: str, page: str) -> dict[str, Any]:
    """The rule (section 3.49) of an outcome and kind, or reason. Its help (3.49.12) is the page of `gradverify outcome`."""
    outcome, _, kind = name.removeprefix("gradverify/").partition("-")
    text = OTHERS.get(Outcome(outcome.upper()), "")
    if kind:
        kinds = {k.value: t for k, t in KINDS.items()}
        reasons = {r.name.lower().replace("_", "-"): f"Nothing is claimed: {r}." for r in Reason}
        text = {**kinds, **reasons}.get(kind, text)
    level = "error" if outcome == "fail" else "warning" if outcome == "weak" else "note"
    about = outcomes.read_alone(page) if page else ""
    helped = {"help": {"text": f"gradverify outcome {page}\n\n{about}", "markdown": about}} if about else {}
    return {
        "id": name,
        "name": "".join(w.capitalize() for w in re.findall(r"[a-z]+", f"{outcome} {kind}")),
        "shortDescription": {"text": text},
        "fullDescription": {"text": text},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["gradient", outcome]},
        **helped,
    }


def _result(s: Sentence, rule: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ruleId": _rule_id(s),
        "ruleIndex": rule,
        "level": LEVELS.get(s.outcome, "note") if s.is_ok else "error",
        "message": {"text": s.text},
        "locations": [_location(s)],
        # Section 3.27.17: what a later run recognises the same result by, wherever its line has moved to.
        "partialFingerprints": {"gradverifyId/v1": hashlib.sha256(encoded(s.id)).hexdigest()},
        "properties": dict(s.properties),
    }
    if s.accepted:
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": s.accepted}]
    return made


def _location(s: Sentence) -> dict[str, Any]:
    named = {"logicalLocations": [{"fullyQualifiedName": s.id, "kind": "function"}]}
    if not s.file:
        return named
    place: dict[str, Any] = {"uri": quote(s.file)}
    if not s.file.startswith("/"):
        place["uriBaseId"] = "%SRCROOT%"  # section 3.14.14
    return {"physicalLocation": {"artifactLocation": place, "region": {"startLine": s.line}}, **named}
