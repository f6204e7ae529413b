"""`gradverify write`."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click

from ..core.errors import JUDGED, GradverifyError
from ..frameworks.recognise import known_frameworks
from . import drafts
from .group import Exit


@click.command("write")
@click.argument("module", metavar="PKG.MOD")
@click.option("--write", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Save a file for each module there, which must not exist; default: they are printed.")  # fmt: skip
def command(module: str, folder: Path | None) -> int:
    """Draft a test for every custom gradient of PKG.MOD, and of the modules below it.

    The module is imported from the working directory, and its functions are called with small arrays until a call can be
    judged. What could not be worked out is said.

    \b
    gradverify write mypkg.ops
    gradverify write mypkg --write tests
    """
    sys.path.insert(0, str(Path.cwd()))
    written = 0
    for found in _modules(module):
        for framework in known_frameworks():
            draws, customs = framework.draws, list(framework.customs_of(found))
            if draws is None or not customs:
                continue
            made = [drafts.draft(c, framework) for c in customs]
            text = drafts.text_of(found.__name__, draws, made)
            if folder is None:
                click.echo(text)
            else:
                path = folder / f"test_{found.__name__.replace('.', '_')}_{framework.name}.py"
                if path.exists():
                    raise click.UsageError(f"{path} exists")
                folder.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                click.echo(str(path), err=True)
            for d in made:
                said = d.verdict.outcome if d.verdict is not None else f"no call was found: {d.why}"
                click.echo(f"{found.__name__}.{d.custom.name}({', '.join(d.values)}): {said}", err=True)
            written += len(made)
    if not written:
        raise GradverifyError(f"{module} defines no custom gradient under a name of its own")
    return Exit.OK


def _modules(name: str) -> Iterator[ModuleType]:
    """The module and those below it; one of those that cannot be imported is told. Raises GradverifyError for the first."""
    try:
        root = importlib.import_module(name)
    except JUDGED as e:
        raise GradverifyError(f"{name} cannot be imported: {type(e).__name__}: {e}") from None
    yield root
    for info in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{name}.", onerror=lambda n: None):
        if info.name.endswith("__main__"):
            continue
        try:
            yield importlib.import_module(info.name)
        except JUDGED as e:
            click.echo(f"{info.name} cannot be imported: {type(e).__name__}: {e}", err=True)
