"""Every workload composes and trains: on small files of the same form, and a few on the real ones."""

import gzip
import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import REPO
from PIL import Image

from lrbench.analysis.declare import declare
from lrbench.cli import main
from lrbench.runs.assemble import trial_of, workload_of
from lrbench.runs.compose import compose_plans
from lrbench.runs.loading import load_data
from lrbench.spec import Task
from lrbench.tracking.read_records import read_records
from lrbench.trials import build_training

WORKLOADS = sorted(path.stem for path in (REPO / "conf" / "workload").glob("*.yaml"))
DOWNLOADED = {"cifar10_resnet20", "mnist_mlp", "mnist_lenet"}  # their files must be the original ones


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    """A folder like that of the real data, with little in it."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)

    def write(name, content):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())

    words = ["".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), random.integers(9, 30))) for _ in range(120)]
    write("tinyshakespeare/input.txt", " ".join(words * 8))
    write("surnames/surnames.csv.gz", "name,percent\n" + "".join(f"{word.lower()},0.1\n" for word in words))
    write("peptides/peptides.csv", "sequence,antimicrobial\n" + "".join(f"{w},{i % 2}\n" for i, w in enumerate(words)))
    rows = random.integers(0, 50, (100, 10))
    lines = "".join(",".join(map(str, [*row[:9], row[9] % 2])) + "\n" for row in rows)
    write("shuttle/shuttle.csv.gz", "f1,f2,f3,f4,f5,f6,f7,f8,f9,anomaly\n" + lines)
    lines = "".join(",".join(map(str, row)) + "\n" for row in rows)
    write("randhie/randhie.csv", "mdvis,lncoins,idp,lpi,fmde,physlm,disea,hlthg,hlthf,hlthp\n" + lines)
    facts = "".join(f"p{a}\tr{(a * b) % 25}\tp{b}\n" for a in range(10) for b in range(10))
    for part in ("train", "valid", "test"):
        write(f"kinships/{part}.tsv", facts)
    with zipfile.ZipFile(root / "cifar10-jpeg.zip", "w") as archive:
        for index in range(60):
            picture = BytesIO()
            Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(picture, "jpeg")
            part = "train" if index < 40 else "test"
            archive.writestr(f"{part}/{'cat' if index % 2 else 'dog'}/{index}.jpg", picture.getvalue())
    return root


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name not in DOWNLOADED])
def test_every_workload_takes_two_steps(name, small_data, tmp_path, capsys):
    short = ["budget.epochs=null", "budget.steps=2", "budget.eval_every=1", "training.batch_size=8", "device=cpu"]
    where = [f"data_dir={small_data}", f"results_dir={tmp_path}", f"cache_dir={tmp_path}", "tracking=none"]
    code = main([f"workload={name}", *short, *where])
    assert code == 0, capsys.readouterr().err


# What the loss must fall to, as a share of that of the best constant prediction, and after how many steps.
LEARNED = {
    "shakespeare_gpt": (60, 0.95),
    "peptides_cnn": (200, 0.9),
    "kinships_distmult": (200, 0.8),
    "surnames_mlp": (300, 0.95),
    "shuttle_mlp": (100, 0.5),
    "randhie_mlp": (200, 0.97),
    "digits_vit": (100, 0.95),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_a_workload_beats_the_best_constant(name, shared_data, tmp_path):
    steps, share = LEARNED[name]
    words = [f"workload={name}", f"data_dir={shared_data}", f"budget.steps={steps}", "budget.eval_every=1"]
    (plan,) = compose_plans([*words, "tracking=none", "device=cpu", f"cache_dir={tmp_path}"])
    workload = workload_of(plan, load_data(plan), torch.device("cpu"))
    training = build_training(workload, [trial_of(plan)], seed=0, read_test=False)
    *_, last = [e for progress in training for e in progress.evaluations.values()]
    assert last.metrics["val/loss"] < share * constant_loss(workload)


def constant_loss(workload):
    """Of the shares of the classes in train, or the mean."""
    train, validation = workload.data.train.targets, workload.data.validation.targets
    if workload.task is Task.REGRESSION:
        return 0.5 * (validation - train.mean(dim=0)).square().sum(dim=1).mean().item()
    counts = torch.bincount(train.flatten(), minlength=workload.num_outputs) + 1e-9
    return -(counts / counts.sum()).log()[validation.flatten()].mean().item()


def test_runs_are_judged_by_the_endpoint_of_their_workload(small_data, tmp_path, capsys):
    words = ["workload=randhie_mlp", "budget.steps=4", "budget.eval_every=0.5", "training.batch_size=8", "device=cpu"]
    where = [f"data_dir={small_data}", f"results_dir={tmp_path}", f"cache_dir={tmp_path}", "tracking=none"]
    rmse, r2 = (compose_plans([*words, *where, *more])[0] for more in ([], ["endpoint=val/r2"]))
    assert (rmse.endpoint, rmse.direction, r2.direction) == ("val/rmse", "minimize", "maximize")
    assert rmse.workload != r2.workload  # a study of one is not continued by the other
    assert main([*words, *where]) == 0
    frame = read_records(sorted((tmp_path / "runs").iterdir()))
    assert f"best/val/rmse\t{float(frame['val/rmse'].min())!r}" in capsys.readouterr().out
    settings = declare(frame)
    assert (settings.metric, settings.direction) == ("val/rmse", "minimize")
    assert main([*words, *where, "endpoint=val/accuracy"]) != 0
    assert "endpoint must be one of val/loss, val/rmse, val/r2, which task=regression has" in capsys.readouterr().err
