"""Formats of others: samples as their programs write them, and 235 published trainings."""

import base64
import json
import math
import struct
from functools import partial

import numpy as np
import pandas as pd
import pytest

from lrbench.analysis.audit.audit import audit
from lrbench.analysis.statistics.curves import censoring_step, curves_of, final_value, time_to_target
from lrbench.analysis.statistics.states import last_rows
from lrbench.cli import main
from lrbench.results.event_files import _checksum, read_scalars
from lrbench.results.files import read_file
from lrbench.results.formats import evaluations_of, formats, matches, read_format
from lrbench.results.schema import frame_from_rows
from lrbench.tracking.read import read_runs

pytestmark = pytest.mark.filterwarnings("ignore:.*not in the file, so assumed")

# Ten updates in two epochs, `log_every_n_steps=2`; written by lightning 2.6.6 (see the slow test below).
LIGHTNING = """epoch,lr-SGD,step,train_loss,val_loss
,0.09,1,,
0,,1,0.4,
,0.07,3,,
0,,3,0.2,
0,,4,,0.33
,0.05,5,,
1,,5,0.1,
,0.03,7,,
1,,7,0.2,
,0.01,9,,
1,,9,0.3,
1,,9,,0.14
"""
LIGHTNING_COLUMNS = {"val/loss": "val_loss", "train/loss": "train_loss", "lr": "lr-SGD"}


def test_lightning_counts_from_zero_and_logs_each_metric_on_a_line_of_its_own(tmp_path):
    for name in ("cosine", "step"):
        (tmp_path / name / "seed3").mkdir(parents=True)
        (tmp_path / name / "seed3" / "metrics.csv").write_text(LIGHTNING)
    pattern = f"{tmp_path}/{{scheduler}}/seed{{seed}}/metrics.csv"
    frame = read_format("lightning", [pattern], columns=LIGHTNING_COLUMNS, constants={"optimizer.lr": "0.1"})
    cosine = frame[frame["scheduler"] == "cosine"]
    assert len(frame) == 2 * len(cosine)
    assert cosine["step"].tolist() == [5, 10]
    assert cosine["val/loss"].tolist() == [0.33, 0.14]
    np.testing.assert_allclose(cosine["train/loss"].to_numpy(dtype=float), [0.3, 0.2])
    assert cosine["lr"].isna().tolist() == [True, False]  # the rate of update 5 was not logged
    assert set(cosine["seed"]) == {3}
    assert set(cosine["optimizer.lr"]) == {0.1}
    assert set(cosine["state"]) == {"ok"}


def test_a_lightning_folder_is_read_as_it_is(tmp_path):
    for number, schedule in enumerate(("cosine", "step")):
        folder = tmp_path / "lightning_logs" / f"version_{number}"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "metrics.csv").write_text(LIGHTNING)
        (folder / "hparams.yaml").write_text(f"schedule: {schedule}\nlr: 0.1\nnet: !!python/object:my.Net {{}}\n")
    columns = {**LIGHTNING_COLUMNS, "scheduler": "hparams.schedule", "optimizer.lr": "hparams.lr"}
    frame = read_format("lightning", [f"{tmp_path}/lightning_logs/*"], columns=columns, constants={})
    assert frame["scheduler"].tolist() == ["cosine", "cosine", "step", "step"]
    assert frame["step"].tolist() == [5, 10, 5, 10]
    assert set(frame["optimizer.lr"]) == {0.1}
    with pytest.raises(
        ValueError, match=r"no metrics.csv and no event files .*version_0, .*: write .*lightning_logs/\*"
    ):
        read_format("lightning", [f"{tmp_path}/lightning_logs"], columns={}, constants={})


