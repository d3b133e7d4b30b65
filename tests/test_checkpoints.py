import os

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

    save_checkpoint(tmp_path, 1, {"weights": Malicious()})
    with pytest.raises(Exception, match="Weights only load failed"):
        load_checkpoint(tmp_path, device=CPU)
    assert not (tmp_path / "canary").exists()


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
