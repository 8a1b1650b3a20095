"""Examples to train on: whole tensors, or a data set with the function that assembles batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

__all__ = ["Batch", "Examples", "examples"]

Batch = Any
"""A tuple of tensors, inputs first and the target last, or a dict of them."""

_LOOKED_AT = 256  # the number of examples that enter a data set's digest


@dataclass(frozen=True)
class Examples:
    """One part of the data.

    content: tensors whose first axis counts the examples, as a tuple or a dict; or a data set, from
    which `collate` makes batches.
    """

    content: Any
    collate: Callable[[list[Any]], Any] | None = None

    def __len__(self) -> int:
        return len(self.content if self.collate else self._tensors[0])

    @property
    def _tensors(self) -> list[Tensor]:
        return [*(self.content.values() if isinstance(self.content, Mapping) else self.content)]

    def batch(self, index: Tensor) -> Batch:
        """The examples with these numbers."""
        if self.collate:
            made = self.collate([self.content[i] for i in index.tolist()])
            return dict(made) if isinstance(made, Mapping) else tuple(made)
        if isinstance(self.content, Mapping):
            return {k: x[index] for k, x in self.content.items()}
        return tuple(x[index] for x in self.content)

    def split(self, share: float) -> tuple[Examples, Examples]:
        """Split off a share of the examples, always the same ones: the rest, and the share."""
        n = len(self)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        cut = n - max(1, round(share * n))
        return self._some(order[:cut]), self._some(order[cut:])

    def _some(self, index: Tensor) -> Examples:
        if self.collate:
            return Examples(torch.utils.data.Subset(self.content, index.tolist()), self.collate)
        return Examples(self.batch(index))

    def describe(self, index: Tensor) -> str:
        """The shapes and dtypes of a batch."""
        batch = self.batch(index)
        names = batch.items() if isinstance(batch, Mapping) else enumerate(batch)
        shown = [
            (
                k,
                f"{tuple(x.shape)} {str(x.dtype)[6:]}"
                if isinstance(x, Tensor)
                else type(x).__name__,
            )
            for k, x in names
        ]
        return ", ".join(f"{k}: {x}" if isinstance(k, str) else x for k, x in shown)

    def unfit(self) -> str:
        """Which numbers among whole tensors are not finite; "" if all are."""
        tensors = [] if self.collate else self._tensors
        bad = sum(int((~torch.isfinite(x)).sum()) for x in tensors if x.is_floating_point())
        return (
            f"{bad} number{'s' * (bad > 1)} in the data {'are' if bad > 1 else 'is'} not finite"
            * (bad > 0)
        )

    def bytes(self) -> Iterator[bytes]:
        """Its contents, for a digest; of a data set, only some of the examples."""
        if not self.collate:
            for x in self._tensors:
                yield f"{tuple(x.shape)} {x.dtype}".encode()
                yield x.contiguous().view(torch.uint8).numpy().tobytes() if x.numel() else b""
            return
        n = len(self)
        yield str(n).encode()
        chosen = sorted({round(i * (n - 1) / max(1, _LOOKED_AT - 1)) for i in range(_LOOKED_AT)})
        for i in chosen:
            batch = self.batch(torch.tensor([i]))
            values = [*(batch.values() if isinstance(batch, Mapping) else batch)]
            for x in values:
                tensor = isinstance(x, Tensor)
                yield x.contiguous().numpy().tobytes() if tensor else repr(x).encode()


def examples(part: Any) -> Examples:
    """A part of the data in any accepted form; see the module :mod:`ravine.races.task`.

    Floats become torch's default dtype, whole numbers int64. Raises TypeError and ValueError for
    anything that is not a part of data.
    """
    if isinstance(part, Examples):
        return part
    if isinstance(part, DataLoader):
        if isinstance(part.dataset, IterableDataset):
            raise TypeError(
                "a DataLoader of an IterableDataset cannot be shuffled by seed; give a Dataset"
            )
        if isinstance(part.dataset, TensorDataset) and part.collate_fn is default_collate:
            return examples(part.dataset)
        return Examples(part.dataset, part.collate_fn)
    if isinstance(part, TensorDataset):
        return examples(part.tensors)
    if isinstance(part, Dataset):
        if isinstance(part, IterableDataset) or not hasattr(part, "__len__"):
            raise TypeError("a Dataset without length cannot be shuffled by seed")
        return Examples(part, default_collate)
    if isinstance(part, Mapping) and part:
        return _equally_long(dict(zip(part, map(_tensor, part.values()), strict=True)))
    if isinstance(part, (Tensor, np.ndarray)):
        part = (part,)
    if _rows(part):
        raise TypeError(
            f"a part of the data, of type {type(part).__name__}, yields single examples; give a DataLoader "
            "over it, whose collate_fn makes batches"
        )
    if isinstance(part, Sequence) and not isinstance(part, str) and part:
        return _equally_long(tuple(map(_tensor, part)))
    raise TypeError(
        f"a part of the data is of type {type(part).__name__}; it must be arrays, such as (x, y), a dict of "
        "arrays, a Dataset or a DataLoader"
    )


def _rows(part: Any) -> bool:
    """Whether it is a list of dicts, one per example, or a Hugging Face data set."""
    if isinstance(part, (str, Mapping)) or not (
        hasattr(part, "__getitem__") and hasattr(part, "__len__")
    ):
        return False
    return len(part) > 0 and isinstance(part[0], Mapping)


def _tensor(x: Any) -> Tensor:
    try:
        made = torch.as_tensor(x if isinstance(x, Tensor) else np.ascontiguousarray(x)).detach()
    except (TypeError, ValueError) as error:
        raise TypeError(f"a part of the data holds a {type(x).__name__}: {error}") from error
    if not made.ndim:
        raise ValueError(f"a part of the data holds the number {x!r}; it must be arrays, (x, y)")
    if made.is_floating_point():
        return made.to(torch.get_default_dtype())
    return made if made.is_complex() or made.dtype == torch.bool else made.long()


def _equally_long(content: Any) -> Examples:
    tensors = [*(content.values() if isinstance(content, dict) else content)]
    lengths = [len(x) for x in tensors]
    if len({*lengths}) > 1:
        raise ValueError(
            f"the arrays of a part of the data have {lengths} examples; they must be equally long"
        )
    return Examples(content)
