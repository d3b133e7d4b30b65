r"""A schedule of lrbench in Hugging Face's Trainer, and its curves back in lrbench.

In this folder:

    lrbench export scheduler=wsd warmup=linear optimizer=adamw optimizer.lr=0.001 budget=steps budget.steps=100 \
        > schedule.py
    python transformers_finetune.py
    lrbench import huggingface finetuned/trainer_state.json scheduler=wsd

Needs `pip install transformers accelerate`. The model is a tiny BERT with random weights, so that nothing is
downloaded; put `AutoModelForSequenceClassification.from_pretrained(...)` and your own data in its place.
"""

import torch
from schedule import make_scheduler  # what `lrbench export` printed
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

STEPS = 100


class FirstToken(Dataset):
    """Sequences of random tokens; the label tells whether the first is in the upper half of the vocabulary."""

    def __init__(self, seed):
        self.tokens = torch.randint(100, (512, 8), generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": int(self.tokens[index, 0] >= 50)}


if __name__ == "__main__":
    set_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=2
    )
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.01)
    arguments = TrainingArguments(
        "finetuned",
        max_steps=STEPS,  # the budget that the schedule was exported for
        per_device_train_batch_size=32,
        eval_strategy="steps",
        eval_steps=10,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    # The optimizer and its scheduler together: the Trainer steps the latter once an update, as it must be.
    trainer = Trainer(
        model,
        arguments,
        train_dataset=FirstToken(0),
        eval_dataset=FirstToken(1),
        optimizers=(optimizer, make_scheduler(optimizer)),
    )
    trainer.train()
    trainer.save_state()
