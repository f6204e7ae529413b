"""`gradverify watch`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import click

from ..core.outcome import GatePolicy
from ..watch.session import watch
from .group import Exit
from .options import _fail_on


@click.command("watch", context_settings={"ignore_unknown_options": True})
@click.option("--what", default="project", show_default=True, help='project, all, or patterns: "mypkg.ops.*".')
@click.option("--seconds", type=click.FloatRange(0), help="For judging; by default 30, or a tenth of the run.")
@click.option("--fail-on", callback=_fail_on, metavar="OUTCOMES", help="What gates; by default fail.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, required=True)
def command(what: str, seconds: float | None, fail_on: Any, program: tuple[str, ...]) -> int:
    """Run a Python PROGRAM, record the custom gradients that it executes, and judge them.

    \b
    gradverify watch -- python train.py --epochs 1
    gradverify watch -- -m mypkg.train
    """
    policy = GatePolicy.of(fail_on)
    with watch(what) as watched:
        code = run_program(list(program))
    watched.judge(seconds)
    for line in watched.lines(policy):
        click.echo(line)
    return code or (Exit.FAIL if watched.gates(policy) else Exit.OK)


def run_program(program: list[str]) -> int:
    """Run the program as `python` would, in this process; its exit code."""
    if Path(program[0]).name.startswith("python"):
        program = program[1:]
    if not program:
        raise click.UsageError("a program is wanted: gradverify watch -- python train.py")
    argv, path = sys.argv, list(sys.path)
    try:
        if program[0] == "-m":
            if len(program) < 2:
                raise click.UsageError("-m takes the name of a module")
            sys.argv = program[1:]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        elif not Path(program[0]).is_file():
            raise click.UsageError(f"{program[0]} is no Python program: gradverify watch -- python train.py")
        else:
            sys.argv = program
            sys.path.insert(0, str(Path(program[0]).resolve().parent))
            runpy.run_path(program[0], run_name="__main__")
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    finally:
        sys.argv, sys.path[:] = argv, path
    return 0
