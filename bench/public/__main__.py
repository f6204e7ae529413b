"""`check` on functions of public packages, and on gradients written by hand in them, as they are: nobody here wrote them.

    python -m bench.public functions|gradients --folder /scratch/public [--only TEXT] [--seconds S] [--write]

downloads the packages into FOLDER, without what they depend on, and checks each function at its drawn arguments, at order 1:
PyTorch's at default effort, JAX's at effort quick. A FAIL is held against central differences at three steps, which know
nothing of the judge. `--write` saves bench/results/public.md or public_gradients.md. Each function runs in a process of its
own; run it from the root of the repository.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pebble import ProcessPool

from . import faults, functions, gradients
from .functions import Function, Public

ROOT = Path(__file__).parents[2]
PAGES = {"functions": "public.md", "gradients": "public_gradients.md"}
TITLES = {
    "functions": "Functions of public packages",
    "gradients": "Gradients written by hand in public packages",
}
STEPS = (1e-4, 1e-5, 1e-6)


@cache
def all_of(kind: str) -> tuple[Public, ...]:
    if kind == "gradients":
        return tuple(gradients.gradients())
    return (*functions.torch_functions(), *functions.jax_functions())


@dataclass(frozen=True)
class Row:
    name: str
    outcome: str
    power: float | None
    message: str
    seconds: float
    off: str = ""
    meant: str = ""


def judged(kind: str, k: int, folder: str) -> Row:
    """The verdict on a function, in this process."""
    sys.path += [folder, *map(str, Path(folder).glob("unpacked/*"))]
    warnings.simplefilter("ignore")
    public = all_of(kind)[k]
    function, values = public.function, public.arguments
    from gradverify import check

    function.__name__ = function.__qualname__ = public.name.partition(",")[0].rpartition(".")[2]
    start = time.process_time()
    if public.framework == "jax":
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        verdict = check(function, *map(jnp.asarray, values), effort="quick", order=1)
    else:
        import torch

        verdict = check(function, *(torch.tensor(v) for v in values), order=1)
    seconds = time.process_time() - start
    off = differences(public.framework, function, values) if verdict.outcome.value == "FAIL" else ""
    return Row(public.name, verdict.outcome.value, verdict.power, verdict.message, seconds, off, public.meant)


def differences(framework: str, function: Function, values: tuple[np.ndarray, ...]) -> str:
    """How far the gradient of a drawn pairing is from central differences, relative to its largest entry, by step."""
    g = np.random.default_rng(5)
    if framework == "jax":
        import jax
        import jax.numpy as jnp

        shape = np.shape(function(*map(jnp.asarray, values)))
        weights = jnp.asarray(g.normal(size=shape))
        loss: Any = lambda *xs: (function(*xs) * weights).sum()
        gradients = [np.asarray(d) for d in jax.grad(loss, tuple(range(len(values))))(*map(jnp.asarray, values))]
        value: Any = lambda *xs: float(loss(*map(jnp.asarray, xs)))
    else:
        import torch

        inputs = [torch.tensor(v, requires_grad=True) for v in values]
        out = function(*inputs)
        weight = torch.tensor(g.normal(size=tuple(out.shape)))
        gradients = [np.asarray(d) for d in torch.autograd.grad((out * weight).sum(), inputs)]
        value = lambda *xs: float((function(*map(torch.tensor, xs)) * weight).sum())
    size = max(float(np.abs(d).max()) for d in gradients) or 1.0
    found = []
    for step in STEPS:
        worst = 0.0
        for k, x in enumerate(values):
            for at in np.ndindex(x.shape):
                moved = [np.array(v) for v in values]
                moved[k][at] = x[at] + step
                up = value(*moved)
                moved[k][at] = x[at] - step
                worst = max(worst, abs((up - value(*moved)) / (2 * step) - gradients[k][at]))
        found.append(f"{worst / size:.2g}")
    return ", ".join(found)


def page(kind: str, rows: list[Row], left: list[str]) -> str:
    counts = {o: sum(r.outcome == o for r in rows) for o in sorted({r.outcome for r in rows})}
    lines = [
        f"# {TITLES[kind]}",
        "",
        "Inputs: not ours. The functions are those of the packages; the arguments are drawn or chosen by us.",
        f"`python -m bench.public {kind} --folder FOLDER --write`: `check` at order 1, PyTorch's at default effort, "
        "JAX's at quick.",
        "",
        f"{len(rows)} functions: {', '.join(f'{n} {o}' for o, n in counts.items())}.",
        "",
        "| function | outcome | power | CPU seconds | off from central differences (steps 1e-4, 1e-5, 1e-6) |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        power = f"{r.power:.1e}" if r.power is not None and np.isfinite(r.power) else ""
        lines.append(f"| {r.name} | {r.outcome} | {power} | {r.seconds:.1f} | {r.off} |")
    told = [r for r in rows if r.outcome not in ("PASS",)]
    if told:
        lines += ["", "| function | what is said | what is meant, by its authors |", "|---|---|---|"]
        lines += [f"| {r.name} | {' '.join(r.message.split()).replace('|', '/')} | {r.meant} |" for r in told]
    if left:
        lines += ["", *(f"* {line}" for line in left)]
    return "\n".join(lines) + "\n"


def install(kind: str, folder: Path) -> None:
    """Functions need their packages whole; of gradients the sources are enough, wheels and archives alike."""
    pip = [sys.executable, "-m", "pip"]
    if kind == "functions":
        subprocess.run([*pip, "install", "-q", "--no-deps", "--target", str(folder), *functions.PACKAGES], check=True)
        return
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", str(folder), *gradients.NEEDED], check=True)
    for package in gradients.PACKAGES:
        held = folder / "downloads" / package.partition("==")[0]
        subprocess.run(
            [*pip, "download", "-q", "--no-deps", "--no-build-isolation", "-d", str(held), package], check=True
        )
        (file,) = held.iterdir()
        into = folder / "unpacked" / held.name
        is_wheel = file.suffix == ".whl"
        shutil.unpack_archive(file, into, *(["zip"] if is_wheel else []))
        for inner in [] if is_wheel else list(into.glob("*-*/")):
            shutil.copytree(inner, into, dirs_exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=PAGES)
    parser.add_argument("--folder", type=Path, required=True, help="for the packages")
    parser.add_argument("--only", default="", help="functions with this text in their names")
    parser.add_argument("--seconds", type=float, default=300.0, help="for each function")
    parser.add_argument("--installed", action="store_true", help="the packages are in FOLDER")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if not options.installed:
        install(options.kind, options.folder)
    rows, left = [], []
    asked = [k for k, f in enumerate(all_of(options.kind)) if options.only in f.name]
    with ProcessPool(max_workers=1, max_tasks=1) as pool:
        for k in asked:
            name = all_of(options.kind)[k].name
            try:
                rows.append(
                    pool.schedule(judged, args=(options.kind, k, str(options.folder)), timeout=options.seconds).result()
                )
                print(rows[-1], flush=True)
            except Exception as e:  # it raised, ran too long or died
                left.append(f"{name}: {type(e).__name__}: {str(e)[:200]}")
                print(left[-1], flush=True)
    if options.write:
        sys.path += [str(options.folder), *map(str, options.folder.glob("unpacked/*"))]
        text = page(options.kind, rows, left)
        if options.kind == "gradients":
            head = [
                "",
                "## Held against closed forms",
                "",
                "What the plainest FAILs come to, beside mpmath at 40 digits:",
                "",
            ]
            text += "\n".join([*head, *faults.table()]) + "\n"
        (ROOT / "bench" / "results" / PAGES[options.kind]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
