"""What training sees of a dataset (three splits, an augmentation, a digest), and what a dataset offers.

A split gives batches in the order it is asked for, from memory or from files; the training loop cannot tell
which. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from lrbench.spec import Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Augmentation = Literal["none", "pad_crop", "pad_crop_flip"]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in memory.

    Attributes:
        inputs: shape (n, *input_shape), float32 and normalised, or int64 where they are tokens.
        targets: int64 for classification, shape (n,), or (n, *tokens) where each token of an example has a class;
            (n, num_outputs) float32 for regression.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, order: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of each batch, on the split's device.

        Args:
            order: one int64 index tensor of shape (batch_size,) a batch, on the CPU.
        """
        inputs, targets = self.inputs, self.targets
        if inputs.device.type == "cpu":
            for index in order:
                # index_select copies whole rows: three times as fast as inputs[index] on an MNIST batch.
                yield inputs.index_select(0, index), targets.index_select(0, index)
        else:
            for index in order:
                index = index.to(inputs.device, non_blocking=True)
                yield inputs.index_select(0, index), targets.index_select(0, index)

    def to(self, device: torch.device | str) -> Split:
        """Return the split with its tensors on the device."""
        return Split(self.inputs.to(device), self.targets.to(device))


class Examples(Protocol):
    """A map-style torch dataset that fetches a batch at once, already normalised and stacked."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """Examples that do not fit in memory: made by worker processes, batch by batch, in the order asked for.

    Attributes:
        examples: what the workers read.
        num_workers: processes a pass, >= 0; 0 reads in the training process. They end with the pass.
        device: where batches arrive.
    """

    examples: Examples
    num_workers: int
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, order: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of each batch; see Split.batches."""
        import torch
        from torch.utils.data import DataLoader

        device = torch.device(self.device)
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            self.examples,  # type: ignore[arg-type]  # torch asks for a subclass, and only uses these methods
            batch_sampler=(index.tolist() for index in order),
            num_workers=self.num_workers,
            collate_fn=_as_fetched,
            pin_memory=device.type == "cuda",
            # Without its own generator, a DataLoader draws from the global one, and dropout would depend on
            # whether the data was streamed.
            generator=torch.Generator(),
        )
        for inputs, targets in loader:
            yield inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)

    def to(self, device: torch.device | str) -> StreamedSplit:
        """Return the split with its batches arriving on the device."""
        return StreamedSplit(self.examples, self.num_workers, device)


@dataclass(frozen=True, eq=False)
class Splits:
    """A loaded dataset.

    Attributes:
        train: what updates are made from.
        validation: held out of the training examples; what schedules are judged by.
        test: read once, at the end.
        augment: takes a batch of train inputs (on their device) and a CPU generator, from which it draws all
            its randomness; gives inputs of the same shape. None changes nothing.
        digest: sha256 (hex) of the source, of which example is in which split, and of the preprocessing.
        target_scale: what a difference of 1 in a standardised target was before; RMSE is told in these units.
    """

    train: Split | StreamedSplit
    validation: Split | StreamedSplit
    test: Split | StreamedSplit
    augment: Callable[[Tensor, torch.Generator], Tensor] | None
    digest: str
    target_scale: float = 1.0


@runtime_checkable
class Described(Protocol):
    """A dataset made of a person's own files, which may have been understood otherwise than they were meant."""

    def describe(self) -> dict[str, str]:
        """What was understood: columns, splits, shares of the classes; reads the files."""


class Dataset(Protocol):
    """What a YAML of the group `dataset` builds. All but `load` is cheap; constructing imports no torch."""

    @property
    def task(self) -> Task:
        """Decides loss and metrics."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's input."""

    @property
    def num_outputs(self) -> int:
        """Classes, or regression outputs."""

    @property
    def num_train(self) -> int:
        """Training examples, after the validation split."""

    @property
    def max_epochs(self) -> float | None:
        """Longest budget for which the dataset keeps its promise; None for any."""

    def check(self) -> None:
        """Raise ValueError, naming the config path, if the source is absent or cannot be split as asked."""

    def load(self) -> Splits:
        """Return the splits, on the CPU."""


def _as_fetched(batch: Any) -> Any:
    return batch
