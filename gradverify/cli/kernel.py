"""`gradverify kernel`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from ..core.errors import JUDGED, GradverifyError
from ..frameworks import triton
from .group import Exit


@click.command("kernel")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--module", metavar="NAME", help="How the file is imported; default: by its own name, from its folder.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), metavar="TEST_FILE",
              help="Save the draft there, which must not exist; default: it is printed.")  # fmt: skip
def command(file: Path, module: str | None, write: Path | None) -> int:
    """Draft a test for each custom Function of FILE that launches kernels, and say what could not be worked out.

    The file is imported, and its kernels run on the CPU, under their interpreter.

    \b
    gradverify kernel my_kernels.py
    gradverify kernel my_kernels.py --write tests/test_my_kernels.py
    """
    if write is not None and write.exists():
        raise click.UsageError(f"{write} exists")
    os.environ["TRITON_INTERPRET"] = "1"
    why_not = triton.unavailable()
    if why_not is not None:
        raise GradverifyError(why_not)
    from ..frameworks.triton import draft

    try:
        found = draft.read(file)
    except SyntaxError as e:
        raise GradverifyError(f"{file}:{e.lineno}: {e.msg}") from None
    if not found.kernels:
        raise GradverifyError(f"{file} has no function with the decorator triton.jit")
    name = module or file.stem
    if module is None:
        sys.path.insert(0, str(file.resolve().parent))
    try:
        loaded = importlib.import_module(name)
    except JUDGED as e:
        raise GradverifyError(f"{file} cannot be imported as {name}: {type(e).__name__}: {e}") from None
    for f in found.functions:
        if not f.forward and not f.backward:
            f.unknown.append("neither pass launches a kernel of this file")
        function = getattr(loaded, f.name, None)
        if function is None:
            f.unknown.append(f"{name} has no {f.name}: it is made inside something else")
        else:
            draft.work_out(f, function)
    text = draft.written(found, file.name, name)
    if write is not None:
        write.write_text(text, encoding="utf-8")
    else:
        click.echo(text)
    for f in found.functions:
        state = f"{f.name}({', '.join(f.values)})" if f.values is not None else f"{f.name}: no call was found"
        click.echo(f"{file}:{f.line}: {state}", err=True)
        for text in f.unknown:
            click.echo(f"    {text}", err=True)
    for k in found.alone:
        click.echo(f"{file}:{found.kernels[k]}: {k} is launched by no autograd.Function of this file", err=True)
    return Exit.OK
