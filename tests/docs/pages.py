"""Pages of the documentation as programs: each block is run, and what it prints is what stands below it.

    python -m tests.docs.pages PAGE …        write the outputs into the pages

| block | what becomes of it |
|---|---|
| `python` | is run, all of a page in one namespace; the `text` block below it is what it prints |
| `python`, `yaml`, `toml` with a file's name as a comment in the first line | is written to that file |
| `yaml`, `toml` | is parsed; a spec is loaded |
| `console` | its commands are run; what follows each `$ command` is what it prints |
| `sh` | commands with options to choose from: they are parsed, and not run |
| `text`, `json`, `html` | belongs to what stands above it |

`<!-- run … -->` holds Python that readers need not see. `...` stands for any text in an output.
"""

from __future__ import annotations

import doctest
import io
import linecache
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$|^<!-- run\n(.*?)^-->$", re.S | re.M)

FILE = re.compile(r"# (\S+\.(?:py|yaml|toml))\n")

SECONDS = 120.0
"""Of one command."""


class Differs(AssertionError):
    """A block does not do what its page says."""


@dataclass
class Page:
    """A page that is run block by block, in a folder of its own.

    text   the page; with `write`, its outputs are replaced by what is printed
    """

    path: Path
    folder: Path
    write: bool = False
    scope: dict[str, Any] = field(default_factory=dict)

    def run(self) -> str:
        """Run every block. Raises Differs."""
        text = self.path.read_text(encoding="utf-8")
        self.scope["__name__"] = self.module = re.sub(r"\W", "_", self.path.stem)
        blocks = list(BLOCK.finditer(text))
        parts, end, printed = [], 0, ""
        with chdir(self.folder):
            sys.path.insert(0, str(self.folder))
            try:
                for block in blocks:
                    indent, kind, code, hidden = block.groups()
                    between = text[end : block.start()]
                    if printed and kind != "text":
                        self._expect("", printed, block, text)
                        parts.append(f"\n\n```text\n{printed}```")
                        printed = ""
                    parts.append(between)
                    if hidden is not None:
                        self._python(hidden, text, block.start(4))
                        parts.append(block[0])
                    elif kind == "text" and printed:
                        self._expect(code, printed, block, text)
                        parts.append(block[0] if agrees(code, printed) else f"```text\n{printed}```")
                        printed = ""
                    else:
                        source = re.sub(rf"^{indent}", "", code, flags=re.M)
                        printed, new = self._block(kind, source, text, block)
                        parts.append(block[0] if new is None else f"```{kind}\n{new}```")
                    end = block.end()
                if printed:
                    self._expect("", printed, blocks[-1], text)
                    parts.append(f"\n\n```text\n{printed}```")
            finally:
                sys.path.remove(str(self.folder))
        return "".join([*parts, text[end:]])

    def _block(self, kind: str, code: str, text: str, block: re.Match[str]) -> tuple[str, str | None]:
        """Run a block: what it printed, and the block anew where it is to be written anew."""
        file = FILE.match(code)
        if kind in ("python", "yaml", "toml") and file:
            path = self.folder / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
        if kind == "python":
            if file:
                compile(code, file[1], "exec")
                return "", None
            return self._python(code, text, block.start(3)), None
        if kind == "toml":
            tomllib.loads(code)
        elif kind == "yaml":
            self._yaml(code, text, block)
        elif kind == "console":
            return "", self._console(code, text, block)
        elif kind in ("sh", ""):
            for line in code.splitlines():
                parse(line.partition(" #")[0])
        elif kind not in ("text", "json", "html"):
            raise Differs(f"{self._at(text, block.start())}: a block of no known kind: {kind}")
        return "", None

    def _at(self, text: str, offset: int) -> str:
        return f"{self.path.name}:{text.count(chr(10), 0, offset) + 1}"

    def _python(self, code: str, text: str, offset: int) -> str:
        name = "model.py"  # not the page's own: one called `jax` would hide a module
        padded = "\n" * text.count("\n", 0, offset) + code
        known = self.folder / name
        lines = known.read_text().split("\n") if known.exists() else []
        lines += [""] * (padded.count("\n") - len(lines))
        first = text.count("\n", 0, offset)
        lines[first : first + code.count("\n")] = code.rstrip("\n").split("\n")
        known.write_text("\n".join(lines))
        linecache.checkcache(str(known))
        out = io.StringIO()
        try:
            with redirect_stdout(out):
                exec(compile(padded, str(known), "exec"), self.scope)
        except Exception:
            raise Differs(f"{self._at(text, offset)}: raises\n{traceback.format_exc()}") from None
        return out.getvalue()

    def _yaml(self, code: str, text: str, block: re.Match[str]) -> None:
        from ruamel.yaml import YAML

        from gradverify.spec import loads

        if code.lstrip("# \n").startswith("gradverify:") or "\ngradverify:" in code:
            loads(code, self._at(text, block.start()))
        else:
            YAML(typ="safe").load(code)

    def _console(self, code: str, text: str, block: re.Match[str]) -> str | None:
        """Run each command; the block anew, where `write` and something differs."""
        parts = re.split(r"^\$ (.*)\n", code, flags=re.M)[1:]
        differs, new = False, ""
        for command, expected in zip(parts[::2], parts[1::2]):
            printed = shell(command, self.folder)
            self._expect(expected, printed, block, text, command)
            differs |= not agrees(expected, printed)
            new += f"$ {command}\n{expected if agrees(expected, printed) else printed}"
        return new if differs else None

    def _expect(self, expected: str, printed: str, block: re.Match[str], text: str, command: str = "") -> None:
        if not self.write and not agrees(expected, printed):
            where = self._at(text, block.start())
            raise Differs(f"{where}: {command}\n--- the page says\n{expected}--- printed\n{printed}---")


