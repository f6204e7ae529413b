"""The group of commands, which turns their exceptions into messages and exit codes."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import click

from ..core.errors import GradverifyError


class Exit(IntEnum):
    """OK: nothing gates. FAIL: something does. USAGE: wrong options, or a spec that cannot be read.
    CRASH: gradverify itself failed. INTERRUPTED: by Ctrl-C."""

    OK = 0
    FAIL = 1
    USAGE = 2
    CRASH = 3
    INTERRUPTED = 130


HELP = """Is this gradient right? Says so with evidence, and without a tolerance to tune.

\b
Exit codes: 0 every verdict is acceptable, 1 one is not, 2 wrong usage or a spec that
cannot be read, 3 a crash of gradverify itself, 130 interrupted.
"""

# Command, which is also the module that defines it -> what it does.
COMMANDS: Mapping[str, str] = {
    "run": "Judge *.grad.yaml files, and random graphs.",
    "replay": "Judge saved cases again.",
    "explain": "The graph of an expression, its gradient to 20 digits, and verdicts.",
    "watch": "Run a Python program, and judge the custom gradients that it executes.",
    "kernel": "Draft tests for the kernels of a file.",
    "pin": "Pin custom gradients that are meant to be no gradients.",
    "campaign": "Judge random graphs by the hundred thousand.",
    "conformance": "Check the laws of autograd on engines.",
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
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as e:
            e.show()
            code = Exit.USAGE
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            code = Exit.INTERRUPTED
        except GradverifyError as e:
            click.echo(f"error: {e}", err=True)
            code = Exit.USAGE
        except SystemExit:
            click.echo("error: the judged code ended the process", err=True)
            code = Exit.CRASH
        except Exception:
            traceback.print_exc()
            click.echo("error: gradverify itself failed; please report the lines above", err=True)
            code = Exit.CRASH
        sys.exit(code or 0)


@click.group(cls=Group, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gradverify")
def main() -> None:
    pass
