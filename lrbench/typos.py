"""What somebody meant who wrote a name that does not exist; every message about an unknown name comes through here."""

import difflib
from collections.abc import Iterable

# Ratio of difflib from which a name is near: `sched` finds `scheduler` and `val_loss` finds `val/loss`.
_NEAR = 0.55


def nearest(name: str, existing: Iterable[str]) -> str | None:
    """Return the existing name that looks most like `name`, None when none does.

    A dotted name is also near to its own last part, which is what people leave out or put in first: `uri` finds
    `tracking.uri`, `lr` finds `optimizer.lr`.
    """
    known = list(existing)
    ends = [other for other in known if other.endswith(f".{name}")]
    close = ends or difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    return close[0] if close else None


def did_you_mean(name: str, existing: Iterable[str]) -> str:
    """Return how a message goes on after the name: "; did you mean cosine?", or ";" when nothing is near."""
    close = nearest(name, existing)
    return ";" if close is None else f"; did you mean {close}?"
