"""Weight files: safetensors and .pth, broken by their structure and by their bytes."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradverify.engine.serialization import load

from .mutations import LONG, QUICK, broken, runs, survives, torn

torch = pytest.importorskip("torch")
DOCUMENTED = (ValueError, pickle.UnpicklingError, OSError)

HEADER = {
    "__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
    "c": {"dtype": "I64", "shape": [], "data_offsets": [32, 40]},
}


def pth(**tensors: Any) -> bytes:
    made = io.BytesIO()
    torch.save(OrderedDict(tensors), made)
    return made.getvalue()


PTH = pth(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(2, dtype=torch.bfloat16), c=torch.zeros(1).expand(3, 4))


def repacked(data: bytes, pickle_text: bytes) -> bytes:
    """The same zip with another pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle_text if name.endswith("data.pkl") else old.read(name))
    return made.getvalue()


with zipfile.ZipFile(io.BytesIO(PTH)) as _archive:
    PICKLE = _archive.read(next(n for n in _archive.namelist() if n.endswith("data.pkl")))

headers = broken(
    HEADER, st.sampled_from([None, 0, -1, 4, 24, 2**62, 2**64, 1.5, "F32", "F8", [], [2, 3], [0, 24], {}, True])
)
files = st.one_of(
    st.builds(
        lambda header, body: len(header).to_bytes(8, "little") + header + body,
        headers.map(lambda h: json.dumps(h).encode()),
        st.sampled_from([bytes(range(40)), bytes(39), bytes(41), b""]),
    ),
    torn(len(json.dumps(HEADER)).to_bytes(8, "little") + json.dumps(HEADER).encode() + bytes(40)),
    torn(PTH),
    torn(PICKLE).map(lambda p: repacked(PTH, p)),
)


def attempt(path: Path, data: bytes) -> None:
    path.write_bytes(data)

    def work() -> None:
        for value in load(path).values():
            np.asarray(getattr(value, "shape", ()))

    survives(work, *DOCUMENTED)


@pytest.mark.parametrize("examples", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_broken_files(examples: int, tmp_path: Path) -> None:
    @runs(examples)
    @given(files)
    def broken_file(data: bytes) -> None:
        attempt(tmp_path / "a", data)

    broken_file()


def test_right_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PTH)
    found = load(tmp_path / "a")
    assert [t.shape for t in found.values()] == [(2, 3), (2,), (3, 4)]
    header = json.dumps(HEADER).encode()
    (tmp_path / "b").write_bytes(len(header).to_bytes(8, "little") + header + bytes(40))
    assert [t.shape for t in load(tmp_path / "b").values()] == [(2, 3), (4,), ()]


def header_with(**change: Any) -> bytes:
    header = json.dumps({**HEADER, **change}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(40)


def bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x/data.pkl", bytes(300_000_000))
    return made.getvalue()


def rebuilt(size: tuple[int, ...], stride: tuple[int, ...], count: int = 2) -> bytes:
    """A .pth file whose only tensor is put together by these sizes and strides."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (Storage(), 0, size, stride, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(obj, Storage) else None

    made = io.BytesIO()
    text = io.BytesIO()
    Pickler(text, 2).dump({"a": Tensor()})
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("x/data.pkl", text.getvalue())
        archive.writestr("x/data/0", bytes(8))
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (header_with(b={"dtype": "BF16", "shape": [4], "data_offsets": [20, 28]}), "overlap at byte 20"),
        (header_with(b={"dtype": "BF16", "shape": [2], "data_offsets": [28, 32]}), "leave a hole at byte 24"),
        (header_with(c={"dtype": "I64", "shape": [], "data_offsets": [32, 48]}), "bytes 32 to 48 of 40"),
        (header_with(c={"dtype": "I64", "shape": [2], "data_offsets": [32, 40]}), "are no I64"),
        (header_with().replace(b'"c"', b'"b"'), "a key stands twice"),
        (header_with() + b"more", "4 bytes belong to no tensor"),
        (rebuilt((300_000_000,), (0,)), "too large for what the file holds"),
        (rebuilt((3,), (1,)), "outside of its storage"),
        (rebuilt((2,), (-1,)), "a tensor is a storage"),
        (rebuilt((2,), (1,), count=3), "not 3 entries"),
        (repacked(PTH, pickle.dumps([1, 2], 2)), "holds a list, and no state dict"),
        (repacked(PTH, pickle.dumps(OSError)), "only tensors are read"),
    ],
)  # fmt: skip
def test_each_fault_has_its_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DOCUMENTED, match=said):
        load(tmp_path / "a")


def test_a_zip_bomb(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bomb())
    with pytest.raises(ValueError, match="a zip bomb"):
        load(tmp_path / "a")
