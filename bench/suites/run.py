"""Public projects' own suites, without and with the sanitizer: what it records, says and costs, and whether it disturbs.

    python -m bench.suites.run --folder /scratch/suites entmax memcnn        (from the repository root)

Each project runs from its unpacked source distribution, in the environment of this one (PyTorch, NumPy, pytest, gradverify)
with what else it needs in a folder of its own. The table says: definitions met, calls recorded, each outcome, the CPU time
that recording adds (of runs in turns, importing gradverify included), the seconds of judging, and whether every test of the
project's has the outcome that it has without.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.suites.projects import PROJECTS, Project
from bench.suites.work import Suites
from gradverify.run.scheduling import one_by_one, scheduler

ROOT = Path(__file__).parents[2]

SAMPLES = 8
"""Recorded calls of one definition: enough for one of each kind and one more of other values, in most suites."""

OUTCOMES = ("PASS", "KNOWN", "WEAK", "SURROGATE", "FAIL", "INCONCLUSIVE")


def prepare(project: Project, folder: Path) -> tuple[list[Path], Path]:
    """What the path of imports starts with, and the project's source tree."""
    needs, sources = folder / f"{project.name}-needs", folder / f"{project.name}-src"
    if project.needs and not needs.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", needs, *project.needs]
        subprocess.run(command, check=True)
    if not sources.exists() and project.repository:
        there = f"https://github.com/{project.repository}"
        subprocess.run(["git", "clone", "-q", "--depth", "1", there, sources / project.name], check=True)
    elif not sources.exists():
        with tarfile.open(_archive(project, folder / "sdist")) as archive:
            archive.extractall(sources, filter="data")
        tree = next(p for p in sources.iterdir() if p.is_dir())
        for file, old, new in project.patches:
            text = (tree / file).read_text() if (tree / file).exists() else ""
            assert old in text, f"{file} has no {old!r}"
            (tree / file).write_text(text.replace(old, new) if old else text or new)
    tree = next(p for p in sources.iterdir() if p.is_dir())
    if project.wheel and not list(tree.glob(f"{project.package}/**/*.so")):
        _take_compiled(project, folder / "wheels", tree)
    return [tree, ROOT, needs], tree


