"""Reading and writing state dicts: safetensors, and PyTorch's own .pth files, without running what is in them.

The one idea: a .pth file is a zip of raw arrays and a pickle that says how to put them together. The pickle is read with an
unpickler that knows six names and refuses all others, so that a file can hold tensors and nothing that acts.

Formats: huggingface/safetensors README, section "Format"; PyTorch documentation, "Serialization semantics".
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
import zlib
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


MOST_HEADER = 100_000_000
"""Bytes of a header of safetensors, and of a pickle: what the safetensors library reads at most."""

MOST_COPIES = 64
"""Times that the entries of a .pth file may be more than its storages hold: tensors share them, and expand them by strides
of 0, and an attacker makes a terabyte of eight bytes. 16 MiB are always allowed."""

MOST_DEFLATED = 10
"""Times that one part may be longer than the whole file. torch.save packs nothing, others may, and weights are packed to a
tenth at best; deflate makes 1032 bytes of one by zeros alone."""


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

    Raises OSError where the file cannot be read, pickle.UnpicklingError for a pickle that names anything but tensors or
    puts them together wrongly, ValueError for a file of no known kind or one that does not keep to its format.
    """
    if not weights_only:
        return pickle.load(f) if hasattr(f, "read") else pickle.loads(Path(f).read_bytes())
    what = str(getattr(f, "name", "the file")) if hasattr(f, "read") else str(f)
    try:
        return _load(f, what)
    except (OSError, ValueError, pickle.UnpicklingError):
        raise
    except (RecursionError, MemoryError):
        raise ValueError(f"{what}: nested too deep, or too large") from None
    except zipfile.BadZipFile as e:
        raise ValueError(f"{what} is a broken zip: {e}") from None
    except Exception as e:  # a pickle is a program: an unpickler lets what it meets escape
        raise pickle.UnpicklingError(f"{what}: no state dict: {type(e).__name__}: {str(e)[:200]}") from None


def _load(f: Any, what: str) -> Any:
    if hasattr(f, "read"):
        return _Plain(f).load()
    path = Path(f)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file")
    if zipfile.is_zipfile(path):
        return _load_zip(path)
    data = path.read_bytes()
    if len(data) >= 8 and 0 < int.from_bytes(data[:8], "little") <= len(data) - 8 and data[8:9] == b"{":
        return _load_safetensors(data)
    if data[:1] == pickle.PROTO:
        return _Plain(io.BytesIO(data)).load()
    raise ValueError(f"{what} is neither a safetensors file nor a zip of torch.save (PyTorch 1.6 or later)")


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
    length = int.from_bytes(data[:8], "little")
    if length > MOST_HEADER:
        raise ValueError(f"a header of {length:,} bytes; at most {MOST_HEADER:,}")
    body = memoryview(data)[8 + length :]
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_once)
    except ValueError as e:
        raise ValueError(f"the header is no JSON object: {str(e)[:200]}") from None
    out, spans = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind, shape, a, b = _checked(name, entry)
        dtype = _dtype(_SAFE[kind])
        if b - a != math.prod(shape) * dtype.itemsize or b > len(body):
            raise ValueError(f"{name[:60]}: bytes {a} to {b} of {len(body)} are no {kind}{shape}")
        spans.append((a, b))
        out[name] = wrap(np.frombuffer(body[a:b], dtype=dtype).reshape(shape).copy())
    at = 0
    for a, b in sorted(spans):  # the format: no holes, no overlaps, nothing behind the last
        if a != at:
            raise ValueError(f"the tensors {'overlap' if a < at else 'leave a hole'} at byte {min(a, at)}")
        at = b
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes belong to no tensor")
    return out


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each key of it once."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _checked(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Dtype, shape and bytes of an entry of the header. Raises ValueError for anything else."""
    is_size = lambda n: type(n) is int and 0 <= n < 1 << 62
    if isinstance(entry, dict) and {"dtype", "shape", "data_offsets"} == set(entry):
        kind, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
        if isinstance(shape, list) and len(shape) <= 32 and all(map(is_size, shape)):
            if not isinstance(kind, str) or kind not in _SAFE:
                raise ValueError(f"{name[:60]} is of dtype {str(kind)[:20]}, which this engine does not have")
            if isinstance(span, list) and len(span) == 2 and all(map(is_size, span)) and span[0] <= span[1]:
                return kind, tuple(shape), span[0], span[1]
    raise ValueError(f"{name[:60]}: an entry has a dtype, a shape and two data_offsets")


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


