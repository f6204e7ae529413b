"""`gradverify kernel`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import JUDGED, GradverifyError, clipped
from ..frameworks import triton
from .group import Exit

if TYPE_CHECKING:
    from ..frameworks.triton.reading import Kernels


@click.command("kernel")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--module", metavar="NAME", help="How the file is imported; default: by the packages around it.")
@click.option("--program", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PYTHON_FILE",
              help="Run this program, and take the first call of each Function from it.")  # fmt: skip
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), metavar="TEST_FILE",
              help="Save the draft there, which must not exist; default: it is printed.")  # fmt: skip
def command(file: Path, module: str | None, program: Path | None, write: Path | None) -> int:
    """Draft a test for each custom Function of FILE that launches kernels, and say what could not be worked out.

    The file is imported, and its kernels run on the CPU, under their interpreter.

    \b
    gradverify kernel my_kernels.py
    gradverify kernel my_kernels.py --write tests/test_my_kernels.py
    gradverify kernel my_kernels.py --program train_a_step.py
    """
    if write is not None and write.exists():
        raise click.UsageError(f"{write} exists")
    os.environ["TRITON_INTERPRET"] = "1"
    why_not = triton.unavailable()
    if why_not is not None:
        raise GradverifyError(why_not)
    from ..frameworks.triton import calls, draft, reading

    try:
        found = reading.read(file)
    except SyntaxError as e:
        raise GradverifyError(f"{file}:{e.lineno}: {e.msg}") from None
    except ValueError as e:  # bytes that are no UTF-8, or no text
        raise GradverifyError(f"{file} is no Python text: {e}") from None
    if not found.kernels and not found.functions:
        raise GradverifyError(f"{file} has no function with the decorator triton.jit, and no autograd.Function")
    folder, name = reading.module_of(file, [Path.cwd(), *map(Path, sys.path)])
    name = module or name
    loaded = _load(file, name, None if module else folder)
    recorded = _recorded(program) if program is not None else {}
    for f in found.functions:
        function = getattr(loaded, f.name, None)
        definition = f"{name}.{f.name}"
        if function is None:
            f.importable = False
            f.unknown.append(f"{name} has no {f.name}: it is made inside something else")
        elif definition in recorded:
            arguments, active = recorded[definition]
            calls.take_call(f, arguments, active, function)
        else:
            if program is not None:
                f.unknown.append(f"{program} makes no call of it that is differentiated")
            calls.find_call(f, function)
    text = draft.written(found, file.name, name)
    if write is not None and text:
        write.write_text(text, encoding="utf-8")
    elif text:
        click.echo(text)
    for line in _said(found, file):
        click.echo(line, err=True)
    return Exit.OK


def _load(file: Path, name: str, folder: Path | None) -> ModuleType:
    """Import the file; raises GradverifyError where that raises, or gives another file."""
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        loaded = importlib.import_module(name)
    except JUDGED as e:
        raise GradverifyError(f"{file} cannot be imported as {name}: {type(e).__name__}: {clipped(str(e))}") from None
    there = getattr(loaded, "__file__", None)
    if there is None or Path(there).resolve() != file.resolve():
        raise GradverifyError(f"{name} is imported from {there or 'no file'}, not from {file}: say --module")
    return loaded


def _recorded(program: Path) -> dict[str, tuple[Any, Any]]:
    """By the name of a definition: the arguments of its first recorded call, and the names of the differentiated ones."""
    from ..watch.session import watch
    from .watch import run_program

    with triton.mended(), watch("all") as watched:
        code = run_program([str(program)])
    if code:
        raise GradverifyError(f"{program} ended with exit code {code}")
    samples = {name: e.samples[0] for name, e in watched.recorder.entries.items() if e.samples}
    return {name: (s.whole, s.names) for name, s in samples.items()}


def _said(found: Kernels, file: Path) -> list[str]:
    """What was worked out of each Function and kernel, and what was not."""
    lines = []
    for f in found.functions:
        state = f"{f.name}({', '.join(f.values)})" if f.values is not None else f"{f.name}: no call was found"
        lines.append(f"{file}:{f.line}: {state}")
        lines += [f"    {text}" for text in (*f.notes, *f.unknown)]
    lines += [f"{file}:{found.kernels[k]}: {k} is launched by no autograd.Function of this file" for k in found.alone]
    return lines