def _take_compiled(project: Project, folder: Path, tree: Path) -> None:
    """Unpack the compiled files of the project's wheel into its source tree."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder]
    subprocess.run([*command, project.wheel], check=True)
    name = project.wheel.partition("==")[0].lower().replace("-", "_")
    with zipfile.ZipFile(next(p for p in folder.glob("*.whl") if p.name.lower().startswith(f"{name}-"))) as wheel:
        for member in wheel.namelist():
            if member.endswith(".so"):
                wheel.extract(member, tree)


def _archive(project: Project, folder: Path) -> Path:
    """The source distribution, downloaded if it is not there yet."""
    pattern = f"{project.name.replace('-', '?').replace('_', '?')}-{project.version}.tar.gz"
    if not list(folder.glob(pattern)):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--no-binary",
            project.name,
            "-d",
            folder,
        ]
        subprocess.run([*command, f"{project.name}=={project.version}"], check=True)
    return next(folder.glob(pattern))


def environment(path: list[Path]) -> dict[str, str]:
    """The variables of a run of a suite: one thread, these folders first."""
    return {**os.environ, "PYTHONPATH": ":".join(map(str, path)), "OMP_NUM_THREADS": "1", "GRADVERIFY_EFFORT": ""}


def run(path: list[Path], tree: Path, project: Project, out: Path, options: list[str], limit: float) -> dict[str, Any]:
    """The outcome of each test, and the seconds that the run took."""
    junit = out.with_suffix(".xml")
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", f"--junitxml={junit}",
         *options, *project.tests],
        cwd=tree, env=environment(path), capture_output=True, text=True, check=False, timeout=limit,
    )  # fmt: skip
    out.with_suffix(".log").write_text(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "tests": _tests(junit) if junit.exists() else {},
        "code": done.returncode,
    }


def _tests(junit: Path) -> dict[str, str]:
    found = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        found[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return found


def examine(project: Project, folder: Path, limit: float, seconds: float, pairs: int, each: float) -> dict[str, Any]:
    """One row of the table. `limit` is for a suite, `seconds` for all judging, `each` for one record."""
    path, tree = prepare(project, folder)
    off, on = list[str](), ["--gradverify-watch=project", "--gradverify-watch-seconds=0"]
    plain = run(path, tree, project, folder / f"{project.name}-plain", [], limit)
    shares = []
    for _ in range(pairs):
        costs = [run(path, tree, project, folder / f"{project.name}-{word}", options, limit)["cpu"]
                 for word, options in (("off", off), ("recorded", on))]  # fmt: skip
        shares.append(100 * (costs[1] / costs[0] - 1))
    report = folder / f"{project.name}.json"
    judged = run(path, tree, project, folder / f"{project.name}-judged",
                 ["--gradverify-watch=project", f"--gradverify-watch-seconds={seconds}",
                  f"--gradverify-watch-samples={SAMPLES}", f"--gradverify-watch-limit={each}",
                  f"--gradverify-report=json:{report}"],
                 limit + seconds)  # fmt: skip
    results = json.loads(report.read_text())["results"] if report.exists() else []
    theirs = {k: v for k, v in judged["tests"].items() if not k.startswith("gradverify::")}
    changed = {k: v for k, v in theirs.items() if plain["tests"].get(k) != v}
    for _ in range(2 if changed else 0):  # a test whose outcome varies without the watch as well is nobody's doing
        again = run(path, tree, project, folder / f"{project.name}-again", [], limit)["tests"]
        changed = {k: v for k, v in changed.items() if again.get(k) != v}
    return {
        "project": f"{project.name} {project.version}",
        "by": _commit(),
        "tests": Counter(plain["tests"].values()),
        "definitions": len({r["verdict"]["facts"]["definition"] for r in results}),
        "records": len(results) + sum(v == "skipped" for k, v in judged["tests"].items() if k.startswith("gradverify::")),
        "left": sum(v == "skipped" for k, v in judged["tests"].items() if k.startswith("gradverify::")),
        "ran": " ".join(project.tests),
        **{o: sum(r["verdict"]["outcome"] == o for r in results) for o in OUTCOMES},
        "plain": plain["seconds"],
        "recording": f"{statistics.median(shares):+.1f} ({min(shares):+.1f} to {max(shares):+.1f})" if shares else "",
        "judging": judged["seconds"] - plain["seconds"],
        "unchanged": set(theirs) == set(plain["tests"]) and not changed,
        "changed": {k: (plain["tests"].get(k), v) for k, v in changed.items()},
        "open": Counter(
            f"{v['reason']}: {' '.join(v['message'].split())}"
            for r in results if (v := r["verdict"])["outcome"] == "INCONCLUSIVE"
        ),
        "fails": [(r["id"], v["kind"], v["message"]) for r in results if (v := r["verdict"])["outcome"] == "FAIL"],
    }  # fmt: skip


def _commit() -> str:
    """The last commit that changed what judges."""
    command = ["git", "log", "-1", "--format=%h", "--", "gradverify"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as Markdown, and a last one with their sums."""
    sums = ("definitions", "records", *OUTCOMES, "left")
    heads = (
        "project",
        "tests",
        *sums[:-1],
        "no time",
        "suite, s",
        "recording, % of CPU time",
        "judging, s",
        "unchanged",
        "by",
    )
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for r in rows:
        tests = ", ".join(f"{n} {o}" for o, n in r["tests"].items())
        cells = [r["project"], tests, *(r[key] for key in sums),
                 f"{r['plain']:.1f}", r["recording"], f"{r['judging']:.1f}", "yes" if r["unchanged"] else "no",
                 r.get("by", "earlier")]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    cells = ["all", "", *(sum(r[key] for r in rows) for key in sums), "", "", "", "", ""]
    return [*lines, f"| {' | '.join(map(str, cells))} |"]


