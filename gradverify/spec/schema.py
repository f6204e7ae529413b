"""The published JSON Schema of spec files, from the table of keys; `python -m gradverify.spec.schema` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .keys import CASE, DEFAULTS, DOCUMENT, INPUT, Key
from .values import COMPLEX_NUMBER, DOMAINS

PATH = Path(__file__).with_name("schema.json")
ID = "urn:gradverify:spec:1"


def _object(keys: Mapping[str, Key]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"description": key.doc, **key.schema} for name, key in keys.items()},
    }
    required = [name for name, key in keys.items() if key.required]
    return made | ({"required": required} if required else {})


def schema() -> dict[str, Any]:
    """The schema as plain data (JSON Schema draft 2020-12)."""
    values = {
        "description": "A number or a boolean, or nested lists of them, all rows of equal shape.",
        "oneOf": [
            {"type": ["number", "boolean"]},
            {"type": "string", "pattern": COMPLEX_NUMBER, "description": "A complex number: 1+2j, -2j, 1-0j."},
            {"type": "array", "items": {"$ref": "#/$defs/values"}},
        ],
    }
    domain = {
        "description": "[lo, hi], both ends finite, or a name: "
        + "; ".join(f"{name}: {d.doc}" for name, d in DOMAINS.items()) + ".",
        "oneOf": [
            {"enum": list(DOMAINS)},
            {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        ],
    }  # fmt: skip
    mapping = _object(INPUT) | {
        "anyOf": [{"required": ["shape"]}, {"required": ["values"]}],
        "not": {"required": ["values", "domain"]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "gradverify spec file (*.grad.yaml)",
        **_object(DOCUMENT),
        "$defs": {
            "defaults": _object(DEFAULTS),
            "case": _object(CASE),
            "input": {"oneOf": [{"$ref": "#/$defs/values"}, mapping]},
            "domain": domain,
            "values": values,
        },
    }


def text() -> str:
    """The schema file's text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
