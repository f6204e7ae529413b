"""One defect of each of twelve kinds, planted in the installed copies of public projects: which does the sanitizer find?

    python -m bench.suites.planted --folder /scratch/suites [--write] entmax       (from the repository root)

A few lines are appended to the project's own file, which change what the backward pass of one of its Functions returns. Its
suite then runs once for each kind, with `--gradverify-watch`. Found is what an item of that Function fails for, and of the
suite itself whether one of its own tests fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.suites.projects import PROJECTS
from bench.suites.run import ROOT, environment, prepare

DEFECTS = {
    "none at all": "d",
    "sign": "-d",
    "factor 1.01": "1.01 * d",
    "factor 1 + 1e-5": "(1 + 1e-5) * d",
    "cotangent ignored": "d",  # by `ones`, below
    "mean for sum": "d / max(d.numel(), 2)",
    "off by one": "d.roll(1, -1) if d.dim() else d + 1",
    "tail left out": "_torch.cat([d.reshape(-1)[:-1], d.new_zeros(1)]).reshape(d.shape)",
    "no gradient": "None",
    "through bfloat16": "d.to(_torch.bfloat16).to(d.dtype)",
    "a term more": "d + 1e-3 * x",
    "a branch": "_torch.where(x > x.mean(), 1.1 * d, d)",
    "not finite": "_torch.where(x == x.max(), x.new_tensor(float('inf')) - float('inf'), d)",
}

PLANT = """

# ---- planted --------------------------------------------------------------------------------------------------------
import os as _os
import torch as _torch
_forward, _backward = {cls}.forward, {cls}.backward

def _seen(ctx, *args, **kwargs):
    ctx._given = [a.detach().clone() if isinstance(a, _torch.Tensor) else None for a in args]
    return _forward(ctx, *args, **kwargs)

def _planted(ctx, *g):
    kind = _os.environ.get("PLANTED", "")
    if kind == "cotangent ignored":
        g = tuple(None if c is None else _torch.ones_like(c) for c in g)
    out = _backward(ctx, *g)
    one = not isinstance(out, tuple)
    out = [out] if one else list(out)
    k = next(k for k, d in enumerate(out) if d is not None)
    d, x = out[k], ctx._given[k]
    out[k] = {{{cases}}}.get(kind, lambda: d)()
    return out[0] if one else tuple(out)

{cls}.forward, {cls}.backward = staticmethod(_seen), staticmethod(_planted)
"""

RUN = """
import contextlib, io, json, os, sys, pytest
found = {}
for kind in json.loads(sys.argv[1]):
    os.environ["PLANTED"] = kind
    class Reports:
        theirs, ours, texts = [], [], []
        def pytest_runtest_logreport(self, report):
            ours = report.nodeid.startswith("gradverify::")
            if report.failed:
                (self.ours if ours else self.theirs).append(report.nodeid)
                if ours:
                    self.texts.append(str(report.longrepr))
            elif ours and report.when == "call" and report.passed:
                self.passed = getattr(self, "passed", 0) + 1
    Reports.theirs, Reports.ours, Reports.texts = [], [], []
    said, r = io.StringIO(), Reports()
    with contextlib.redirect_stdout(said):
        pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]], plugins=[r])
    found[kind] = {"theirs": r.theirs, "ours": r.ours, "texts": r.texts, "passed": getattr(r, "passed", 0),
                   "said": said.getvalue()}
    print("DONE", kind, len(r.ours), getattr(r, "passed", 0), len(r.theirs), file=sys.stderr)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Target:
    """A Function of a project's whose gradient the sanitizer passes, and tests that run it."""

    project: str
    file: str
    function: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.file.removesuffix('.py').replace('/', '.')}.{self.function}"