def page(rows: list[dict[str, Any]]) -> list[str]:
    """bench/results/suites.md."""
    broken = [r["project"] for r in rows if set(r["tests"]) <= {"error"}]
    rows = [r for r in rows if r["project"] not in broken]
    judged = sum(r[o] for r in rows for o in OUTCOMES)
    open_, left = sum(r["INCONCLUSIVE"] for r in rows), sum(r["left"] for r in rows)
    lines = [
        "# Public projects' own suites", "",
        "By `python -m bench.suites.run --folder FOLDER --write`: other people's suites and custom gradients.",
        "`no time` counts records that were left when the time for judging was over. The seconds are of a machine that did",
        "other work beside it: on a busy one more is left. `by` is the commit of gradverify that a row is from. Of each",
        f"definition up to {SAMPLES} calls are recorded.", "",
        *table(rows), "",
        f"{judged - open_} of the {judged} records that were judged are decided",
        f"({100 * (judged - open_) / max(judged, 1):.1f} %); {left} were left, and what fails is judged first.",
        *([f"Not run, since their tests cannot be imported here: {', '.join(broken)}."] if broken else []),
        "", "## What is open", "",
        *(f"* {r['project']}: {n} × {why}" for r in rows for why, n in r.get("open", {}).items()),
        "", "## What was run", "",
        *(f"* {r['project']}: `{r['ran']}`" for r in rows), "",
        "## Every FAIL", "",
        "As the sanitizer says it; docs/findings.md has what is behind them.", "",
    ]  # fmt: skip
    for r in rows:
        for name, kind, message in r["fails"]:
            lines.append(f"* {kind}: `{name.removeprefix('gradverify::')}`. {' '.join(message.split())}")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="projects; all by default")
    parser.add_argument("--folder", type=Path, required=True, help="for environments, sources and logs")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one run of a suite")
    parser.add_argument("--pairs", type=int, default=3, help="runs with and without recording, in turns")
    parser.add_argument("--seconds", type=float, default=120.0, help="for judging")
    parser.add_argument("--each", type=float, default=60.0, help="seconds for one record")
    parser.add_argument("--write", action="store_true", help="write bench/results/suites.md, of earlier runs as well")
    parser.add_argument("--keep", action="store_true", help="run only what has not been run")
    parser.add_argument("--scheduler", default="local", help="local, or dask://HOST:PORT, as of gradverify campaign")
    parser.add_argument("--jobs", type=int, default=1, help="suites at a time: more than one disturbs what is timed")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = {p.name: options.folder / f"{p.name}-row.json" for p in PROJECTS}
    asked = [p.name for p in PROJECTS if not options.names or p.name in options.names]
    todo = [name for name in asked if not (options.keep and kept[name].exists())]
    work = Suites(options.folder.resolve(), options.limit, options.seconds, options.pairs, options.each)
    for entry in scheduler(options.scheduler, options.jobs)(work, one_by_one(todo)):
        if "error" in entry:
            print(f"{entry['name']}: {entry['error']}", flush=True)
            continue
        row, file = entry["row"], kept[entry["name"]]
        whole = file.with_suffix(".part")
        whole.write_text(json.dumps(row, indent=1))
        whole.replace(file)  # what is there was written to its end
        for name, kind, message in row["fails"]:
            print(f"FAIL ({kind}): {name}\n    {message}")
        for test, (before, after) in row["changed"].items():
            print(f"changed: {test}: {before} -> {after}")
        print(table([row])[2], flush=True)
    rows = [json.loads(file.read_text()) for file in kept.values() if file.exists()]
    if options.write:
        (ROOT / "bench" / "results" / "suites.md").write_text("\n".join(page(rows)))


if __name__ == "__main__":
    main()
