"""A mistyped name finds the one that was meant, or none."""

import pytest

from lrbench.typos import did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "existing", "meant"),
    [
        ("cosin", ["constant", "cosine", "cosine_restarts"], "cosine"),
        ("sched", ["step", "scheduler", "seed"], "scheduler"),
        ("val_loss", ["val/accuracy", "val/loss"], "val/loss"),
        ("uri", ["results", "tracking.uri"], "tracking.uri"),
        ("lr", ["optimizer.lr", "lrs"], "optimizer.lr"),
        ("zebra", ["cosine", "step"], None),
        ("cosine", [], None),
    ],
)
def test_the_nearest_name_is_the_one_that_was_meant(name, existing, meant):
    assert nearest(name, existing) == meant
    assert did_you_mean(name, existing) == (";" if meant is None else f"; did you mean {meant}?")