def _parameter(data: Tensor, requires_grad: bool, *_: Any) -> Tensor:
    return data


class _Unpickler(pickle.Unpickler):
    """Knows how tensors are put together; refuses every other name."""

    def __init__(self, data: bytes, archive: zipfile.ZipFile, root: str, size: int) -> None:
        super().__init__(io.BytesIO(data))
        self.archive, self.root, self.size = archive, root, size
        self.storages: dict[str, bytes] = {}
        self.made = 0

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        raise pickle.UnpicklingError(
            f"the file asks for {module[:60]}.{name[:60]}; only tensors are read, nothing is run"
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """A storage: ("storage", type, key, device, count)."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and isinstance(pid[1], _StorageType) and type(pid[2]) is str):
            raise pickle.UnpicklingError("what is no storage stands in the place of one")
        _, kind, key, _, count = pid
        dtype = _dtype(kind.dtype)
        if key not in self.storages:
            self.storages[key] = _unpacked(self.archive, f"{self.root}/data/{key}", self.size)
        raw = self.storages[key]
        if type(count) is not int or not 0 <= count * dtype.itemsize <= len(raw):
            raise pickle.UnpicklingError(f"the storage {key[:60]} has {len(raw)} bytes, not {str(count)[:20]} entries")
        return np.frombuffer(raw, dtype=dtype, count=count)

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        """A tensor of a storage's memory, by its strides in entries."""
        is_sizes = lambda t: isinstance(t, tuple) and all(type(n) is int and n >= 0 for n in t)
        if not (isinstance(storage, np.ndarray) and type(offset) is int and is_sizes(size) and is_sizes(stride)):
            raise pickle.UnpicklingError("a tensor is a storage, an offset, sizes and strides")
        if len(size) != len(stride) or len(size) > 32:
            raise pickle.UnpicklingError(f"{len(size)} sizes and {len(stride)} strides")
        reach = offset + sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else 0
        if offset < 0 or (0 not in size and reach >= len(storage)):
            raise pickle.UnpicklingError("a tensor reaches outside of its storage")
        self.made += math.prod(size) * storage.dtype.itemsize
        if self.made > max(MOST_COPIES * sum(map(len, self.storages.values())), 1 << 24):
            raise pickle.UnpicklingError("the tensors are too large for what the file holds")
        if 0 in size:
            return wrap(np.zeros(size, dtype=storage.dtype))
        step = storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(storage[offset:], size, tuple(s * step for s in stride))
        return wrap(np.array(view))


def _unpacked(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """An entry of a zip, whose file has `size` bytes."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise pickle.UnpicklingError(f"the zip has no {name[:100]}") from None
    if info.file_size > MOST_HEADER and info.file_size > MOST_DEFLATED * size:
        raise ValueError(f"{name[:100]}: {info.file_size:,} bytes in a file of {size:,}: a zip bomb")
    try:
        return archive.read(info)
    except (RuntimeError, NotImplementedError, zlib.error, EOFError) as e:  # a password, another method, broken data
        raise ValueError(f"{name[:100]} cannot be unpacked: {e}") from None


def _load_zip(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entry = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
        if entry is None:
            raise ValueError(f"{path} is a zip, but not one of torch.save: there is no data.pkl in it")
        text = _unpacked(archive, entry, size)
        if len(text) > MOST_HEADER:
            raise ValueError(f"{path}: a pickle of {len(text):,} bytes; at most {MOST_HEADER:,}")
        made = _Unpickler(text, archive, entry.removesuffix("/data.pkl"), size).load()
    if not isinstance(made, dict):
        raise ValueError(f"{path} holds a {type(made).__name__}, and no state dict")
    return made
