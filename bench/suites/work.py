"""Suites as work for a scheduler: an item is the name of a project. `folder` is on a disk that all workers see."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.suites.projects import PROJECTS
from gradverify.run.campaign.log import code, versions
from gradverify.run.crew import Lost


@dataclass(frozen=True)
class Suites:
    """What `run.examine` is given: limits for one suite, for all judging and for one record, and the runs in turns."""

    folder: Path
    each_suite: float
    seconds: float
    pairs: int
    each: float

    @property
    def limit(self) -> float:
        """A plain run, the pairs, the judged one and two that are repeated: every one has a limit of its own."""
        return (4 + 2 * self.pairs) * self.each_suite + self.seconds + 600.0

    def prepare(self) -> None:
        """The suites run in processes of their own."""

    def do(self, name: str) -> dict[str, Any]:
        from bench.suites.run import examine  # which is the main module where somebody asks for suites

        project = next(p for p in PROJECTS if p.name == name)
        try:
            row = examine(project, self.folder, self.each_suite, self.seconds, self.pairs, self.each)
        except (subprocess.SubprocessError, OSError, StopIteration) as e:
            return {"name": name, "error": f"{e}"}
        return {"name": name, "row": json.loads(json.dumps(row, default=str))}

    def lost(self, name: str, how: Lost, seconds: float) -> dict[str, Any]:
        return {"name": name, "error": how.message}

    def state(self) -> dict[str, str]:
        return {"state of gradverify's code": code()} | {
            f"version of {name}": v for name, v in versions(["torch"]).items()
        }
