"""gradverify: the sanitizer for gradients. Says, with evidence and without a tolerance to tune, whether one is right.

The names below are imported when they are first used: pytest loads gradverify's plugin in every run of every project
that has it installed, so `import gradverify` itself must cost nothing and bring nothing along.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import WrongGradient as WrongGradient
    from .api import assert_gradients as assert_gradients
    from .api import check as check
    from .checker.probes import Probe as Probe
    from .checker.probes import register_probe as register_probe
    from .core.case import Case as Case
    from .core.case import Source as Source
    from .core.errors import BadInput as BadInput
    from .core.errors import DomainError as DomainError
    from .core.errors import GradverifyError as GradverifyError
    from .core.errors import ShapeError as ShapeError
    from .core.errors import SpecError as SpecError
    from .core.errors import UnknownName as UnknownName
    from .core.errors import Unsupported as Unsupported
    from .core.graph import Graph as Graph
    from .core.op import OpSpec as OpSpec
    from .core.outcome import FailKind as FailKind
    from .core.outcome import GatePolicy as GatePolicy
    from .core.outcome import Outcome as Outcome
    from .core.outcome import Reason as Reason
    from .core.verdict import Verdict as Verdict
    from .ops import OPS as OPS
    from .run.runner import Runner as Runner
    from .run.runner import Settings as Settings
    from .run.runner import judge_case as judge_case
    from .watch.pins import surrogate as surrogate
    from .watch.session import watch as watch

# Public name -> the module that defines it.
_HOMES = {
    "check": "api",
    "assert_gradients": "api",
    "WrongGradient": "api",
    "Probe": "checker.probes",
    "register_probe": "checker.probes",
    "Case": "core.case",
    "Source": "core.case",
    "BadInput": "core.errors",
    "DomainError": "core.errors",
    "GradverifyError": "core.errors",
    "ShapeError": "core.errors",
    "SpecError": "core.errors",
    "UnknownName": "core.errors",
    "Unsupported": "core.errors",
    "Graph": "core.graph",
    "OpSpec": "core.op",
    "FailKind": "core.outcome",
    "GatePolicy": "core.outcome",
    "Outcome": "core.outcome",
    "Reason": "core.outcome",
    "Verdict": "core.verdict",
    "Runner": "run.runner",
    "Settings": "run.runner",
    "judge_case": "run.runner",
    "OPS": "ops",
    "surrogate": "watch.pins",
}

# Drop-ins for the checks of frameworks, each of which imports its framework.
_FACES = ("torch", "jax", "autograd")

# A room that can be called: `with gradverify.watch() as watched`.
_CALLABLE = "watch"

__all__ = [*_HOMES, "__version__", "watch"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("gradverify")
    if name in _FACES or name == _CALLABLE:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'gradverify' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
