"""What a job of training leaves behind, in a form that travels between processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lrbench.cli.errors import explain
from lrbench.spec import RunState


@dataclass(frozen=True)
class Result:
    """The end of one job.

    Attributes:
        name: of the run, e.g. cosine-s0.
        tracking_uri: where the record is to be sent, "" for nowhere.
        record: its directory; None when the job was refused before there was one.
        state: None when the job was refused.
        found: last and best metrics, seconds and steps, see `summarize`.
        curve: headline validation metric by step; NaN where the run had diverged.
        error: why the job failed; None when it did not.
        stopped: a signal ended the run, which can be resumed.
        pruned: step at which the sweep cut the run short; None when it did not.
    """

    name: str
    tracking_uri: str = ""
    record: Path | None = None
    state: RunState | None = None
    found: Mapping[str, float] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)
    error: Exception | None = None
    stopped: bool = False
    pruned: int | None = None


def portable(error: Exception) -> Exception:
    """Return an error that can be pickled and means the same to a person.

    Exceptions with arguments of their own, such as Hydra's, cannot be unpickled.
    """
    return error if type(error) in (ValueError, OSError) else ValueError(explain(error))
