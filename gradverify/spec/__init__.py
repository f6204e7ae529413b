"""Spec files: YAML documents of expressions → cases (`load`, `loads`), and back (`dumps`). See docs/spec.md."""

from ..core.errors import SpecError
from ..namespaces.kernels import load_registered
from .document import CaseSpec, Document, InputSpec, load, loads
from .expression import canonical, parse
from .write import dumps

__all__ = [
    "CaseSpec",
    "Document",
    "InputSpec",
    "SpecError",
    "canonical",
    "dumps",
    "load",
    "loads",
    "parse",
]

load_registered()
