"""The memory that the kernels of one launch read and write: whose it is, what is recorded in it, and what goes wrong there.

Faults are what no value shows, or only on another machine:

* an access beyond the end of a tensor's memory (a tile's tail, a mask that is missing);
* a result that depends on memory that nobody wrote, or on lanes that a mask left out and no `other=` filled;
* two program instances that write one place, or of which one writes what the other reads, without atomics.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...trace.lanes import Codes

NOBODY, SEVERAL = -1, -2
"""Instead of a program instance's number: who wrote a place, or read it, in this launch."""


@dataclass(eq=False)
class Region:
    """A tensor's whole memory, in one launch.

    names     the kernel's parameters that point into it
    dtype     Triton's dtype of its elements, None until the first access
    codes     what is recorded in each element; None where nothing is
    writers, readers, adders  the program instance of each element; adders do it by atomics
    summed    whether several instances added to one element
    """

    start: int
    nbytes: int
    storage: Any
    names: list[str] = field(default_factory=list)
    dtype: Any = None
    codes: Codes | None = None
    written: bool = False
    writers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    readers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    adders: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    summed: bool = False

    @property
    def title(self) -> str:
        return "/".join(dict.fromkeys(self.names)) or "a tensor"

    def typed(self, dtype: Any, itemsize: int) -> bool:
        """Sets the dtype at the first access. Returns whether this access has the dtype of the first."""
        if self.dtype is None:
            self.retype(dtype, itemsize)
        return self.dtype == dtype

    def retype(self, dtype: Any, itemsize: int) -> None:
        """Set the dtype, and clear the records of which instance accessed which element."""
        self.dtype, length = dtype, self.nbytes // itemsize
        self.writers, self.readers, self.adders = (np.full(length, NOBODY, dtype=np.int64) for _ in range(3))

    def places(self, addresses: np.ndarray, itemsize: int) -> tuple[np.ndarray, np.ndarray]:
        """The elements at these addresses, and which of the addresses lie within."""
        offset = addresses.astype(np.int64) - self.start
        return offset // itemsize, (offset >= 0) & (offset + itemsize <= self.nbytes)

    def note_read(self, places: np.ndarray, program: int) -> np.ndarray:
        """Note a read. Returns which places another instance wrote."""
        self.readers[places] = _joined(self.readers[places], program)
        return _others(self.writers[places], program) | _others(self.adders[places], program)

    def note_write(self, places: np.ndarray, program: int) -> tuple[np.ndarray, np.ndarray]:
        """Note a write. Returns which places another instance wrote, and which another one read."""
        writers, readers = self.writers[places], self.readers[places]
        self.writers[places] = program
        return _others(writers, program) | _others(self.adders[places], program), _others(readers, program)

    def note_add(self, places: np.ndarray, program: int) -> tuple[np.ndarray, np.ndarray]:
        """Note an atomic operation. Returns which places another instance wrote, or read, without atomics."""
        self.adders[places] = _joined(self.adders[places], program)
        self.summed = self.summed or bool((self.adders[places] == SEVERAL).any())
        return _others(self.writers[places], program), _others(self.readers[places], program)


def _joined(before: np.ndarray, program: int) -> np.ndarray:
    return np.where((before == NOBODY) | (before == program), program, SEVERAL)


def _others(who: np.ndarray, program: int) -> np.ndarray:
    """Which elements an instance other than this one accessed."""
    return (who != NOBODY) & (who != program)


class Memory:
    """The regions of a launch, by address."""

    def __init__(self) -> None:
        self.regions: dict[int, Region] = {}
        self.starts: list[int] = []

    def enter(self, storage: Any, name: str = "") -> Region | None:
        """The region of a storage; None of an empty one."""
        start, nbytes = storage.data_ptr(), storage.nbytes()
        if not nbytes:
            return None
        if start not in self.regions:
            self.regions[start] = Region(start, nbytes, storage)
            bisect.insort(self.starts, start)
        region = self.regions[start]
        if name:
            region.names.append(name)
        return region

    def at(self, address: int) -> Region | None:
        """The region that an address lies in."""
        k = bisect.bisect_right(self.starts, address) - 1
        region = self.regions[self.starts[k]] if k >= 0 else None
        return region if region is not None and address < region.start + region.nbytes else None

    def regions_at(self, addresses: np.ndarray, base: Region | None) -> list[tuple[Region | None, np.ndarray]]:
        """Which of the addresses lie in, or (given the region that a pointer came from) belong to, which region."""
        if base is not None:
            return [(base, np.ones(addresses.size, dtype=bool))]
        flat = addresses.ravel()
        which = np.searchsorted(np.array(self.starts, dtype=np.uint64), flat, side="right") - 1
        found: list[tuple[Region | None, np.ndarray]] = []
        for k in np.unique(which):
            region = self.regions[self.starts[k]] if k >= 0 else None
            found.append((region, which == k))
        return found
