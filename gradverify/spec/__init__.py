"""Spec files: YAML documents of expressions → cases (`load`, `loads`), and back (`dumps`). See docs/spec.md."""

from ..core.errors import SpecError
from .document import CaseSpec, Document, InputSpec, load, loads
from .expression import canonical, parse
from .write import case_text, dumps

__all__ = [
    "CaseSpec",
    "Document",
    "InputSpec",
    "SpecError",
    "canonical",
    "case_text",
    "dumps",
    "load",
    "loads",
    "parse",
]
