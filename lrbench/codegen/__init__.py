"""Taking a schedule home: as a snippet of plain PyTorch, transformers or optax."""

from lrbench.codegen.equivalents import optax_snippet, transformers_snippet
from lrbench.codegen.pytorch import torch_snippet

__all__ = ["optax_snippet", "torch_snippet", "transformers_snippet"]