TARGETS = (
    Target("entmax", "entmax/activations.py", "Entmax15Function", ("entmax/test_topk.py",)),
    Target("linear_operator", "linear_operator/functions/_matmul.py", "Matmul", ("test/functions/test_matmul.py",)),
    Target("gpytorch", "gpytorch/functions/rbf_covariance.py", "RBFCovariance", ("test/functions/test_rbf_covariance.py",)),
    Target("e3nn", "e3nn/math/_soft_unit_step.py", "_SoftUnitStep",
           ("tests/math/soft_unit_step_test.py", "-o", "python_files=*_test.py")),
    Target("sparsemax", "sparsemax/sparsemax.py", "SparsemaxFunction", ("tests", "-k", "test_sparsemax and (-1 or -2)")),
)  # fmt: skip


def examine(target: Target, folder: Path, kinds: list[str], seconds: float, limit: float) -> dict[str, Any]:
    """The result of each kind of defect."""
    project = next(p for p in PROJECTS if p.name == target.project)
    path, tree = prepare(project, folder)
    file = tree / target.file
    text = file.read_text()
    cases = ", ".join(f"{k!r}: lambda: {v}" for k, v in DEFECTS.items())
    file.write_text(text + PLANT.format(cls=target.function, cases=cases))
    try:
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(kinds), *target.tests, f"--gradverify-watch={target.name}",
             f"--gradverify-watch-seconds={seconds}", "--gradverify-watch-limit=60"],
            cwd=tree, env=environment(path), capture_output=True, text=True, check=False, timeout=limit,
        )  # fmt: skip
    finally:
        file.write_text(text)
    (folder / f"{target.project}-planted.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


PAGE = ROOT / "bench" / "results" / "planted.md"


def columns(results: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """By target, a cell per kind: found by gradverify, or not; and by the suite itself. Of no results, those of the page."""
    found = _written()
    for target in TARGETS:
        if target.project in results:
            found[_head(target)] = [_cell(results[target.project].get(kind)) for kind in DEFECTS]
    return {head: found[head] for head in map(_head, TARGETS) if head in found}


def _head(target: Target) -> str:
    return f"{target.project}: `{target.function}`"


def _cell(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    judged = one["passed"] + len(one["ours"])
    return f"{len(one['ours'])} of {judged} FAIL" + (", the suite too" if one["theirs"] else "")


def _written() -> dict[str, list[str]]:
    """The columns of the page as it is."""
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    if [row[0] for row in rows[1:]] != list(DEFECTS):
        return {}
    return {head: list(cells) for head, *cells in list(zip(*rows))[1:]}


def table(found: dict[str, list[str]]) -> list[str]:
    """A row per kind, a column per project."""
    lines = [f"| {' | '.join(['defect', *found])} |", f"|{'---|' * (len(found) + 1)}"]
    return lines + [f"| {' | '.join([kind, *cells])} |" for kind, *cells in zip(DEFECTS, *found.values())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="projects; all by default")
    parser.add_argument("--folder", type=Path, required=True, help="for sources and logs")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one project")
    parser.add_argument("--seconds", type=float, default=15.0, help="for judging one run")
    parser.add_argument("--kinds", default=",".join(DEFECTS))
    parser.add_argument("--write", action="store_true", help="write bench/results/planted.md")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for target in TARGETS:
        kept = options.folder.resolve() / f"{target.project}-planted.json"
        if not options.names or target.project in options.names:
            kinds = [k for k in options.kinds.split(",") if k in DEFECTS]
            found = examine(target, options.folder.resolve(), kinds, options.seconds, options.limit)
            found = {**(json.loads(kept.read_text()) if kept.exists() else {}), **found}  # of other kinds
            kept.write_text(json.dumps(found))
            print("\n".join(table({_head(target): [_cell(found.get(k)) for k in DEFECTS]})), flush=True)
        if kept.exists():
            results[target.project] = json.loads(kept.read_text())
    lines = table(columns(results))
    if options.write:
        head = [
            "# Planted defects", "",
            "By `python -m bench.suites.planted --folder FOLDER --write`: other people's Functions and suites, defects of",
            "ours. `none at all` is the control. `off by one` changes nothing where the last axis is of length 1, nor,",
            "like `tail left out`, in gpytorch's gradient: that is summed, and its last entry is 0 (a distance to itself).",
            "",
        ]  # fmt: skip
        PAGE.write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