def agrees(expected: str, printed: str) -> bool:
    """Are the texts the same, but for what `...` stands for?"""
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)


def shell(command: str, folder: Path) -> str:
    """What a command prints, in a shell that finds this environment's programs."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("GRADVERIFY", "PYTEST", "GITHUB"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT), "COLUMNS": "79", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, timeout=SECONDS,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def parse(line: str) -> None:
    """Raise Differs for a command of gradverify's, or an option of pytest's, that there is not."""
    import click

    from gradverify.cli import main
    from gradverify.core.errors import GradverifyError

    words = shlex.split(line.replace("…", "x"), comments=True)
    if words[:1] == ["gradverify"] or words[:3] == ["python", "-m", "gradverify"]:
        words = words[words.index("gradverify") + 1 :]
        try:
            with chdir(tempfile.gettempdir()):
                ctx = main.make_context("gradverify", list(words), resilient_parsing=True)
                rest = [*ctx._protected_args, *ctx.args]
                name, command, given = main.resolve_command(ctx, rest) if rest else (None, None, [])
                if command is None:
                    raise GradverifyError("there is no such command")
                known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        except (click.ClickException, GradverifyError) as e:
            raise Differs(f"{line}: {e}") from None
        stop = given.index("--") if "--" in given else len(given)
        for option in (w.partition("=")[0] for w in given[:stop] if w.startswith("--")):
            if option not in known:
                raise Differs(f"{line}: gradverify {name} has no {option}")
    elif words[:1] == ["pytest"] or words[:3] == ["python", "-m", "pytest"]:
        for option in (w.partition("=")[0] for w in words if w.startswith("--gradverify")):
            if option not in pytest_options():
                raise Differs(f"{line}: pytest has no {option}")


def pytest_options() -> set[str]:
    """The options that the plugin adds."""
    import pytest

    config = pytest.Config.fromdictargs({}, [])
    if not config.pluginmanager.hasplugin("gradverify"):
        config.pluginmanager.import_plugin("gradverify.plugin")
    options = [*config._parser._anonymous.options, *(o for g in config._parser._groups for o in g.options)]
    return {name for option in options for name in option.names()}


def pages() -> Iterator[Path]:
    """The pages that this runs; generated ones have tests of their own."""
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if "results" not in path.parts and path.name not in GENERATED:
            yield path


GENERATED = (
    "campaign.md", "campaign-jax.md", "conformance.md", "coverage.md", "ops.md", "opinfo.md",
    "foreign.md", "findings.md",
    "how-autograd-works.md",  # its blocks are run under three engines: tests/engine
    "triton.md",  # its kernel and each planted bug are run: tests/frameworks/test_triton_page.py
)  # fmt: skip
"""Pages that commands write, and two that are tested elsewhere."""


def main(names: Sequence[str]) -> None:
    for name in names:
        path = Path(name).resolve()
        if path.name in GENERATED:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(Page(path, Path(folder), write=True).run(), encoding="utf-8")
            print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
