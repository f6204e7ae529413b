"""kill -9 of scheduler, nannies, workers, their processes and the client of a campaign, at random moments.

    python bench/kills.py [--kills 100] [--graphs 200] [--seed 0] [--local] [--folder FOLDER]

A scheduler and two workers of Dask run beside the client, over loopback; with `--local` there is the client alone, with two
processes. What was killed is started again, as somebody would who sees it gone; the campaign goes on with its log. A
campaign that is through before the last kill begins again, with a log of its own. Each log is held against a campaign that
nobody disturbed: the same verdicts, each once; one that somebody was killed at may be named as a crash. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 300
"""Seconds for the log to grow, after which the script gives up."""

WHOM = ("client", "scheduler", "nanny", "worker", "process")
"""process: the one below a worker (with --local, below the client) that runs the verdicts."""


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    found: list[str] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += (thread / "children").read_text().split()
    except OSError:
        return []
    return list(map(int, found))


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def is_alive(pid: int) -> bool:
    """Does it run? One that has ended and that nobody has asked for is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def outcomes(log: Path) -> dict[tuple[int, str, str], str]:
    """By graph, subject and dtype. Raises AssertionError where something was judged twice."""
    found = [e for e in map(json.loads, log.read_text().splitlines()) if "i" in e]
    keys = [(e["i"], e["subject"], e["dtype"]) for e in found]
    twice = [key for key, n in Counter(keys).items() if n > 1]
    assert not twice, f"{log}: judged twice: {twice[:5]}"
    return dict(zip(keys, (e["is"] for e in found)))


def disagreement(killed: Path, whole: Path, kills: int) -> str:
    """What is wrong with the log of a campaign that was killed; "" where nothing is."""
    found, wanted = outcomes(killed), outcomes(whole)
    if found.keys() != wanted.keys():
        lost, more = wanted.keys() - found.keys(), found.keys() - wanted.keys()
        return f"{len(lost)} verdicts lost, {len(more)} too many"
    other = [key for key in wanted if found[key] != wanted[key]]
    crashed = [key for key in other if found[key] == "crash"]
    if len(crashed) < len(other):
        return f"other outcomes: {[(key, found[key], wanted[key]) for key in other][:5]}"
    return f"{len(crashed)} crashes after {kills} kills" if len(crashed) > kills else ""


@dataclass
class Setting:
    """A client, and what it needs; whatever is not there any more is started by `mend`."""

    log: Path
    graphs: int
    local: bool
    port: int = 0
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def said(self) -> Path:
        """What the clients wrote to standard error."""
        return self.log.with_suffix(".err")

    def command(self, log: Path) -> list[str]:
        where = "local" if self.local else f"dask://127.0.0.1:{self.port}"
        return [
            sys.executable, "-m", "gradverify", "campaign", "--subjects", "engine", "--dtypes", "float32,float64",
            "--graphs", str(self.graphs), "--seed", "5", "--jobs", "2", "--scheduler", where, "--log", str(log),
        ]  # fmt: skip

    def mend(self) -> None:
        """Start what is gone: scheduler, nannies, client."""
        if not self.local:
            self._start(
                "scheduler", "dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
            )
            for name in ("nanny 0", "nanny 1"):
                there = f"tcp://127.0.0.1:{self.port}"
                self._start(name, "dask_worker", there, "--nthreads", "1", "--no-dashboard", "--death-timeout", "120")
        if not self.runs("client"):
            with self.said.open("ab") as said:
                command = self.command(self.log)
                self.running["client"] = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)

    def _start(self, name: str, module: str, *args: str) -> None:
        if not self.runs(name):
            command = [sys.executable, "-m", f"distributed.cli.{module}", *args]
            self.running[name] = subprocess.Popen(command, cwd=ROOT, **QUIET)

    def runs(self, name: str) -> bool:
        return name in self.running and self.running[name].poll() is None

    def victims(self) -> list[tuple[str, int]]:
        """Who runs now, by role."""
        found = [(name.split()[0], p.pid) for name, p in self.running.items() if self.runs(name)]
        if self.local:
            return found + [("process", pid) for pid in descendants(self.running["client"].pid)]
        for name in ("nanny 0", "nanny 1"):
            for worker in children(self.running[name].pid) if self.runs(name) else ():
                found.append(("worker", worker))
                found += [("process", pid) for pid in descendants(worker)]
        return found

    def end(self) -> None:
        for process in self.running.values():
            below = list(descendants(process.pid)) if process.poll() is None else []
            for pid in (process.pid, *below):
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def entries(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill(setting: Setting, rng: random.Random) -> str:
    """Kill somebody once the campaign judges; who it was, "" if the campaign was through before."""
    setting.mend()
    before, until = entries(setting.log), time.monotonic() + PATIENCE
    while entries(setting.log) <= before:  # a session writes its head and its first entry together
        if setting.running["client"].poll() in (0, 1):
            return ""
        setting.mend()
        if time.monotonic() > until:
            raise TimeoutError(f"{setting.log}: nothing was judged for {PATIENCE} s")
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 1))
    if setting.running["client"].poll() is not None:
        return ""
    victims = setting.victims()
    role = rng.choice(sorted({role for role, _ in victims}, key=WHOM.index))
    pid = rng.choice([pid for r, pid in victims if r == role])
    below = list(descendants(pid))
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return kill(setting, rng)
    if role == "client":
        setting.running["client"].wait()
        wait_for_end(below)
    return role


def wait_for_end(pids: list[int]) -> None:
    """Raise AssertionError where a process outlives its parent."""
    until = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < until, f"processes outlived their parent: {[p for p in pids if is_alive(p)]}"
        time.sleep(0.05)


def finish(setting: Setting) -> None:
    """Run the campaign to its end, whatever has to be started for it."""
    until = time.monotonic() + PATIENCE + setting.graphs
    while True:
        setting.mend()
        try:
            if setting.running["client"].wait(timeout=1) in (0, 1):
                return
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"{setting.log}: the campaign did not end")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def disturb(kills: int, graphs: int, seed: int, local: bool, folder: Path) -> Counter[str]:
    """Kill so many; how many of each. Raises AssertionError where a log is not what it is to be."""
    whole = folder / "whole.jsonl"
    undisturbed = Setting(whole, graphs, True)
    finish(undisturbed)
    rng, hit, round_ = random.Random(seed), Counter[str](), 0
    while hit.total() < kills:
        setting = Setting(folder / f"{'local' if local else 'dask'}{round_}.jsonl", graphs, local, free_port())
        here = 0
        try:
            while hit.total() < kills and (role := kill(setting, rng)):
                hit[role] += 1
                here += 1
                print(f"{hit.total()}: {role}, at {entries(setting.log)} lines", flush=True)
            finish(setting)
        finally:
            setting.end()
        wrong = disagreement(setting.log, whole, here)
        if "/gradverify/" in setting.said.read_text(errors="replace"):  # Python's resource tracker, killed, has one too
            wrong += f" a client ended in a traceback: see {setting.said}"
        crashed = sum(found == "crash" for found in outcomes(setting.log).values())
        print(
            f"log {round_}: {here} kills, {len(outcomes(whole))} verdicts, {crashed} crashes. {wrong or 'ok'}",
            flush=True,
        )
        assert not wrong, wrong
        round_ += 1
    return hit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--graphs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the logs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends with it
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        hit = disturb(options.kills, options.graphs, options.seed, options.local, folder)
    print(f"{hit.total()} kills: {', '.join(f'{n} {role}' for role, n in hit.most_common())}")


if __name__ == "__main__":
    main()
