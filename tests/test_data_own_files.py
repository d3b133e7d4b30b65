"""Datasets made of a person's own files: what is read is what is there, and what cannot be meant is refused."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from lrbench.cli import main
from lrbench.data import Arrays, Lines, Table, Text, Triples, files


def table(tmp_path, text, **options):
    (tmp_path / "table.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Table(file=str(tmp_path / "table.csv"), target="y", **options)


def all_rows(splits):
    """Inputs and targets of all splits, and the split of each."""
    parts = (splits.train, splits.validation, splits.test)
    return torch.cat([p.inputs for p in parts]), torch.cat([p.targets for p in parts]), [len(p) for p in parts]


ROWS = [(i, "red" if i % 3 else "blue", 0.5 * i - 4, "yes" if i % 2 else "no") for i in range(20)]
PLAIN = "id,colour,size,y\n" + "".join(f"{i},{c},{s},{y}\n" for i, c, s, y in ROWS)
ELSEWHERE = "# c\nid;colour;size;y\n\n" + "".join(f"{i};{c};{str(s).replace('.', ',')};{y}\n" for i, c, s, y in ROWS)


def test_a_table_is_standardised_on_train_only_with_a_column_a_category(tmp_path):
    data = table(tmp_path, PLAIN, ignore=["id"])
    splits = data.load()
    inputs, targets, sizes = all_rows(splits)
    assert (data.input_shape, data.num_outputs, data.num_train, sizes) == ((3,), 2, 13, [13, 3, 4])
    blue, red, size = inputs.T
    assert torch.equal(blue + red, torch.ones(20))
    assert splits.train.inputs[:, 2].mean().abs() < 1e-6
    assert splits.train.inputs[:, 2].std(correction=0) == pytest.approx(1)
    # The scaled size still tells which row it was.
    rank = size.argsort().argsort()
    assert targets.tolist() == [int(i % 2) for i in rank.tolist()]
    assert blue.tolist() == [float(i % 3 == 0) for i in rank.tolist()]


def test_the_same_table_from_elsewhere_and_as_parquet_is_the_same(tmp_path):
    ours = table(tmp_path, PLAIN).load()
    pd.DataFrame(ROWS, columns=["id", "colour", "size", "y"]).to_parquet(tmp_path / "table.parquet")
    for other in (
        table(tmp_path, ELSEWHERE.encode("utf-16")),
        table(tmp_path, gzip.compress(PLAIN.encode())),
        Table(file=str(tmp_path / "table.parquet"), target="y"),
    ):
        assert all(torch.equal(a, b) for a, b in zip(all_rows(other.load())[:2], all_rows(ours)[:2], strict=True))
    assert table(tmp_path, PLAIN.replace("red", "rot")).load().digest != ours.digest
    assert table(tmp_path, PLAIN).load().digest == ours.digest


def test_missing_values_are_the_mean_with_a_mark_and_a_category(tmp_path):
    data = table(tmp_path, PLAIN.replace("0,blue,-4.0", "0,,?").replace("1,red,", "1,?,"), ignore=["id"], missing=["?"])
    inputs, _, _ = all_rows(data.load())
    assert data.input_shape == (5,)  # three categories, the size, and whether it is missing
    row = inputs[inputs[:, 4] == 1]
    assert row.tolist() == [[1, 0, 0, 0, 1]]
    assert data.describe()["column size"].endswith("missing in 1 rows")


def test_a_category_that_train_has_not_is_no_category_and_said(tmp_path, caplog):
    data = table(tmp_path, "x,y\n" + "".join(f"w{i},{i % 2}\n" for i in range(20)))
    splits = data.load()
    assert splits.train.inputs.sum(dim=1).tolist() == [1] * 13
    assert splits.test.inputs.sum(dim=1).tolist() == [0] * 4
    assert "7 rows of others that train has not, such as 'w" in caplog.text


def test_regression_of_a_count_is_of_its_standardised_logarithm(tmp_path):
    data = table(
        tmp_path, "x,y\n" + "".join(f"{i},{i * i}\n" for i in range(20)), kind="regression", target_transform="log1p"
    )
    inputs, targets, _ = all_rows(data.load())
    assert (data.num_outputs, targets.shape, targets.dtype) == (1, (20, 1), torch.float32)
    order = inputs[:, 0].argsort()
    expected = np.log1p(np.arange(20.0) ** 2)
    assert np.corrcoef(targets[order, 0], expected)[0, 1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("x,z\n1,2\n", {}, r"dataset.target must be a column of table.csv, got y; it has \['x', 'z'\]"),
        ("x,y\n1,a\n2,\n3,b\n", {}, r"table.csv: y must not be missing, row 3 has none \(1 such rows\)"),
        ("x,y\n1,a\n2,a\n", {}, "y must have at least two classes, every row has a"),
        ("x,y\n1,0.5\n2,low\n", {"kind": "regression"}, "y must be a number to regress it, row 3 has 'low'"),
        ("x,y\n1,2\n2,2\n", {"kind": "regression"}, "y must vary, every row has 2"),
        ("x,y\n1,-2\n2,2\n", {"kind": "regression", "target_transform": "log1p"}, "above -1 for log1p, row 2 has -2"),
        ("x,y\n1,2\n", {"kind": "regression"}, "y must vary, every row has 2"),
        ("x,y\n1,a\n2,b\n", {}, "must hold out at least one of 2 examples"),
        ("y\n" + "a\nb\n" * 9, {}, "must have a column besides y"),
        (
            "x,y\n" + "".join(f"{i},{i / 7}\n" for i in range(9)),
            {},
            "has 9 different values in 9 rows.*kind=regression",
        ),
        ("x,y\ninf,a\n2,b\n", {}, "x must be finite, row 2 is not"),
        ("x,y\n1,a\n2\n", {}, "row 3 has 1 cells, the first row 2"),
        ("x,y\n" + "1,a\n2,b\n" * 9, {"ignore": ["z"]}, r"must be a column of table.csv, got z; it has \['x', 'y'\]"),
        (
            "x,y\n" + "".join(f"w{i},{i % 2}\n" for i in range(3000)),
            {},
            r"column 'x' has .* leave it out with dataset.ig",
        ),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_with_its_place(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        table(tmp_path, text, **options).check()


def test_a_file_that_does_not_fit_in_memory_is_refused_with_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "available_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"dataset.file=.*table.csv must fit in memory: it takes about 0.0 GiB"):
        table(tmp_path, PLAIN).check()
    for absent in (None, str(tmp_path / "absent.csv")):
        with pytest.raises(ValueError, match=r"dataset.file must name a file"):
            Table(file=absent, target="y").check()


def test_a_text_is_cut_into_windows_that_predict_what_follows(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefgh" * 10 + "Z!", encoding="utf-8")
    text = Text(file=str(tmp_path / "a.txt"), context=4, test_fraction=0.2, validation_fraction=0.25)
    splits = text.load()
    inputs, targets, sizes = all_rows(splits)
    assert (sizes, text.num_train, text.num_outputs) == ([12, 4, 4], 12, 9)  # Z and ! are not in train
    assert inputs.flatten().tolist() == [i % 8 for i in range(80)]
    assert targets.flatten().tolist() == [*(i % 8 for i in range(1, 80)), 8]
    assert inputs.dtype == targets.dtype == torch.int64
    raw = Text(file=str(tmp_path / "a.txt"), context=4, unit="bytes")
    assert bytes(raw.load().train.inputs[0].tolist()) == b"abcd"
    assert raw.num_outputs == 256
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="must hold out at least one of 0 examples"):
        Text(file=str(tmp_path / "a.txt")).check()


def lines(tmp_path, **options):
    words = [f"{'ab' * (i % 3)}c" for i in range(20)]
    (tmp_path / "w.csv").write_text("word,kind\n" + "".join(f"{w},{len(w)}\n" for w in words))
    return Lines(file=str(tmp_path / "w.csv"), column="word", test_fraction=0.2, validation_fraction=0.2, **options)


def test_strings_have_a_class_or_a_next_character(tmp_path):
    data = lines(tmp_path, target="kind", length=5, encoding="indices")
    inputs, targets, sizes = all_rows(data.load())
    assert (data.characters, data.num_outputs, sizes) == (("", "a", "b", "c"), 3, [13, 3, 4])
    assert {tuple(row) for row in inputs.tolist()} == {(3, 0, 0, 0, 0), (1, 2, 3, 0, 0), (1, 2, 1, 2, 3)}
    assert ((inputs > 0).sum(dim=1) == 2 * targets + 1).all()
    one_hot = lines(tmp_path, target="kind", length=5).load().train.inputs
    assert one_hot.shape == (13, 4, 5)
    assert torch.equal(one_hot.argmax(dim=1), data.load().train.inputs)
    following = lines(tmp_path, length=3, encoding="indices")
    pairs = all_rows(following.load())
    # By hand: what the strings c, abc and ababc have before each character and before their end.
    expected = {((0, 0, 0), 3), ((0, 0, 3), 0), ((0, 0, 0), 1), ((0, 0, 1), 2), ((0, 1, 2), 3), ((1, 2, 3), 0),
                ((0, 1, 2), 1), ((1, 2, 1), 2), ((2, 1, 2), 3), ((1, 2, 3), 0)}  # fmt: skip
    assert {(tuple(i), t) for i, t in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True)} == expected
    with pytest.raises(ValueError, match=r"row 4 of word has 5 characters, dataset.length=4"):
        lines(tmp_path, target="kind", length=4).check()


def test_triples_are_numbered_by_name_and_known_to_train(tmp_path):
    for name, text in (("train", "a\tr\tb\nb\ts\tc\nc\tr\ta\n"), ("valid", "a\ts\tb\n"), ("test", "b\tr\tc\n")):
        (tmp_path / f"{name}.tsv").write_text(text)
    data = Triples(root=str(tmp_path))
    inputs, targets, sizes = all_rows(data.load())
    assert (data.num_outputs, data.relations, sizes) == (3, ("r", "s"), [3, 1, 1])
    assert inputs.tolist() == [[0, 0], [1, 1], [2, 0], [0, 1], [1, 0]]
    assert targets.tolist() == [1, 2, 0, 1, 2]
    (tmp_path / "test.tsv").write_text("b\tr\tc\nd\tr\tc\n")
    with pytest.raises(ValueError, match=r"the entity 'd' in row 2 of test.tsv must also be in train"):
        Triples(root=str(tmp_path)).check()
    (tmp_path / "test.tsv").write_text("b\tr\n")
    with pytest.raises(ValueError, match=r"test.tsv must have 3 columns, head, relation, tail; row 1 is \['b', 'r'\]"):
        Triples(root=str(tmp_path)).check()
    assert Triples(root=str(tmp_path / "train.tsv"), test_fraction=0.4, validation_fraction=0.5).input_shape == (2,)


def arrays(tmp_path, inputs, targets, **options):
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=targets)
    return Arrays(inputs=str(tmp_path / "a.npz"), **options)


def test_arrays_of_one_file_or_two_are_read_with_classes_of_any_numbers(tmp_path):
    inputs = np.arange(60.0).reshape(20, 3)
    labels = np.array([5, 9] * 10, dtype=np.int32)
    ours = arrays(tmp_path, inputs, labels)
    assert (ours.input_shape, ours.num_outputs, ours.num_train) == ((3,), 2, 13)
    splits = ours.load()
    assert splits.train.inputs.mean(dim=0).abs().max() < 1e-6
    assert (splits.train.inputs.dtype, splits.train.targets.dtype) == (torch.float32, torch.int64)
    assert set(splits.train.targets.tolist()) == {0, 1}
    np.save(tmp_path / "x.npy", inputs)
    np.save(tmp_path / "y.npy", labels)
    two = Arrays(inputs=str(tmp_path / "x.npy"), targets=str(tmp_path / "y.npy"))
    assert two.load().digest == splits.digest
    real = arrays(tmp_path, inputs, inputs[:, :2] * 7, kind="regression").load()
    assert real.train.targets.shape == (13, 2)
    assert torch.allclose(real.test.targets, real.test.inputs[:, :2], atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        (np.ones(4), np.ones(4), {}, r"must have the shape \(n, ...\) with the n of dataset.targets"),
        (np.ones((4, 2)), np.ones(3), {}, r"got \(4, 2\) and \(3,\)"),
        (
            np.array([[1.0], [np.nan]]),
            np.array([0, 1]),
            {},
            r"dataset.inputs must be finite, at index \(1, 0\) it is nan",
        ),
        (np.ones((2, 1)), np.array([0.5, 1]), {}, "classes, whole numbers or words.*write dataset.kind=regression"),
        (np.ones((2, 1)), np.array([1, 1]), {}, "1 kinds"),
        (np.ones((2, 1)), np.array([1.0, 1]), {"kind": "regression"}, "and vary"),
        (np.ones((2, 1)), np.array([1, 2]), {"target_name": "y"}, r"has no array 'y', but \['inputs', 'targets'\]"),
        (np.array([["a"], ["b"]]), np.array([1, 2]), {}, "must hold numbers"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(tmp_path, inputs, targets, options, message):
    with pytest.raises(ValueError, match=message):
        arrays(tmp_path, inputs, targets, **options).check()


def test_check_shows_what_was_understood(tmp_path, capsys):
    table(tmp_path, PLAIN)
    words = ["dataset=table", f"dataset.file={tmp_path}/table.csv", "dataset.target=y", "dataset.ignore=[id]"]
    assert main(["check", *words, "training.batch_size=4"]) == 0
    out = capsys.readouterr().out
    assert "dataset\trows\t20: 13 train, 3 validation, 4 test\n" in out
    assert "dataset\tcolumn colour\t2 categories\n" in out
    assert "dataset\ttarget y\t2 classes: no 50.0%, yes 50.0%\n" in out


def test_a_dataset_of_ones_own_is_given_by_its_path(tmp_path, monkeypatch, capsys):
    code = "import lrbench.data\n\nclass Half(lrbench.data.Digits):\n    def describe(self):\n"
    code += "        return {'half': 'yes'}\n"
    (tmp_path / "my_half_data.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["dataset=own/custom", "dataset._target_=my_half_data.Half", "trusted_modules=[my_half_data]"]
    assert main(["check", *words, "dataset.name=half", "+dataset.validation_fraction=0.5"]) == 0
    assert "dataset\thalf\tyes\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "shape", "outputs"),
    [
        ("randhie", (9,), 1),
        ("shuttle", (9,), 2),
        ("peptides", (190,), 2),
        ("surnames", (8,), 27),
        ("kinships", (2,), 104),
        ("tinyshakespeare", (64,), 65),
    ],
)
def test_real_files_are_understood(shared_data, kind, shape, outputs):
    root = shared_data / kind
    data = {
        "randhie": lambda: Table(file=str(root / "randhie.csv"), target="mdvis", kind="regression"),
        "shuttle": lambda: Table(file=str(root / "shuttle.csv.gz"), target="anomaly"),
        "peptides": lambda: Lines(
            file=str(root / "peptides.csv"), column="sequence", target="antimicrobial", length=190, encoding="indices"
        ),
        "surnames": lambda: Lines(file=str(root / "surnames.csv.gz"), column="name", encoding="indices"),
        "kinships": lambda: Triples(root=str(root)),
        "tinyshakespeare": lambda: Text(file=str(root / "input.txt")),
    }[kind]()
    assert (data.input_shape, data.num_outputs) == (shape, outputs)
    assert data.load().train.inputs.shape == (data.num_train, *shape)
