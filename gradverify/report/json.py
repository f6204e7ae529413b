"""The JSON report: everything that was judged, in the shape that `schema.json` fixes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import GradverifyError, clipped
from ..core.files import read_regular
from ..core.outcome import GatePolicy
from ..run.runner import Settings
from .files import replace_file
from .records import Record, Recorder
from .tally import tally

if TYPE_CHECKING:
    from jsonschema import ValidationError

FORMAT = 3
"""Counts up when the report changes in a way that breaks its readers."""

MAX_BYTES = 1 << 30
"""Of a report that is read: a million verdicts."""


def schema() -> dict[str, Any]:
    """The report's JSON Schema (draft 2020-12)."""
    loaded: dict[str, Any] = json.loads((files(__package__) / "schema.json").read_text(encoding="utf-8"))
    return loaded


def report_of(recorder: Recorder, settings: Settings) -> dict[str, Any]:
    """The report of a run that a recorder has listened to."""
    return report(
        recorder.records, settings, seconds=recorder.seconds, interrupted=recorder.interrupted, errors=recorder.errors
    )


def report(
    records: Sequence[Record],
    settings: Settings,
    *,
    seconds: float,
    interrupted: bool = False,
    errors: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The whole run as plain data. `errors` are (id, message) of what could not be judged: bad spec files, crashes."""
    return {
        "gradverify": version("gradverify"),
        "format": FORMAT,
        "settings": {
            "subjects": list(settings.subjects) if settings.subjects is not None else None,
            "dtypes": list(settings.dtypes) if settings.dtypes is not None else None,
            "device": settings.device,
            "examples": settings.examples,
            "seed": settings.seed,
            "strict": settings.strict,
            "fail_on": str(settings.policy),
        },
        "seconds": seconds,
        "interrupted": interrupted,
        "ok": all(r["ok"] for r in records) and not interrupted and not errors,
        "errors": [{"id": id, "message": message} for id, message in errors],
        "summary": [row.to_dict() for row in tally(records)],
        "results": list(records),
    }


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the report. NaN and infinities are not JSON: `Verdict.to_dict` has none."""
    replace_file(path, json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Read a report of this format, or convert an older one; checked against the schema.

    Raises GradverifyError with one line on what is wrong.
    """
    try:
        data = json.loads(read_regular(path, MAX_BYTES).decode("utf-8"))
    except RecursionError:
        raise GradverifyError(f"{path}: nested too deep for a gradverify report") from None
    except (OSError, ValueError) as e:
        raise GradverifyError(f"{path}: {clipped(str(e), 200)}") from None
    if isinstance(data, dict) and data.get("format") == 1:
        data = _from_format_1(data)
    if isinstance(data, dict) and data.get("format") == 2:
        data = {**data, "format": FORMAT}  # which lacks what format 3 may have
    try:
        fault = _fault(data)
    except RecursionError:
        raise GradverifyError(f"{path}: nested too deep for a gradverify report") from None
    if fault is not None:
        raise GradverifyError(
            f"{path}: not a gradverify report: {clipped(fault.json_path, 200)}: {clipped(fault.message, 200)}"
        )
    checked: dict[str, Any] = data
    return checked


def _fault(data: Any) -> ValidationError | None:
    """What of a report is not as the schema says."""
    from jsonschema.exceptions import best_match

    found: ValidationError | None = best_match(_validator().iter_errors(data))
    return found


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())


def _from_format_1(data: dict[str, Any]) -> dict[str, Any]:
    """The same report in this format: a FAIL that was known is KNOWN, and what was unsupported is laid to the subject."""
    try:
        for result in data["results"]:
            verdict = result["verdict"]
            verdict["outcome"] = "KNOWN" if verdict["known"] else verdict["status"]
            del verdict["status"]
            verdict["reason"] = _FORMAT_1_REASONS.get(verdict["reason"], verdict["reason"])
        policy = GatePolicy(strict=data["settings"]["strict"])
        return {
            **data,
            "format": FORMAT,
            "settings": {**data["settings"], "fail_on": str(policy)},
            "summary": [row.to_dict() for row in tally(data["results"])],
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        return data  # no report of format 1 either: the schema says where


_FORMAT_1_REASONS = {"unsupported": "subject"}
