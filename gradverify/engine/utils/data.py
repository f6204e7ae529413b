"""`torch.utils.data`: datasets and batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..api import creation
from ..api.composed import multinomial
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


class IterableDataset(Dataset):
    """Something with `__iter__()` alone."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")


# ---- samplers -------------------------------------------------------------------------------------------------------------


class Sampler:
    """Says in which order a `DataLoader` takes the entries of a dataset: `__iter__` gives their indices."""

    def __init__(self, data_source: Any = None) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError


class SequentialSampler(Sampler):
    """From the first to the last."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Each entry once, in a random order; with `replacement` each draw from all of them, for as long as `num_samples` says.

    Raises ValueError where `num_samples` is not positive.
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None,
        generator: creation.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(data_source)
        self.replacement, self.generator = replacement, generator
        self.num_samples = len(data_source) if num_samples is None else num_samples
        if self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    def __iter__(self) -> Iterator[int]:
        n, left = len(self.data_source), self.num_samples
        while left > 0:
            drawn: list[int] = (
                creation.randint(n, (min(n, 32),), generator=self.generator)
                if self.replacement
                else creation.randperm(n, generator=self.generator)
            ).tolist()
            yield from drawn[:left]
            left -= len(drawn)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """Each of the indices once, in a random order."""

    def __init__(self, indices: Sequence[int], generator: creation.Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[k] for k in creation.randperm(len(self.indices), generator=self.generator).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """`num_samples` indices, drawn by weight. Raises ValueError where `num_samples` is not positive."""

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True,
        generator: creation.Generator | None = None,
    ) -> None:  # fmt: skip
        if num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        self.weights = creation.as_tensor(weights, dtype=DTYPES["float64"])
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        return iter(multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator).tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """The indices of another sampler, `batch_size` at a time; the last ones are dropped or are fewer."""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


# ---- batches --------------------------------------------------------------------------------------------------------------


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
        pin_memory: bool = False, drop_last: bool = False, timeout: float = 0, worker_init_fn: Any = None,
        multiprocessing_context: Any = None, generator: creation.Generator | None = None, *, prefetch_factor: Any = None,
        persistent_workers: bool = False,
    ) -> None:  # fmt: skip
        if batch_size is not None and batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if sampler is None and not isinstance(dataset, IterableDataset):
            sampler = (
                RandomSampler(dataset, generator=generator) if shuffle and len(dataset) else SequentialSampler(dataset)
            )
        if batch_sampler is None and batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last, self.num_workers = dataset, batch_size, drop_last, num_workers
        self.sampler, self.batch_sampler, self.generator, self.pin_memory = (
            sampler,
            batch_sampler,
            generator,
            pin_memory,
        )
        self.collate_fn = collate_fn or default_collate

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is not None:
            return (self.collate_fn([self.dataset[k] for k in indices]) for indices in self.batch_sampler)
        rows = iter(self.dataset) if self.sampler is None else (self.dataset[k] for k in self.sampler)
        if self.batch_size is None:
            return rows
        return map(self.collate_fn, BatchSampler(rows, self.batch_size, self.drop_last))

    def __len__(self) -> int:
        return len(self.batch_sampler if self.batch_sampler is not None else self.sampler)


class dataloader:
    """`torch.utils.data.dataloader`."""

    DataLoader, default_collate = DataLoader, staticmethod(default_collate)


class sampler:
    """`torch.utils.data.sampler`."""

    Sampler, SequentialSampler, RandomSampler = Sampler, SequentialSampler, RandomSampler
    SubsetRandomSampler, WeightedRandomSampler, BatchSampler = SubsetRandomSampler, WeightedRandomSampler, BatchSampler
