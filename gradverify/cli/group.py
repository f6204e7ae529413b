"""The group of commands, which turns their exceptions into messages and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import click

from ..core.errors import JUDGED, GradverifyError
from ..run.config import PROFILE, read_config, read_environment, with_effort
from ..run.signals import Terminated, stopping_on_sigterm


class Exit(IntEnum):
    """OK: nothing gates. FAIL: something does. USAGE: wrong options, or a spec that cannot be read.
    CRASH: gradverify itself failed. INTERRUPTED: by Ctrl-C. TERMINATED: by SIGTERM.
    PIPE: whoever reads the output is gone."""

    OK = 0
    FAIL = 1
    USAGE = 2
    CRASH = 3
    INTERRUPTED = 130
    TERMINATED = 143
    PIPE = 141


HELP = """Is this gradient right? Says so with evidence, and without a tolerance to tune.

\b
Exit codes: 0 every verdict is acceptable, 1 one is not, 2 wrong usage or a spec that
cannot be read, 3 a crash of gradverify itself, 130 interrupted, 143 terminated.
"""

# Command, which is also the module that defines it -> what it does.
COMMANDS: Mapping[str, str] = {
    "run": "Judge *.grad.yaml files, and random graphs.",
    "replay": "Judge saved cases again.",
    "explain": "The graph of an expression, its gradient to 20 digits, and verdicts.",
    "watch": "Run a Python program, and judge the custom gradients that it executes.",
    "compare": "Compare two JSON reports.",
    "accept": "Accept what is off, with a reason, an owner and a last day.",
    "write": "Draft tests for every custom gradient of a module.",
    "kernel": "Draft tests for the kernels of a file.",
    "pin": "Pin custom gradients that are meant to be no gradients.",
    "campaign": "Judge random graphs by the hundred thousand.",
    "conformance": "Check the laws of autograd on engines.",
    "outcome": "What an outcome means, and what to do about it.",
    "ops": "The op table, or one op of it in detail.",
    "schema": "The JSON Schema of spec files or of reports.",
}


class Group(click.Group):
    """Imports a command when it is called, and turns its exceptions into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".{cmd_name}", __package__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; an error that the user can mend is one line."""
        try:
            with stopping_on_sigterm():
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as e:
            e.show()
            code = Exit.USAGE
        except (click.Abort, KeyboardInterrupt) as e:  # click makes an Abort of the other
            is_told = isinstance(e, Terminated) or isinstance(e.__cause__, Terminated)
            click.echo("terminated" if is_told else "interrupted", err=True)
            code = Exit.TERMINATED if is_told else Exit.INTERRUPTED
        except GradverifyError as e:
            click.echo(f"error: {e}", err=True)
            code = Exit.USAGE
        except SystemExit as e:
            if isinstance(e.__context__, BrokenPipeError):  # click exits where the reader is gone: `… | head`
                code = Exit.PIPE
            else:
                click.echo("error: the judged code ended the process", err=True)
                code = Exit.CRASH
        except Exception:
            traceback.print_exc()
            click.echo("error: gradverify itself failed; please report the lines above", err=True)
            code = Exit.CRASH
        sys.exit(code or 0)


@click.group(cls=Group, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gradverify")
@click.option("--profile", metavar="NAME", help="Settings: dev, ci, thorough, or one of the project's own.")
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="Import it first: it registers things.")
@click.pass_context
def main(ctx: click.Context, profile: str | None, plugins: tuple[str, ...]) -> None:
    # What the files, the profile and the environment say, stands where the command line says nothing.
    settings = {**read_config(Path.cwd(), profile or os.environ.get(PROFILE)), **read_environment()}
    ctx.with_resource(with_effort(settings.pop("effort", None)))
    settings = {{"report": "reports"}.get(k, k): v for k, v in settings.items()}
    for name in ("subjects", "dtypes", "fail_on"):
        if name in settings:
            settings[name] = ",".join(settings[name])
    ctx.default_map = dict.fromkeys(COMMANDS, settings)
    if plugins:
        sys.path.insert(0, str(Path.cwd()))
    for module in plugins:
        try:
            importlib.import_module(module)
        except JUDGED as e:
            raise click.UsageError(f"--plugin {module} cannot be imported: {type(e).__name__}: {e}") from None
