"""The engine needs NumPy and nothing else, also where pytest and the oracle's libraries are not installed."""

from __future__ import annotations

import subprocess
import sys

ALLOWED = {"numpy", "ml_dtypes", "gradverify", "cython_runtime"}  # the last: NumPy's own compiled modules
OURS = ("core", "ops", "namespaces", "engine")

SCRIPT = """
import sys
before = set(sys.modules)
import gradverify.engine as torch
x = torch.tensor([1.0, 2.0], requires_grad=True)
torch.autograd.grad((x * x).sum(), x, create_graph=True)[0].sum().backward()
new = {name for name in sys.modules if name not in before}
top = {name.partition(".")[0] for name in new} - sys.stdlib_module_names
print(sorted(top))
print(sorted({name.split(".")[1] for name in new if name.startswith("gradverify.")}))
"""


def test_a_fresh_process_imports_numpy_and_the_lower_layers_only():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    top, parts = map(eval, run.stdout.splitlines())
    foreign = {name for name in top if not name.startswith("_")} - ALLOWED
    assert not foreign, f"the engine imported {foreign}"
    assert set(parts) <= set(OURS), f"the engine imported {set(parts) - set(OURS)}"
