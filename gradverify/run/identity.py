"""What a verdict depends on besides its case: gradverify's own source, the packages that are installed, and other files."""

from __future__ import annotations

import hashlib
import platform
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


@cache
def code() -> str:
    """A digest of gradverify's own source."""
    h = hashlib.blake2b(digest_size=6)
    for path in sorted(PACKAGE.rglob("*.py")):
        h.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return h.hexdigest()


@cache
def environment() -> str:
    """A digest of gradverify's source, the interpreter, the machine, and the version of each installed package."""
    found = sorted({f"{d.metadata['Name']} {d.version}" for d in distributions()})
    own = (code(), sys.version, platform.system(), platform.machine(), *found)
    return hashlib.blake2b("\n".join(own).encode(), digest_size=16).hexdigest()


def loaded_files() -> Iterator[Path]:
    """The files of a project that this process runs: modules and shared libraries that no package installed.

    Where the system has no list of mapped files (Linux has), extension modules are found and libraries of `ctypes` are not.
    """
    modules = (getattr(m, "__file__", None) for m in list(sys.modules.values()))
    seen = {Path(f).resolve() for f in modules if isinstance(f, str)}
    maps = Path("/proc/self/maps")
    libraries = {line.split(maxsplit=5)[5] for line in _lines(maps) if line.count("/")}
    seen |= {Path(f) for f in libraries if not f.endswith(" (deleted)")}
    for file in sorted(seen):
        if not any(file.is_relative_to(folder) for folder in _installed()) and file.is_file():
            yield file


@cache
def _installed() -> tuple[Path, ...]:
    """Where the interpreter, packages and the system's libraries are: their versions tell what they hold."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    system = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/dev", str(Path(sys.base_prefix) / "lib")]
    places = {Path(p).resolve() for p in (*named, site.getusersitepackages(), *system)}
    return (PACKAGE, Path(sys.executable).resolve(), *sorted(places))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def digests(files: Iterable[Path]) -> dict[str, str]:
    """A digest of what each file holds."""
    return {str(f): _digest(f, s.st_mtime_ns, s.st_size) for f in files for s in (f.stat(),)}


@cache
def _digest(file: Path, mtime: int, size: int) -> str:
    """A digest of a file, read once as long as its time and size stay."""
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()


def are_unchanged(known: Mapping[str, str]) -> bool:
    """Do the files hold what they held?"""
    try:
        return digests(map(Path, known)) == dict(known)
    except OSError:
        return False
