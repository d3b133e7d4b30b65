"""One trial as people write it by hand: the opponent of scripts/bench_sweep.py, and nothing else.

`python scripts/tutorial_trial.py {digits,mnist} EPOCHS LR SEED --uri sqlite:///... [--root DIR] [--log {step,epoch}]`

A torch Dataset of PIL images, transforms, a shuffling DataLoader, an MLP, SGD with momentum under a cosine schedule,
and MLflow's fluent functions. `--log step` calls `mlflow.log_metric` after every step, `epoch` after every epoch. It
uses nothing of lrbench. Prints the seconds that a step took, so that a longer run can be scaled from a short one.
"""

import argparse
import time

import mlflow
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import datasets, transforms

SPLIT = {"digits": (1_150, 287), "mnist": (54_000, 6_000)}  # examples to train and to validate on, as lrbench's


class Digits(Dataset):
    """scikit-learn's digits the way torchvision serves its data sets: a PIL image at a time."""

    def __init__(self, transform):
        self.bunch, self.transform = load_digits(), transform

    def __len__(self):
        return len(self.bunch.target)

    def __getitem__(self, index):
        image = Image.fromarray((self.bunch.images[index] * 15).astype(np.uint8))
        return self.transform(image), int(self.bunch.target[index])


def main():
    """Train once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", choices=["digits", "mnist"])
    parser.add_argument("epochs", type=int)
    parser.add_argument("lr", type=float)
    parser.add_argument("seed", type=int)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--root")
    parser.add_argument("--log", choices=["step", "epoch"], default="step")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 128])
    parser.add_argument("--most-steps", type=int, help="stop early, to measure a part")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.3,), (0.35,))])
    if arguments.dataset == "digits":
        whole, pixels = Digits(transform), 64
    else:
        whole, pixels = datasets.MNIST(arguments.root, train=True, transform=transform), 784
    num_train, num_validation = SPLIT[arguments.dataset]
    train, validation, _ = random_split(whole, [num_train, num_validation, len(whole) - num_train - num_validation])
    batches = DataLoader(train, batch_size=64, shuffle=True, drop_last=True)
    held_out = DataLoader(validation, batch_size=500)
    layers, width = [nn.Flatten()], pixels
    for size in arguments.hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr, momentum=0.9)
    total = arguments.epochs * len(batches)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    mlflow.set_tracking_uri(arguments.uri)
    mlflow.set_experiment("tutorial")
    step, began, evaluating = 0, time.perf_counter(), 0.0
    with mlflow.start_run():
        mlflow.log_params({"lr": arguments.lr, "seed": arguments.seed})
        for _ in range(arguments.epochs):
            model.train()
            for inputs, targets in batches:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), targets)
                loss.backward()
                optimizer.step()
                scheduler.step()
                step += 1
                if arguments.log == "step":
                    mlflow.log_metric("train/loss", loss.item(), step=step)
                    mlflow.log_metric("lr", scheduler.get_last_lr()[0], step=step)
                if arguments.most_steps and step >= arguments.most_steps:
                    break
            paused = time.perf_counter()
            accuracy(model, held_out, step)
            evaluating += time.perf_counter() - paused
            if arguments.most_steps and step >= arguments.most_steps:
                break
    print(f"step_seconds\t{(time.perf_counter() - began - evaluating) / step}")
    print(f"epoch_seconds\t{evaluating / max(1, round(step / len(batches)))}")
    print(f"steps\t{total}")


def accuracy(model, held_out, step):
    """Evaluate and log."""
    model.eval()
    with torch.no_grad():
        right = sum((model(inputs).argmax(1) == targets).sum().item() for inputs, targets in held_out)
    mlflow.log_metric("val/accuracy", right / len(held_out.dataset), step=step)


if __name__ == "__main__":
    main()
