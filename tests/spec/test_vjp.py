"""`vjp:` in a spec: a backward pass beside its function, in C through ctypes or by Numba."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import gradverify
from gradverify import Outcome
from gradverify.core.errors import SpecError
from gradverify.frameworks import find
from gradverify.report.script import script
from gradverify.run.runner import judge_case
from gradverify.spec import loads
from gradverify.spec.write import dumps

C = """
#include <math.h>
void forward(const float *x, float *y, long n) {
    for (long i = 0; i < n; i++) y[i] = x[i] / (1 + expf(-x[i]));
}
void backward(const float *g, const float *x, float *dx, long n) {
    for (long i = 0; i < n; i++) {
        float s = 1 / (1 + expf(-x[i]));
        dx[i] = g[i] * s * (1 + x[i] * (1 - s));
    }
}
void wrong(const float *g, const float *x, float *dx, long n) {
    for (long i = 0; i < n; i++) dx[i] = g[i] / (1 + expf(-x[i]));
}
"""

BINDINGS = """
import ctypes
from pathlib import Path

import numpy as np

lib = ctypes.CDLL(str(Path(__file__).with_name("kernels.so")))


def run(name, *arrays):
    given = [np.ascontiguousarray(a, dtype=np.float32) for a in arrays]
    out = np.empty_like(given[0])
    getattr(lib, name)(*(ctypes.c_void_p(a.ctypes.data) for a in (*given, out)), ctypes.c_long(out.size))
    return out.reshape(arrays[0].shape)


def forward(x):
    return run("forward", x)


def backward(g, x):
    return run("backward", g, x)


def wrong(g, x):
    return run("wrong", g, x)


def scaled(x, y, factor=1.0):
    return factor * x * y, x + y


def scaled_backward(g, x, y, factor=1.0):
    return g[0] * factor * y + g[1], g[0] * factor * x + g[1]


def torch_forward(x):
    return run("forward", x.numpy())


def torch_backward(g, x):
    return run("backward", g.numpy(), x.numpy())


def torch_wrong(g, x):
    return run("wrong", g.numpy(), x.numpy())
"""


@pytest.fixture(scope="module")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module `in_c` whose kernels are compiled C."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("in_c")
    (folder / "kernels.c").write_text(C)
    (folder / "in_c.py").write_text(BINDINGS)
    library = str(folder / "kernels.so")
    subprocess.run([gcc, "-O2", "-shared", "-fPIC", "-o", library, str(folder / "kernels.c"), "-lm"], check=True)
    sys.path.insert(0, str(folder))
    try:
        import in_c

        yield in_c
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("in_c", None)


def spec(call: str, vjp: str, subject: str, expr: str = "x * sigmoid(x)", inputs: str = "x: {shape: [3, 5]}") -> str:
    return (
        f"gradverify: 1\ncases:\n  - name: silu\n    expr: {expr}\n    call: in_c:{call}\n    vjp: in_c:{vjp}\n"
        f"    inputs: {{{inputs}}}\n    subjects: [{subject}]\n    dtypes: [float32]\n"
    )


@pytest.mark.parametrize(("call", "vjp", "subject", "outcome"), [
    ("forward", "backward", "numpy", Outcome.PASS),
    ("forward(x)", "backward", "numpy", Outcome.PASS),
    ("forward", "wrong", "numpy", Outcome.FAIL),
    ("torch_forward", "torch_backward", "torch", Outcome.PASS),
    ("torch_forward", "torch_wrong", "torch", Outcome.FAIL),
])  # fmt: skip
def test_c_is_judged_by_the_expression(in_c: ModuleType, call: str, vjp: str, subject: str, outcome: Outcome) -> None:
    if subject == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    case = loads(spec(call, vjp, subject)).cases[0].case("float32")
    assert judge_case(case, subject).outcome is outcome


@pytest.mark.parametrize("subject", ["numpy", "torch"])
def test_several_outputs_and_literals(in_c: ModuleType, subject: str) -> None:
    if subject == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    text = spec("scaled(y, x, factor=3.0)", "scaled_backward", subject, "[3 * x * y, x + y]",
                "x: {shape: [4]}, y: {shape: [4]}")  # fmt: skip
    assert judge_case(loads(text).cases[0].case("float32"), subject).outcome is Outcome.PASS


def test_a_framework_that_differentiates_by_itself_takes_none(in_c: ModuleType) -> None:
    verdict = judge_case(loads(spec("forward", "backward", "engine")).cases[0].case("float32"), "engine")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "a backward pass by hand (`vjp`) cannot be given" in verdict.message


def test_a_case_is_written_with_its_vjp(in_c: ModuleType) -> None:
    case = loads(spec("forward", "wrong", "numpy")).cases[0].case("float32")
    text = dumps(case, subjects=("numpy",))
    assert "vjp: in_c:wrong" in text
    again = loads(text).cases[0].case("float32")
    assert again.vjp == "in_c:wrong"
    np.testing.assert_array_equal(again.values["x"], case.values["x"])


def test_the_reproducer_runs_the_kernel(in_c: ModuleType, tmp_path: Path) -> None:
    case = loads(spec("forward", "wrong", "numpy", inputs="x: [1.0, 2.0]")).cases[0].case("float32")
    path = tmp_path / "reproduce.py"
    path.write_text(script(case, "numpy", dumps(case, subjects=("numpy",))))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert "dx[0]: numpy" in done.stdout, done.stderr


@pytest.mark.parametrize(("vjp", "message"), [
    ("in_c", "vjp is `package.module:function`, not 'in_c'"),
    ("in_c:f(x)", "vjp is `package.module:function`"),
])  # fmt: skip
def test_a_vjp_is_a_name(vjp: str, message: str) -> None:
    with pytest.raises(SpecError, match=message.split("(")[0]):
        loads(spec("forward", "backward", "numpy").replace("vjp: in_c:backward", f"vjp: {vjp}"))


def test_a_vjp_is_of_a_call() -> None:
    with pytest.raises(SpecError, match="vjp is the backward pass of `call`, and there is none"):
        loads(spec("forward", "backward", "numpy").replace("    call: in_c:forward\n", ""))


def test_array_libraries_are_subjects() -> None:
    assert find("numpy").name == "numpy"


def test_check_judges_c_by_a_reference(in_c: ModuleType) -> None:
    x = np.linspace(-2.0, 2.0, 6, dtype=np.float32).reshape(2, 3)
    silu = lambda x: x / (1 + np.exp(-x))
    right = gradverify.check(in_c.forward, x, vjp=in_c.backward, reference=silu, effort="quick")
    assert right.outcome is Outcome.PASS
    wrong = gradverify.check(in_c.forward, x, vjp=in_c.wrong, reference=silu, effort="quick")
    assert wrong.outcome is Outcome.FAIL


NUMBA = """
import math

