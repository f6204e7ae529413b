"""`torch.utils.data`: datasets and batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..api import creation
from ..api.indexing import getitem
from ..api.joining import stack
from ..dtypes import DTYPES
from ..tensor import Tensor


class Dataset:
    """Something with `__getitem__(index)` and `__len__()`."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class TensorDataset(Dataset):
    """Rows of tensors that belong together."""

    def __init__(self, *tensors: Tensor) -> None:
        if any(len(t) != len(tensors[0]) for t in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(getitem(t, index) for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class ConcatDataset(Dataset):
    """One dataset after another."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise ValueError("absolute value of index should not exceed dataset length")
        index %= len(self)
        for dataset in self.datasets:
            if index < len(dataset):
                return dataset[index]
            index -= len(dataset)
        raise AssertionError("unreachable: the index was checked")


class Subset(Dataset):
    """Some entries of a dataset."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: creation.Generator | None = None) -> list[Subset]:
    """Disjoint random subsets of these lengths, or of these fractions."""
    n = len(dataset)
    fractions = all(0 <= s <= 1 for s in lengths) and abs(sum(lengths) - 1) < 1e-6
    sizes = [int(n * s) if fractions else int(s) for s in lengths]
    if fractions:
        for k in range(n - sum(sizes)):
            sizes[k % len(sizes)] += 1
    if sum(sizes) != n:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = creation.randperm(n, generator=generator).tolist()
    ends = np.cumsum([0, *sizes]).astype(int)
    return [Subset(dataset, order[a:b]) for a, b in itertools.pairwise(ends)]


def default_collate(batch: Sequence[Any]) -> Any:
    """Rows become one tensor; tuples and dicts are collated field by field."""
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch)
    if isinstance(first, tuple | list):
        if any(len(row) != len(first) for row in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [default_collate(column) for column in zip(*batch)]
    if isinstance(first, Mapping):
        return {key: default_collate([row[key] for row in batch]) for key in first}
    if isinstance(first, str):
        return list(batch)
    if isinstance(first, float):
        return creation.tensor(list(batch), dtype=DTYPES["float64"])
    if isinstance(first, int | np.ndarray | np.generic):
        return creation.tensor(np.array(batch))
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found " + str(type(first))
    )


class DataLoader:
    """Batches of a dataset; `shuffle` draws a new order in every epoch, from `generator` or from the global seed."""

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool = False, sampler: Any = None,
        batch_sampler: Any = None, num_workers: int = 0, collate_fn: Callable[[Sequence[Any]], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, *, generator: creation.Generator | None = None,
    ) -> None:  # fmt: skip
        if batch_size is not None and batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.collate_fn = collate_fn or default_collate

    def _order(self) -> Sequence[int]:
        if self.sampler is not None:
            return list(self.sampler)
        n = len(self.dataset)
        return creation.randperm(n, generator=self.generator).tolist() if self.shuffle else range(n)

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is not None:
            for indices in self.batch_sampler:
                yield self.collate_fn([self.dataset[k] for k in indices])
            return
        order = self._order()
        if self.batch_size is None:
            yield from (self.dataset[k] for k in order)
            return
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
            if len(indices) < self.batch_size and self.drop_last:
                return
            yield self.collate_fn([self.dataset[k] for k in indices])

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        n = len(self.dataset) if self.sampler is None else len(self.sampler)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