@pytest.mark.slow
def test_lightning_itself_writes_what_the_parser_reads(tmp_path):
    lightning = pytest.importorskip("lightning")
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, index):
            loss = self.layer(batch[0]).square().mean()
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch, index):
            self.log("val_loss", self.layer(batch[0]).square().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = lightning.Trainer(
        max_epochs=2, logger=lightning.pytorch.loggers.CSVLogger(tmp_path), log_every_n_steps=2, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    data = DataLoader(TensorDataset(torch.ones(20, 2)), batch_size=4)
    trainer.fit(Module(), data, data)
    source = f"{tmp_path}/lightning_logs/{{run_name}}/metrics.csv"
    columns = {"val/loss": "val_loss", "train/loss": "train_loss"}
    frame = read_format("lightning", [source], columns=columns, constants={"scheduler": "constant"})
    assert frame["step"].tolist() == [5, 10]
    assert trainer.global_step == 10
    assert frame["val/loss"].iloc[-1] == pytest.approx(trainer.callback_metrics["val_loss"].item())


def trainer_state(log, max_steps=20):
    return json.dumps({"log_history": log, "max_steps": max_steps, "global_step": max_steps, "eval_steps": 10})


HUGGING_FACE = [
    {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 0.0005, "loss": 2.5, "step": 5},
    {"epoch": 1.0, "grad_norm": 1.1, "learning_rate": 0.0004, "loss": 1.5, "step": 10},
    {"epoch": 1.0, "eval_accuracy": 0.5, "eval_f1": 0.4, "eval_loss": 1.7, "eval_runtime": 9.0, "step": 10,
     "eval_samples_per_second": 3.0, "eval_steps_per_second": 1.0},
    {"epoch": 2.0, "learning_rate": 0.0, "loss": 1.0, "step": 20},
    {"epoch": 2.0, "eval_accuracy": 0.6, "eval_f1": 0.5, "eval_loss": math.nan, "eval_runtime": 9.0, "step": 20},
    {"epoch": 2.0, "step": 20, "total_flos": 1e9, "train_loss": 1.2, "train_runtime": 60.0},
]  # fmt: skip


def test_hugging_face_logs_become_evaluations_with_the_planned_budget(tmp_path):
    (tmp_path / "trainer_state.json").write_text(trainer_state(HUGGING_FACE, max_steps=40))
    source = [str(tmp_path / "trainer_state.json")]
    frame = read_format("huggingface", source, columns={}, constants={"scheduler": "linear", "seed": "42"})
    assert frame["step"].tolist() == [10, 20]
    assert frame["train/loss"].tolist() == [2.0, 1.0]
    assert frame["val/loss"].iloc[0] == 1.7
    assert frame["val/f1"].tolist() == [0.4, 0.5]
    assert frame["lr"].tolist() == [0.0004, 0.0]
    assert set(frame["budget"]) == {40}
    assert set(frame["state"]) == {"diverged"}  # eval_loss ended in NaN
    assert not {"val/runtime", "total_flos", "epoch"} & set(frame.columns)


@pytest.mark.parametrize("num_evaluations", [0, 1])
def test_an_evaluation_after_the_training_does_not_contradict_it(tmp_path, num_evaluations):
    """With load_best_model_at_end it is one of other weights than those of the last step."""
    lines = HUGGING_FACE[: 3 if num_evaluations else 2]
    best = {"epoch": 1.0, "eval_loss": 1.25, "eval_runtime": 9.0, "step": 10}
    log = [*lines, {"step": 10, "train_loss": 1.2, "train_runtime": 60.0}, best, {"test_loss": 1.3, "step": 10}]
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text(trainer_state(log, max_steps=10))
    frame = read_format("huggingface", [str(tmp_path / "*")], columns={}, constants={"scheduler": "linear"})
    assert frame["step"].tolist()[-1] == 10
    assert frame["val/loss"].tolist()[-1] == (1.7 if num_evaluations else 1.25)
    assert frame["test/loss"].tolist()[-1] == 1.3


@pytest.mark.slow
def test_hugging_face_itself_writes_what_the_parser_reads(tmp_path):
    callback = pytest.importorskip("transformers.trainer_callback")
    state = callback.TrainerState(max_steps=20, global_step=20, log_history=HUGGING_FACE[:4])
    state.save_to_json(str(tmp_path / "trainer_state.json"))
    source = [str(tmp_path / "trainer_state.json")]
    frame = read_format("huggingface", source, columns={}, constants={"scheduler": "linear"})
    assert frame["val/loss"].tolist()[0] == 1.7
    assert frame["state"].tolist() == ["ok", "ok"]


def test_tensorboard_scalars_of_one_run_are_joined_by_step(tmp_path):
    lines = {"val_loss": (0.693147, 0.25), "val_accuracy": (0.5, 0.875)}
    for tag, values in lines.items():
        rows = [f"{1698314503.5 + i},{10 * i},{value}" for i, value in enumerate(values)]
        (tmp_path / f"run-cosine-tag-{tag}.csv").write_text("\n".join(["Wall time,Step,Value", *rows]) + "\n")
    pattern = f"{tmp_path}/run-{{scheduler}}-tag-*.csv"
    frame = read_format("tensorboard", [pattern], columns={"val/loss": "val_loss", "val/accuracy": "val_accuracy"},
                        constants={})  # fmt: skip
    assert frame["step"].tolist() == [0, 10]
    assert frame["val/loss"].tolist() == [0.693147, 0.25]
    assert frame["val/accuracy"].tolist() == [0.5, 0.875]


# Written by tensorboard 2.21 through torch.utils.tensorboard: val/loss 1.5 and 0.5 and (as tensors) lr 0.1 at the steps
# 0 and 10, a text, and d = NaN at step 2^31 + 5.
EVENTS = base64.b64decode(
    "SAAAAAAAAAD+kkidCVFlS7R6w9pBGg1icmFpbi5FdmVudDoyUi4KLHRlbnNvcmJvYXJkLnN1bW1hcnkud3JpdGVyLmV2ZW50X2ZpbGVfd3JpdGVyLCwI"
    "khwAAAAAAAAAyMGVHQnIbUu0esPaQSoRCg8KCHZhbC9sb3NzFQAAwD/aziemKAAAAAAAAAD/cBZKCWVuS7R6w9pBKh0KGwoCbHJCCAgBKgTNzMw9SgsK"
    "CQoHc2NhbGFyc69aLt0eAAAAAAAAANncEjIJkm5LtHrD2kEQCioRCg8KCHZhbC9sb3NzFQAAAD8e4DBWKgAAAAAAAACujZH1CdRuS7R6w9pBEAoqHQob"
    "CgJsckIICAEqBM3MzD1KCwoJCgdzY2FsYXJzVcRgHDgAAAAAAAAAo3l9Vwlpb0u0esPaQSotCisKEW5vdGUvdGV4dF9zdW1tYXJ5QgwIBxIEEgIIAUIC"
    "aGlKCAoGCgR0ZXh09yn7chsAAAAAAAAAGg2eEwmfb0u0esPaQRCFgICACCoKCggKAWQVAADAf1HE/L4="
)


def write_events(path, *points):
    """Scalars (tag, step, value) as TensorBoard writes them; steps and lengths below 128."""
    content = b""
    for tag, step, value in points:
        inner = b"\n" + bytes([len(tag)]) + tag.encode() + b"\x15" + struct.pack("<f", value)
        data = b"\x10" + bytes([step]) + b"\x2a" + bytes([len(inner) + 2]) + b"\n" + bytes([len(inner)]) + inner
        length = struct.pack("<Q", len(data))
        content += length + struct.pack("<I", _checksum(length)) + data + struct.pack("<I", _checksum(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_event_files_of_tensorboard_are_read_as_it_wrote_them(tmp_path):
    path = tmp_path / "events.out.tfevents.1.vm.1.0"
    path.write_bytes(EVENTS)
    lr = float(np.float32(0.1))
    curves = read_scalars([path])
    assert math.isnan(curves.pop("d")[2**31 + 5])
    assert curves == {"val/loss": {0: 1.5, 10: 0.5}, "lr": {0: lr, 10: lr}}
    path.write_bytes(EVENTS[:-3])
    with pytest.warns(UserWarning, match="ends in the middle of a record"):
        assert "d" not in read_scalars([path])
    path.write_bytes(EVENTS.replace(b"\x00\x00\xc0\x3f", b"\x00\x00\xc0\x3e"))
    with pytest.raises(ValueError, match="is damaged: wrong checksum of the record at byte 88"):
        read_scalars([path])


def test_several_event_files_of_a_folder_are_one_run(tmp_path):
    run = tmp_path / "cosine-s3"
    write_events(
        run / "events.out.tfevents.10.vm.1", *[("val/loss", s, 3.0 - s) for s in (0, 1, 2)], ("hp_metric", 0, -1)
    )
    write_events(run / "events.out.tfevents.20.vm.1", ("val/loss", 2, 0.5), ("val/loss", 3, 0.25), ("hp_metric", 0, -1))
    write_events(run / "events.out.tfevents.30.vm.1", ("test/loss", 3, 0.75))
    with pytest.warns(UserWarning, match=r"1 values of 'val/loss' from step 2 on give way .*where the run was resumed"):
        frame = read_format("tensorboard", [f"{tmp_path}/{{scheduler}}-s{{seed}}"], columns={}, constants={})
    assert frame["step"].tolist() == [0, 1, 2, 3]
    assert frame["val/loss"].tolist() == [3.0, 2.0, 0.5, 0.25]
    assert frame["test/loss"].tolist()[-1] == 0.75
    write_events(run / "events.out.tfevents.40.vm.1", ("val/loss", 0, 5.0))
    with (
        pytest.warns(UserWarning, match="resumed"),
        pytest.raises(ValueError, match="holds two runs: its event files both begin at step 0 of 'val/loss'"),
    ):
        read_format("tensorboard", [str(run)], columns={}, constants={"scheduler": "cosine"})
    with pytest.raises(
        ValueError, match=r"holds no event files of TensorBoard; there are some in .*write .*/{scheduler}"
    ):
        read_format("tensorboard", [str(tmp_path)], columns={}, constants={"scheduler": "cosine"})


def test_a_chart_of_wandb_holds_one_metric_of_several_runs(tmp_path):
    head = '"Step","{0} - val_loss","{0} - val_loss__MIN","{0} - val_loss__MAX"'
    lines = [head.format("cosine-1") + head.format("step-1").removeprefix('"Step"')]
    lines += [
        '"0","2.5","2.5","2.5","2.25","2.25","2.25"',
        '"50","","","","1","1","1"',
        '"100","0.5","0.5","0.5","","",""',
    ]
    (tmp_path / "chart.csv").write_text("\n".join(lines) + "\n")
    columns = {"val/loss": "val_loss", "scheduler": "run_name"}
    frame = read_format("wandb", [str(tmp_path / "chart.csv")], columns=columns, constants={})
    assert frame[["run_id", "scheduler", "step", "val/loss"]].to_numpy().tolist() == [
        ["cosine-1", "cosine-1", 0, 2.5],
        ["cosine-1", "cosine-1", 100, 0.5],
        ["step-1", "step-1", 0, 2.25],
        ["step-1", "step-1", 50, 1.0],
    ]
    (tmp_path / "chart.csv").write_text("\n".join([*lines[:3], '"100","0.5","0.25","0.75","","",""']))
    with pytest.raises(
        ValueError, match=r"row 4 of 'cosine-1 - val_loss' is 0.5, its __MIN 0.25: an average over steps or"
    ):
        read_format("wandb", [str(tmp_path / "chart.csv")], columns=columns, constants={})


@pytest.mark.parametrize(("last", "state"), [("nan", "diverged"), ("0.5", "ok")])
def test_nan_that_fills_the_rows_of_other_metrics_is_no_divergence(tmp_path, last, state):
    rows = ["_step,counter,loss,lr,valid", "0,10,2.0,0.1,nan", "1,10,nan,nan,1.5"]
    rows += ["3,20,1.0,0.1,nan", f"4,20,nan,nan,{last}"]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    columns = {"train/loss": "loss", "val/loss": "valid", "lr": "lr", "step": "counter"}
    frame = read_format("wandb", [str(tmp_path / "history.csv")], columns=columns, constants={"scheduler": "c"})
    assert frame["step"].tolist() == [10, 20]
    assert frame["val/loss"].tolist()[0] == 1.5
    assert frame["train/loss"].tolist() == [2.0, 1.0]
    assert set(frame["state"]) == {state}


def test_lines_without_a_step_and_without_a_metric_are_left_out(tmp_path):
    text = "_step,counter,loss,valid,gpu\n0,10,2.0,1.5,\n1,,,,0.9\n2,20,1.0,0.5,\n"
    (tmp_path / "history.csv").write_text(text)
    columns = {"train/loss": "loss", "val/loss": "valid", "step": "counter"}
    read = partial(read_format, "wandb", [str(tmp_path / "history.csv")], columns=columns, constants={"scheduler": "c"})
    assert read()["val/loss"].tolist() == [1.5, 0.5]
    (tmp_path / "history.csv").write_text(text.replace("1,,,,0.9", "1,,,9,0.9"))
    with pytest.raises(ValueError, match=r"history.csv: step .*must not be empty; .* first in row 3"):
        read()


def test_wandb_history_has_a_line_a_call(tmp_path):
    text = ",_step,_runtime,_timestamp,loss,valid/acc\n0,0,1.5,1700000000.1,2.0,\n1,50,9.5,1700000008.1,1.0,0.5\n"
    text += "2,75,12.0,1700000010.6,0.5,\n3,100,14.0,1700000012.6,0.3,0.75\n"
    (tmp_path / "history.csv").write_text(text)
    frame = read_format("wandb", [str(tmp_path / "history.csv")], constants={"scheduler": "cosine"},
                        columns={"train/loss": "loss", "val/accuracy": "valid/acc"})  # fmt: skip
    assert frame["step"].tolist() == [50, 100]
    assert frame["train/loss"].tolist() == [1.5, 0.4]
    assert frame["val/accuracy"].tolist() == [0.5, 0.75]


def test_what_was_logged_after_the_last_evaluation_stays_visible():
    more = {"workload": "w", "scheduler": "c", "budget": 9, "state": "ok"}
    rows = [{"run_id": r, "step": s, "train/loss": t, "val/loss": v, **more}
            for r, s, t, v in [("a", 1, 3.0, None), ("a", 2, 1.0, 2.0), ("a", 3, math.nan, None), ("b", 1, 4.0, None),
                               ("b", 2, None, 1.0)]]  # fmt: skip
    frame = evaluations_of(frame_from_rows(rows))
    assert frame[["run_id", "step"]].to_numpy().tolist() == [["a", 2], ["a", 3], ["b", 2]]
    np.testing.assert_array_equal(frame["train/loss"].to_numpy(dtype=float, na_value=-1), [2.0, math.nan, 4.0])
    assert frame["val/loss"].isna().tolist() == [False, True, False]


def test_names_in_a_path_become_columns(tmp_path):
    for name in ("cosine-s1/x.csv", "wsd-0.2-s10/x.csv", "other/x.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = {path.parent.name: fields for path, fields in matches(f"{tmp_path}/{{scheduler}}-s{{seed}}/x.csv")}
    assert found == {
        "cosine-s1": {"scheduler": "cosine", "seed": "1"},
        "wsd-0.2-s10": {"scheduler": "wsd-0.2", "seed": "10"},
    }
    with pytest.raises(ValueError, match="no file matches"):
        list(matches(f"{tmp_path}/{{scheduler}}.json"))
    with pytest.raises(ValueError, match="names in braces must be different"):
        list(matches(f"{tmp_path}/{{a}}/{{a}}.csv"))


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("nothing", "x.csv", "a\n1\n", "no format 'nothing'; there are: huggingface, lightning"),
        ("lightning", "x.csv", "a\n1\n", "is not a metrics.csv of Lightning: it has no column step"),
        ("lightning", "x.csv", "step,val_loss\n1,2\n", "no column 'scheduler'"),
        ("wandb", "x.csv", "a\n1\n", "is not a history of W&B"),
        ("tensorboard", "x.csv", "a,b\n1,2\n", "its header must be"),
        ("huggingface", "x.json", "{}", "is not a trainer_state.json"),
        ("huggingface", "x.json", trainer_state([]), "has logged nothing"),
        ("lr_scheduling_icml2025", "x.csv", "", "must hold runs.csv and curves.csv.gz"),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path, name, file, content, message):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_format(name, [str(tmp_path / file)], columns={}, constants={})


def test_every_format_says_what_it_reads():
    assert set(formats()) >= {"tidy", "lightning", "huggingface", "tensorboard", "wandb", "lr_scheduling_icml2025"}
    assert all(len(purpose) > 20 for purpose in formats().values())


def write_results(path):
    rows = [f"{s}{k},{s},{k},100,{t},{v},{0.01 if t else ''},64,hi" for s in ("constant", "step") for k in (0, 1)
            for t, v in ((0, 2.0), (50, 1.0), (100, "nan" if (s, k) == ("step", 1) else 0.5))]  # fmt: skip
    path.write_text(
        "\n".join(["run_id,scheduler,seed,budget,step,val/loss,lr,batch_size,scheduler.note", *rows]) + "\n"
    )


def test_the_command_writes_a_file_that_reads_back_the_same(tmp_path, capsys):
    write_results(tmp_path / "results.csv")
    out = tmp_path / "out.csv.gz"
    assert main(["import", "tidy", str(tmp_path / "results.csv"), "workload=w", f"out={out}"]) == 0
    said = capsys.readouterr()
    printed = dict(line.split("\t") for line in said.out.splitlines())
    assert said.err == ""  # nothing had to be assumed
    assert printed["runs"] == "4"
    assert printed["states"] == "diverged 1, ok 3"
    pd.testing.assert_frame_equal(
        read_file(out), read_format("tidy", [str(tmp_path / "results.csv")], columns={}, constants={"workload": "w"})
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tidy"], "no file to import was named"),
        (["tidy", "absent.csv"], "no file matches absent.csv"),
        (["tidy", "x.csv", "to=disk"], "to must be mlflow"),
        (["tidy", "x.csv", "out=x.xlsx"], "out must end in one of .csv, .csv.gz, .parquet"),
        (["tidy", "x.csv", "colour=red"], "lrbench import does not know 'colour=red'; options are out"),
        (["tidy", "x.csv", "uri=x"], "does not know 'uri=x'; did you mean tracking.uri? options are"),
        (["tidy", "x.csv", "tracking.experimnt=x"], "did you mean tracking.experiment?"),
        (["tidy", "x.csv", "tracking.uri=sqlite:////x.db"], "tracking.uri can only be given with to=mlflow"),
    ],
)
def test_a_wrong_word_is_explained(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["import", *words]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_runs_reach_mlflow_once_and_come_back_the_same(tmp_path, capsys):
    write_results(tmp_path / "results.csv")
    command = ["import", "tidy", str(tmp_path / "results.csv"), "workload=w", "to=mlflow", f"results_dir={tmp_path}"]
    assert main(command) == 0
    assert main(command) == 0
    assert "recorded before\t4" in capsys.readouterr().out
    back = read_runs(f"sqlite:///{tmp_path}/mlflow.db")
    imported = read_format("tidy", [str(tmp_path / "results.csv")], columns={}, constants={"workload": "w"})
    back["run_id"] = back["imported.run_id"]
    back = back.sort_values(["run_id", "step"], ignore_index=True)
    assert back["run_id"].nunique() == 4
    for name in ("run_id", "scheduler", "workload", "seed", "budget", "batch_size", "state", "step", "samples",
                 "val/loss", "lr", "scheduler.note"):  # fmt: skip
        pd.testing.assert_series_equal(back[name], imported[name], check_dtype=False)
    assert set(back["experiment"]) == {"w"}


# 235 real trainings: the README beside them and facts 1 and 2 of docs/metrics.md.


@pytest.fixture(scope="module")
def published(shared_data):
    source = [str(shared_data / "curves" / "lr_scheduling_icml2025")]
    with pytest.warns(UserWarning, match="3618 lines repeat a step of their run; the last written counts"):
        return read_format("lr_scheduling_icml2025", source, columns={}, constants={})


@pytest.fixture(scope="module")
def listed(shared_data):
    return pd.read_csv(shared_data / "curves" / "lr_scheduling_icml2025" / "runs.csv").set_index("run_id")


def finals(published, scheduler, workload):
    rows = last_rows(published[(published["scheduler"] == scheduler) & (published["workload"] == workload)])
    return dict(zip(rows["optimizer.lr"], rows["val/loss"], strict=True))


def test_every_published_run_is_there_once_finished_on_its_one_seed(published, listed):
    runs = last_rows(published)
    assert sorted(runs["run_id"]) == sorted(listed.index)
    assert len(runs) == 235
    assert set(runs["state"]) == {"ok"}
    assert set(runs["seed"]) == {0}
    assert len(last_rows(published)) == 235
    # Evaluated every 200 steps, and in no run later than that before its end.
    assert (runs["budget"] - runs["step"]).max() == 200
    assert not published.groupby("workload")["budget"].nunique().gt(1).any()
    assert not published.duplicated(["workload", "scheduler", "optimizer.lr", "seed", "step"]).any()


def test_of_lines_that_a_resumed_run_wrote_again_the_last_counts(published):
    run = published[published["run_id"].str.startswith("ann124-0.4_") & published["run_id"].str.contains("lr0.0001_")]
    row = run[(run["budget"] == 50_000) & (run["step"] == 35_200)].iloc[0]
    assert row["val/loss"] == 3.128661  # the first line says 3.12863
    assert row["val/accuracy"] == 0.436958  # of the last line that has one


def test_final_values_are_the_published_last_losses(published, listed):
    curves = curves_of(published, metric="val/loss")
    for run_id, loss in listed["last_val_loss"].items():
        assert final_value(curves[run_id].steps, curves[run_id].values) == pytest.approx(loss, abs=1e-6)
    runs = last_rows(published).set_index("run_id")
    known = listed["final_val_loss"].dropna()
    np.testing.assert_allclose(runs.loc[known.index, "final_val_loss"].to_numpy(dtype=float), known)


def test_the_ranking_reverses_between_two_shared_rates(published):
    workload = "slimpajama-llama-124M-adamw-b100-50000steps"
    cosine, wsd = finals(published, "cos-zero", workload), finals(published, "wsd-0.2-linear", workload)
    assert cosine[1e-4] - wsd[1e-4] == pytest.approx(0.068, abs=0.001)
    assert wsd[2e-3] - cosine[2e-3] == pytest.approx(0.0216, abs=0.001)


def test_the_longer_planned_cosine_is_later_at_the_same_loss(published):
    def first_hit(steps):
        workload = f"slimpajama-llama-124M-adamw-b100-{steps}steps"
        rows = published[(published["scheduler"] == "cos-zero") & (published["workload"] == workload)]
        hits = []
        for curve in curves_of(rows, metric="val/loss").values():
            end = censoring_step(curve.steps, total_steps=curve.total_steps, state=curve.state)
            hits.append(time_to_target(curve.steps, curve.values, target=3.05, direction="minimize", end=end))
        return min(hit.value for hit in hits if hit.observed)

    assert first_hit(25_000) == 19_000
    assert first_hit(50_000) == 28_400


def test_the_run_that_diverged_without_a_nan_is_named(published):
    workload = "slimpajama-llama-124M-adamw-b100-50000steps"
    assert finals(published, "cos-zero", workload)[5e-3] == pytest.approx(7.547, abs=0.001)
    found = audit(published[published["workload"] == workload], metric="val/loss", direction="minimize")
    assert {f.check: f.cells for f in found}["collapsed"] == ((workload, "cos-zero"),)
