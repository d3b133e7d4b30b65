"""Other libraries' trainers train at our rates and give their evaluations back under our names."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("frameworks")]
STEPS = 20


def falling(step):
    return 0.1 * (1 - step / STEPS)


def test_lightning():
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    from lrbench.integrations.lightning import Rates

    used = []

    class Regression(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(4, 1)

        def training_step(self, batch, _):
            used.append(self.optimizers().param_groups[0]["lr"])
            return nn.functional.mse_loss(self.model(batch[0]), batch[1])

        def validation_step(self, batch, _):
            self.log("loss_of_mine", nn.functional.mse_loss(self.model(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=123.0)

    torch.manual_seed(0)
    inputs = torch.randn(64, 4)
    batches = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=16)
    rates = Rates(falling, metrics={"loss_of_mine": "val/loss", "not_logged": "val/f1"})
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", val_check_interval=4, num_sanity_val_steps=-1, callbacks=[rates], **quiet
    )
    trainer.fit(Regression(), batches, batches)
    assert used == pytest.approx([falling(step) for step in range(STEPS)])
    assert [step for step, _ in rates.evaluations] == [0, 4, 8, 12, 16, 20]
    losses = [metrics["val/loss"] for _, metrics in rates.evaluations]
    assert losses[-1] < losses[0] / 2


def test_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from lrbench.integrations.transformers import Rates

    used = []

    class Tokens(Dataset):
        def __len__(self):
            return 32

        def __getitem__(self, index):
            return {"x": torch.full((4,), index / 32), "labels": torch.tensor([index / 8])}

    class Regression(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(4, 1)

        def forward(self, x, labels):
            if self.training:
                used.append(optimizer.param_groups[0]["lr"])
            outputs = self.model(x)
            return {"loss": nn.functional.mse_loss(outputs, labels), "logits": outputs}

    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=123.0)
    rates = Rates(falling)
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        max_steps=STEPS,
        per_device_train_batch_size=8,
        eval_strategy="steps",
        eval_steps=5,
        eval_on_start=True,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model, arguments, train_dataset=Tokens(), eval_dataset=Tokens(), callbacks=[rates], optimizers=(optimizer, None)
    )
    trainer.train()
    assert used == pytest.approx([falling(step) for step in range(STEPS)])
    assert [step for step, _ in rates.evaluations] == [0, 5, 10, 15, 20]
    assert set(rates.evaluations[0][1]) == {"val/loss"}
    assert rates.evaluations[-1][1]["val/loss"] < rates.evaluations[0][1]["val/loss"]
