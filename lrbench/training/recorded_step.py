"""A step that is recorded once and then replayed: on a GPU a CUDA graph, one launch in place of a hundred.

The step of a small model is over before the host has launched the next operation; a replay takes the host out of it.
What is recorded are addresses, so the tensors of the stack stay where they are, and every batch is copied to where the
recorded one was.
"""

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from lrbench.training.fused_step import Named, Step
from lrbench.training.memory import is_out_of_memory

# Steps taken before one is recorded: libraries choose their kernels and allocate what stays (torch's own advice).
WARM_UP_STEPS = 3


class Recorder(Protocol):
    """What can record work of a device."""

    def aside(self, work: Callable[[], None]) -> None:
        """Do work without recording it, where work is recorded."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record work without doing it; the result does it, on the tensors that the recorded work used.

        Raises:
            RuntimeError: the work waits for the device, or does something else that cannot be replayed.
        """


class CudaGraphs:
    """Records CUDA graphs (torch.cuda.CUDAGraph)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def aside(self, work: Callable[[], None]) -> None:
        """See Recorder; on a stream of its own, as capturing is."""
        with torch.cuda.device(self._device):
            ours = torch.cuda.current_stream()
            other = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            other.wait_stream(ours)
            with torch.cuda.stream(other):
                work()
            ours.wait_stream(other)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """See Recorder."""
        with torch.cuda.device(self._device):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
        return graph.replay


def recorder_of(device: torch.device) -> Recorder | None:
    """What records the steps of a device; None where they are taken as they come."""
    return CudaGraphs(device) if device.type == "cuda" else None


class RecordedStep:
    """The steps of one stack: a few as they are, then replays of one that was recorded.

    Args:
        step: of the stack.
        parameters: of the stack, changed in place like all of these.
        buffers: likewise.
        state: of the optimizer.
        recorder: of the stack's device.
    """

    def __init__(
        self, step: Step, parameters: Named, buffers: Named, state: dict[str, Named], recorder: Recorder
    ) -> None:
        self.parameters = parameters
        self.buffers = buffers
        self.state = state
        self._step = step
        self._recorder = recorder
        self._batch: tuple[Tensor, Tensor, Tensor] | None = (
            None  # inputs, targets, coefficients, where the recorded step finds them
        )
        self._losses = torch.empty(0)
        self._num_warm_ups = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self, inputs: Tensor, targets: Tensor, coefficients: Tensor) -> Tensor:
        """Take one step; see lrbench.training.fused_step. Every batch has the shape of the first.

        Returns:
            losses, shape (num_trials,); every step's are in the same tensor.
        """
        arrived = (inputs, targets, coefficients)
        if self._batch is not None:
            for place, tensor in zip(self._batch, arrived, strict=True):
                place.copy_(tensor, non_blocking=True)
        else:
            self._batch = (inputs.clone(), targets.clone(), coefficients.clone())
            self._losses = torch.empty(coefficients.shape[1], device=inputs.device)
        if self._replay is not None:
            self._replay()
        elif self._num_warm_ups < WARM_UP_STEPS:
            self._recorder.aside(self._work)
            self._num_warm_ups += 1
        else:
            self._replay = self._recorded()
            self._replay()
        return self._losses

    def _recorded(self) -> Callable[[], None]:
        try:
            return self._recorder.record(self._work)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
            warnings.warn(f"the step of this model cannot be recorded and is launched anew: {reason}", stacklevel=2)
            return self._work

    def _work(self) -> None:
        assert self._batch is not None
        losses, buffers = self._step(self.parameters, self.buffers, self.state, *self._batch)
        for name, buffer in buffers.items():
            if buffer is not self.buffers[name]:
                self.buffers[name].copy_(buffer)
        self._losses.copy_(losses)
