import hashlib
import io
import os
from collections import Counter, OrderedDict, deque

import numpy as np
import pytest
import torch

from lrbench.checkpoints import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def state(step):
    return {"step": step, "weights": torch.full((1000,), float(step))}


def test_the_newest_of_two_kept_checkpoints_is_read(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, state(step))
    assert len(list(tmp_path.iterdir())) == 2
    loaded = load_checkpoint(tmp_path, device=CPU)
    assert loaded is not None
    assert loaded["step"] == 3
    assert torch.equal(loaded["weights"], state(3)["weights"])


def test_a_clock_that_is_set_back_makes_no_new_checkpoint_old(tmp_path):
    for step in (1, 2, 3, 4):
        path = save_checkpoint(tmp_path, step, state(step))
        os.utime(path, (1e9 - 3600 * step,) * 2)
    assert [int(path.name[4:13]) for path in sorted(tmp_path.iterdir())] == [3, 4]
    assert load_checkpoint(tmp_path, device=CPU)["step"] == 4


def test_after_falling_back_the_checkpoints_passed_over_go(tmp_path):
    save_checkpoint(tmp_path, 10, state(10))
    save_checkpoint(tmp_path, 20, state(20)).write_bytes(b"damaged")
    save_checkpoint(tmp_path, 15, state(15))
    assert [int(path.name[4:13]) for path in sorted(tmp_path.iterdir())] == [10, 15]


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "absent", device=CPU) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
    ],
    ids=["truncated", "empty", "tail cut", "one flipped bit"],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage, tmp_path):
    save_checkpoint(tmp_path, 1, state(1))
    newest = save_checkpoint(tmp_path, 2, state(2))
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged"):
        loaded = load_checkpoint(tmp_path, device=CPU)
    assert loaded is not None
    assert loaded["step"] == 1


def test_a_stump_of_a_killed_write_is_ignored_and_cleaned(tmp_path):
    (tmp_path / ".step000000009-abc.pt.tmp").write_bytes(b"half")
    assert load_checkpoint(tmp_path, device=CPU) is None
    save_checkpoint(tmp_path, 1, state(1))
    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]


def test_a_malicious_pickle_is_not_executed(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "canary"),))

    with pytest.raises(ValueError, match=r"the state\.weights holds a Malicious"):
        save_checkpoint(tmp_path, 1, {"weights": Malicious()})
    save_checkpoint(tmp_path, 1, state(1))
    write_as_checkpoint(tmp_path, 2, {"weights": Malicious()})
    with pytest.warns(UserWarning, match=r"not one of this run \(UnpicklingError: Weights only load failed"):
        loaded = load_checkpoint(tmp_path, device=CPU)
    assert loaded is not None
    assert loaded["step"] == 1
    assert not (tmp_path / "canary").exists()


def write_as_checkpoint(folder, step, content):
    """A file with the right digest in its name, whatever is in it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    (folder / f"step{step:09d}-{digest}.pt").write_bytes(buffer.getvalue())


def test_what_a_users_part_keeps_comes_back_as_it_was(tmp_path):
    kept = {
        "recent": deque([1.0, np.float64(0.25)], maxlen=3),
        "seen": {1, 2},
        "counts": Counter("aab"),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2],
        "flag": np.bool_(True),
        "none": np.zeros((0, 2)),
        "ordered": OrderedDict(b=(1, None), a=b"text"),
    }
    save_checkpoint(tmp_path, 1, kept)
    loaded = load_checkpoint(tmp_path, device=CPU)
    assert loaded is not None
    for name in ("array", "none"):
        np.testing.assert_array_equal(loaded[name], kept[name])
        assert loaded[name].dtype == kept[name].dtype
    rest = {key: value for key, value in loaded.items() if key not in ("array", "none")}
    assert rest == {key: value for key, value in kept.items() if key not in ("array", "none")}
    assert [type(value) for value in rest.values()] == [type(kept[key]) for key in rest]
    assert type(loaded["recent"][1]) is np.float64
    assert loaded["recent"].maxlen == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: 0, r"the state\.part\.history\[1\] holds a function"),
        (np.array([None]), r"history\[1\] holds an array of object"),
        ({object: 1}, r"history\[1\] has the key <class 'object'>"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(value, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_checkpoint(tmp_path, 1, {"part": {"history": [1, value]}})


def test_a_checkpoint_that_another_training_made_is_passed_over(tmp_path):
    def load(found):
        if found["step"] == 2:
            raise KeyError("models")

    for step in (1, 2):
        save_checkpoint(tmp_path, step, state(step))
    with pytest.warns(UserWarning, match=r"is not one of this run \(KeyError: 'models'\); trying the one before"):
        loaded = load_checkpoint(tmp_path, device=CPU, load=load)
    assert loaded is not None
    assert loaded["step"] == 1


def test_a_failed_write_keeps_the_earlier_checkpoint_and_leaves_no_stump(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, state(1))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write the checkpoint of step 2: No space left"):
        save_checkpoint(tmp_path, 2, state(2))
    assert len(list(tmp_path.iterdir())) == 1
    loaded = load_checkpoint(tmp_path, device=CPU)
    assert loaded is not None
    assert loaded["step"] == 1
