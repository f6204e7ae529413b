"""Reading and writing state dicts: safetensors, and PyTorch's own .pth files, without running what is in them.

The one idea: a .pth file is a zip of raw arrays and a pickle that says how to put them together. The pickle is read with an
unpickler that knows six names and refuses all others, so that a file can hold tensors and nothing that acts.

Formats: huggingface/safetensors README, section "Format"; PyTorch documentation, "Serialization semantics".
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from . import dtypes
from .tensor import Tensor, wrap

Name = str | PathLike[str]

_SAFE = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32",
    "I64": "int64", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_STORAGES = {
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64",
    "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64", "ByteStorage": "uint8",
    "BoolStorage": "bool",
}  # fmt: skip


def save(obj: Any, f: Any) -> None:
    """Write tensors, and containers of them, to a path or a file: a pickle, which `load` reads.

    PyTorch does not read it; `save_safetensors` writes what both do.
    """
    if hasattr(f, "write"):
        pickle.dump(obj, f, protocol=4)
    else:
        Path(f).write_bytes(pickle.dumps(obj, protocol=4))


def load(f: Any, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """What `save` wrote; or a state dict from a `.safetensors` or a `.pth` file (of torch.save, PyTorch 1.6 or later).

    weights_only  read tensors and containers, and nothing that acts; else whatever the pickle names

    Raises pickle.UnpicklingError for a pickle that names anything else, ValueError for a file of no known kind.
    """
    if hasattr(f, "read"):
        return _Plain(f).load() if weights_only else pickle.load(f)
    path = Path(f)
    if zipfile.is_zipfile(path):
        return _load_zip(path)
    data = path.read_bytes()
    if len(data) >= 8 and 0 < int.from_bytes(data[:8], "little") <= len(data) - 8 and data[8:9] == b"{":
        return _load_safetensors(data)
    if data[:1] == pickle.PROTO:
        return load(io.BytesIO(data), weights_only=weights_only)
    raise ValueError(f"{path} is neither a safetensors file nor a zip of torch.save (PyTorch 1.6 or later)")


class _Plain(pickle.Unpickler):
    """Knows what tensors and containers are made of; refuses every other name."""

    known = {
        ("collections", "OrderedDict"), ("gradverify.engine.tensor", "_rebuilt"), ("gradverify.engine.tensor", "Tensor"),
        ("gradverify.engine.tensor", "Size"), ("gradverify.engine.nn.parameter", "_rebuilt"), ("numpy", "dtype"),
        ("numpy", "ndarray"), ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.numeric", "_frombuffer"),
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}; only tensors are read, nothing is run")
        return super().find_class(module, name)


def _dtype(name: str) -> np.dtype:
    found = dtypes.DTYPES.get(name)
    if found is None:
        raise ValueError(f"the file holds {name}, which needs ml_dtypes: pip install ml_dtypes")
    return found.numpy


def _load_safetensors(data: bytes) -> dict[str, Tensor]:
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        a, b = entry["data_offsets"]
        if entry["dtype"] not in _SAFE:
            raise ValueError(f"{name} is of dtype {entry['dtype']}, which this engine does not have")
        flat = np.frombuffer(data[start + a : start + b], dtype=_dtype(_SAFE[entry["dtype"]]))
        out[name] = wrap(flat.reshape(entry["shape"]).copy())
    return out


def save_safetensors(tensors: Mapping[str, Tensor], file: Name) -> None:
    """Writes a state dict as safetensors."""
    names = {v: k for k, v in _SAFE.items()}
    header, blobs, at = {}, [], 0
    for name, tensor in tensors.items():
        blob = np.ascontiguousarray(tensor._array()).tobytes()
        header[name] = {
            "dtype": names[tensor.dtype.name], "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]
        }  # fmt: skip
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(file).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


class _StorageType:
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


def _tensor(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    step = storage.dtype.itemsize
    reach = offset + sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else 0
    if offset < 0 or any(s < 0 for s in stride) or (0 not in size and reach >= len(storage)):
        raise pickle.UnpicklingError("a tensor reaches outside of its storage")
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, tuple(s * step for s in stride))
    return wrap(np.array(view))


def _parameter(data: Tensor, requires_grad: bool, *_: Any) -> Tensor:
    return data


class _Unpickler(pickle.Unpickler):
    """Knows how tensors are put together; refuses every other name."""

    def __init__(self, data: bytes, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(data))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}; only tensors are read, nothing is run")

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, kind, key, _, count = pid
        raw = self.archive.read(f"{self.root}/data/{key}")
        return np.frombuffer(raw, dtype=_dtype(kind.dtype), count=count)


def _load_zip(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        entry = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
        if entry is None:
            raise ValueError(f"{path} is a zip, but not one of torch.save: there is no data.pkl in it")
        return _Unpickler(archive.read(entry), archive, entry.removesuffix("/data.pkl")).load()
