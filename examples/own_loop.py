"""Compare schedules in a training loop of your own: here scikit-learn's digits and a small network in plain PyTorch.

    python own_loop.py
    lrbench recommend

lrbench tunes every schedule alike, trains its best point on fresh seeds, in worker processes, and reports. The same
command again trains nothing twice.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import lrbench


def train(lr, total_steps, seed):
    """Yield (updates completed, metrics) ten times on the way through the budget."""
    torch.manual_seed(seed)  # the same initial weights and batches for every schedule
    pixels, digits = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr(0), momentum=0.9)

    def evaluate():
        with torch.no_grad():
            outputs = model(inputs[1400:])
        loss = cross_entropy(outputs, targets[1400:])
        hits = outputs.argmax(1) == targets[1400:]
        return {"val/loss": loss.item(), "val/accuracy": hits.float().mean().item()}

    yield 0, evaluate()
    for step in range(total_steps):
        for group in optimizer.param_groups:
            group["lr"] = lr(step)
        batch = torch.randint(1400, (64,))
        loss = cross_entropy(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % (total_steps // 10) == 0:
            yield step + 1, evaluate()


if __name__ == "__main__":
    schedules = ["constant", "linear", "cosine"]
    study = lrbench.compare(train, schedules=schedules, total_steps=300, metric="val/accuracy", tune=4, seeds=3)
    report = lrbench.report(study)
    print(*report.verdict.lines, sep="\n")
    print(report.save("own_loop_report")[0])
