"""How much memory stacked trials take, and what running out of it looks like."""

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

# Kernels and the allocator take more than the tensors. Growth of a process's peak from 16 to 48 and from 64 to 256
# trials over the sum of the tensors, MNIST MLP: 1.1 to 1.3 with SGD, 1.15 with AdamW.
_OVERHEAD = 1.3


def bytes_per_trial(model: nn.Module, optimizer: Optimizer, inputs: Tensor) -> int:
    """Estimate by how much one more trial raises the peak memory of the fused learner.

    1.3 times the sum of weights, their gradients, the optimizer's state, and twice (for the gradients with respect to
    it) what autograd keeps of a forward pass of this batch. Evaluations take less.

    Args:
        model: in training mode; its buffers, and the random state, are left as they are.
        optimizer: over its parameters.
        inputs: a training batch on the model's device.
    """
    weights = {id(p): p.numel() * p.element_size() for p in model.parameters()}
    # Gradients, and per weight one tensor of momentum or two of moments.
    copies = 4 if isinstance(optimizer, Adam) else 3
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    known = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers(), inputs]}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = torch.func.functional_call(model, state, (inputs,))
    del outputs
    return round(_OVERHEAD * (copies * sum(weights.values()) + 2 * buffers + 2 * sum(kept.values())))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch's CPU allocator says so with a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
