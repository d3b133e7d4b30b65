"""The random generators that a model may draw from: torch's, and the global ones of numpy and Python."""

# ruff: noqa: NPY002  # the global generator is what models use

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed all of them: initial weights, dropout and masks then depend on nothing else.

    Args:
        seed: 63 bits, as `derived_seed` gives.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # it takes no more
    random.seed(seed)


def host_states() -> dict[str, Any]:
    """The states of Python's and numpy's generators."""
    return {"python": random.getstate(), "numpy": np.random.get_state()}


def have_drawn(before: dict[str, Any]) -> bool:
    """Whether Python's or numpy's generator has moved since `host_states` gave `before`."""
    _, words, *rest = before["numpy"]
    _, words_now, *rest_now = np.random.get_state()
    return random.getstate() != before["python"] or rest != rest_now or not np.array_equal(words, words_now)


def load_host_states(states: dict[str, Any]) -> None:
    """Go back to what `host_states` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])


def generator_states(device: torch.device) -> dict[str, Any]:
    """The states of all generators, that of the device included, for a checkpoint."""
    return {
        "random_state": torch.get_rng_state(),
        "cuda_random_state": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "host_random_states": host_states(),
    }


def load_generator_states(state: dict[str, Any], device: torch.device) -> None:
    """Restore what `generator_states` returned."""
    torch.set_rng_state(state["random_state"])
    if state["cuda_random_state"] is not None:
        torch.cuda.set_rng_state(state["cuda_random_state"], device)
    load_host_states(state["host_random_states"])


def random_state(device: torch.device, others: dict[str, Any] | None = None) -> Callable[[], None]:
    """Remember the random state of torch, on the CPU and on the device; the result goes back to it.

    Args:
        device: of the model.
        others: states of `host_states` to go back to as well.
    """
    host = torch.get_rng_state()
    accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind() -> None:
        torch.set_rng_state(host)
        if accelerator is not None:
            torch.cuda.set_rng_state(accelerator, device)
        if others is not None:
            load_host_states(others)

    return rewind
