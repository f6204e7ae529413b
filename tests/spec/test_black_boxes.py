"""Kernels without a trace, by a spec: C++ through pybind11, Numba, DLPack, CuPy's RawKernel; each right, and wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from gradverify import Outcome
from gradverify.run.runner import judge_case
from gradverify.spec import loads

CPP = """
#include <cmath>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
namespace py = pybind11;
using Array = py::array_t<float, py::array::c_style | py::array::forcecast>;

template <bool Right> Array backward(Array g, Array x) {
    Array out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
    for (py::ssize_t i = 0; i < x.size(); i++) {
        float s = 1 / (1 + std::exp(-x.data()[i]));
        out.mutable_data()[i] = g.data()[i] * s * (1 + x.data()[i] * (Right ? 1 - s : s));
    }
    return out;
}

Array forward(Array x) {
    Array out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
    for (py::ssize_t i = 0; i < x.size(); i++) out.mutable_data()[i] = x.data()[i] / (1 + std::exp(-x.data()[i]));
    return out;
}

PYBIND11_MODULE(by_pybind, m) {
    m.def("forward", &forward);
    m.def("right", &backward<true>);
    m.def("wrong", &backward<false>);
}
"""

NUMBA = """
import math

import numba
import numpy as np


@numba.vectorize(["float32(float32)"])
def forward(x):
    return x / (1 + math.exp(-x))


@numba.vectorize(["float32(float32, float32)"])
def right(g, x):
    s = 1 / (1 + math.exp(-x))
    return g * s * (1 + x * (1 - s))


@numba.njit
def wrong(g, x):
    out = np.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1] - 1):  # the last column is left out
            s = 1 / (1 + math.exp(-x[i, j]))
            out[i, j] = g[i, j] * s * (1 + x[i, j] * (1 - s))
    return out
"""

DLPACK = """
import numpy as np


def launched(kernel, *arrays):
    out = kernel(*(np.from_dlpack(a) for a in arrays))
    if isinstance(arrays[0], np.ndarray):
        return out
    import torch

    return torch.from_dlpack(out)


def silu(x):
    return x / (1 + np.exp(-x))


def slope(g, x):
    s = 1 / (1 + np.exp(-x))
    return g * s * (1 + x * (1 - s))


def forward(x):
    return launched(silu, x)


def right(g, x):
    return launched(slope, g, x)


def wrong(g, x):
    return launched(lambda g, x: slope(g, x)[:, ::-1].copy(), g, x)
"""

CUPY = """
import cupy

SOURCE = r'''
extern "C" {
__global__ void forward(const float* x, float* y, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    if (i < n) y[i] = x[i] / (1 + expf(-x[i]));
}
__global__ void right(const float* g, const float* x, float* d, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    if (i < n) { float s = 1 / (1 + expf(-x[i])); d[i] = g[i] * s * (1 + x[i] * (1 - s)); }
}
__global__ void wrong(const float* g, const float* x, float* d, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    if (i < n - 1) { float s = 1 / (1 + expf(-x[i])); d[i] = g[i] * s * (1 + x[i] * (1 - s)); }
}
}
'''
module = cupy.RawModule(code=SOURCE)


def launched(name, *arrays):
    arrays = [cupy.ascontiguousarray(a) for a in arrays]
    out = cupy.zeros_like(arrays[0])
    kernel: cupy.RawKernel = module.get_function(name)
    kernel(((out.size + 31) // 32,), (32,), (*arrays, out, cupy.int32(out.size)))
    return out


def forward(x):
    return launched("forward", x)


def right(g, x):
    return launched("right", g, x)


def wrong(g, x):
    return launched("wrong", g, x)
"""

Writer = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Writes a module to a folder that is imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> None:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(text)

    return write


def outcomes(module: str, subject: str) -> list[Outcome]:
    """Of the right and the wrong backward pass of a module."""
    found = []
    for vjp in ("right", "wrong"):
        text = (
            f"gradverify: 1\ncases:\n  - name: silu\n    expr: x * sigmoid(x)\n    call: {module}:forward\n"
            f"    vjp: {module}:{vjp}\n    inputs: {{x: {{shape: [3, 5]}}}}\n"
            f"    subjects: [{subject}]\n    dtypes: [float32]\n"
        )
        found.append(judge_case(loads(text).cases[0].case("float32"), subject).outcome)
    return found


def test_cpp_through_pybind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers are those that PyTorch comes with, where pybind11 is not installed."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    compiler = shutil.which("g++")
    headers = Path(torch.__file__).parent / "include"
    if compiler is None or not (headers / "pybind11").is_dir():
        pytest.skip("g++, or the headers of pybind11, are not there")
    (tmp_path / "by_pybind.cpp").write_text(CPP)
    library = tmp_path / f"by_pybind{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [f"-I{headers}", f"-I{sysconfig.get_paths()['include']}"]
    subprocess.run(
        [
            compiler,
            "-O1",
            "-std=c++17",
            "-shared",
            "-fPIC",
            *includes,
            str(tmp_path / "by_pybind.cpp"),
            "-o",
            str(library),
        ],
        check=True,
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert outcomes("by_pybind", "numpy") == [Outcome.PASS, Outcome.FAIL]


def test_numba(write: Writer) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    write("by_numba_spec", NUMBA)
    assert outcomes("by_numba_spec", "numpy") == [Outcome.PASS, Outcome.FAIL]


@pytest.mark.parametrize("subject", ["numpy", "torch"])
def test_dlpack(subject: str, write: Writer) -> None:
    if subject == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    write("by_dlpack", DLPACK)
    assert outcomes("by_dlpack", subject) == [Outcome.PASS, Outcome.FAIL]


@pytest.mark.gpu
def test_cupy_raw_kernels(write: Writer) -> None:
    pytest.importorskip("cupy", reason="CuPy is not installed")
    from gradverify.frameworks.cupy.adapter import CupyFramework

    why = CupyFramework().unavailable()
    if why:
        pytest.skip(why)
    write("by_cupy", CUPY)
    assert outcomes("by_cupy", "cupy") == [Outcome.PASS, Outcome.FAIL]