import numba
import numpy as np


@numba.njit
def forward(x):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = x[i] / (1 + math.exp(-x[i]))
    return out


@numba.njit
def backward(g, x):
    out = np.zeros(x.shape, x.dtype)
    for i in range(x.size):
        s = 1 / (1 + math.exp(-x[i]))
        out[i] = g[i] * s * (1 + x[i] * (1 - s))
    return out
"""


def test_numba_compiles_while_a_function_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba knows `math.exp` by identity, from its first compilation on: the tracer's own must not be there then."""
    pytest.importorskip("numba", reason="Numba is not installed")
    (tmp_path / "by_numba.py").write_text(NUMBA)
    monkeypatch.syspath_prepend(str(tmp_path))
    import by_numba

    x = np.linspace(-2.0, 2.0, 5)
    silu = lambda x: x / (1 + np.exp(-x))
    verdict = gradverify.check(by_numba.forward, x, vjp=by_numba.backward, reference=silu, effort="quick")
    assert verdict.outcome is Outcome.PASS


CUDA = """
import math

import numpy as np
from numba import cuda


@cuda.jit
def silu(x, y):
    k = cuda.grid(1)
    if k < x.size:
        y[k] = x[k] / (1 + math.exp(-x[k]))


@cuda.jit
def silu_backward(g, x, dx):
    k = cuda.grid(1)
    if k < x.size:
        s = 1 / (1 + math.exp(-x[k]))
        dx[k] = g[k] * s * (1 + x[k] * (1 - s))


@cuda.jit
def wrong_backward(g, x, dx):
    k = cuda.grid(1)
    if k < x.size - 1:  # the last entry is left out
        s = 1 / (1 + math.exp(-x[k]))
        dx[k] = g[k] * s * (1 + x[k] * (1 - s))


def launched(kernel, *arrays):
    out = np.zeros(arrays[0].shape, arrays[0].dtype)
    kernel[(out.size + 3) // 4, 4](*map(np.ascontiguousarray, arrays), out)
    return out


def forward(x):
    return launched(silu, x)


def backward(g, x):
    return launched(silu_backward, g, x)


def wrong(g, x):
    return launched(wrong_backward, g, x)
"""

ASK = """
import numpy as np
import by_cuda, gradverify

x = np.linspace(-2.0, 2.0, 6)
silu = lambda x: x / (1 + np.exp(-x))
for vjp in (by_cuda.backward, by_cuda.wrong):
    print(gradverify.check(by_cuda.forward, x, vjp=vjp, reference=silu, effort="quick").outcome.name)
"""


def test_numba_cuda_under_its_simulator(tmp_path: Path) -> None:
    """In a process of its own: the simulator is chosen before Numba is imported."""
    pytest.importorskip("numba", reason="Numba is not installed")
    (tmp_path / "by_cuda.py").write_text(CUDA)
    (tmp_path / "ask.py").write_text(ASK)
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "ask.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    if "No module named" in done.stderr and "cuda" in done.stderr:
        pytest.skip("this Numba has no CUDA target: pip install numba-cuda")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["PASS", "FAIL"]
