"""One training as others do it, for scripts/bench.py: the loop of the tutorials, and Lightning."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import datasets, transforms

from lrbench.data import Split

EVAL_SIZE = 250  # examples of an evaluation batch, as lrbench's


def by_tutorial(
    root: Path, make_model: Callable[[], nn.Module], *, num_evaluated: int, batch_size: int, steps: int
) -> None:
    """Train with a torchvision dataset of PIL images, transforms and a DataLoader, as the tutorials do."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    whole = datasets.MNIST(root, transform=transform)
    batches = DataLoader(whole, batch_size, shuffle=True, drop_last=True)
    held_out = DataLoader(Subset(whole, range(num_evaluated)), EVAL_SIZE)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    model.train()
    for step, (inputs, targets) in enumerate(batches, start=1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 100 == 0:
            loss.item()
        if step == steps:
            break
    model.eval()
    with torch.no_grad():
        sum(int((model(inputs).argmax(1) == targets).sum()) for inputs, targets in held_out)


class Module(lightning.LightningModule):
    """A model with the same optimizer and schedule."""

    def __init__(self, model: nn.Module, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Loss, logged as usual."""
        inputs, targets = batch
        loss = F.cross_entropy(self.model(inputs), targets)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Accuracy, logged as usual."""
        inputs, targets = batch
        self.log("val/accuracy", (self.model(inputs).argmax(1) == targets).float().mean())

    def configure_optimizers(self) -> dict[str, object]:
        """SGD under a cosine, stepped once a step."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def by_lightning(
    folder: Path, train: Split, validation: Split, make_model: Callable[[], nn.Module], *, batch_size: int, steps: int
) -> None:
    """Train with Lightning's default logger, checkpoint and bar, on tensors in memory."""
    for name in ("lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = DataLoader(TensorDataset(train.inputs, train.targets), batch_size, shuffle=True, drop_last=True)
        held_out = DataLoader(TensorDataset(validation.inputs, validation.targets), EVAL_SIZE)
        trainer = lightning.Trainer(
            max_steps=steps, val_check_interval=steps, accelerator="cpu", default_root_dir=folder
        )
        trainer.fit(Module(make_model(), steps), batches, held_out)
