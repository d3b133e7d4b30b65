"""A schedule of lrbench in Lightning, and its curves back in lrbench.

In this folder:

    lrbench export scheduler=wsd warmup=linear optimizer.lr=0.1 budget=steps budget.steps=200 > schedule.py
    python lightning_module.py
    lrbench import lightning logs/version_0/metrics.csv column.val/loss=val_loss column.lr=lr-SGD scheduler=wsd

Needs `pip install lightning`.
"""

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from schedule import make_scheduler  # what `lrbench export` printed
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

STEPS = 200


class Classifier(lightning.LightningModule):
    """A linear classifier; what matters is `configure_optimizers`."""

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(20, 5)

    def training_step(self, batch, _):
        """Return the loss of a batch."""
        inputs, targets = batch
        return cross_entropy(self.model(inputs), targets)

    def validation_step(self, batch, _):
        """Log the loss under the name that `lrbench import` is told."""
        inputs, targets = batch
        self.log("val_loss", cross_entropy(self.model(inputs), targets))

    def configure_optimizers(self):
        """Step the schedule once an update. Lightning's default is once an epoch, which is far too slow."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make_scheduler(optimizer), "interval": "step"}}


if __name__ == "__main__":
    lightning.seed_everything(0)
    inputs = torch.randn(960, 20)
    data = TensorDataset(inputs, (inputs @ torch.randn(20, 5)).argmax(1))  # 5 classes that a linear model can tell
    train, validation = DataLoader(data, batch_size=32, shuffle=True), DataLoader(data, batch_size=500)
    trainer = lightning.Trainer(
        max_steps=STEPS,  # the budget that the schedule was exported for
        accelerator="cpu",
        logger=CSVLogger("logs", name=None),
        log_every_n_steps=1,
        val_check_interval=10,  # updates; an epoch has 30
        callbacks=[LearningRateMonitor("step")],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Classifier(), train, validation)
