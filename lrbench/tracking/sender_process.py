"""The sender's process, `python -m lrbench.tracking.sender_process`: follows records and copies them into MLflow.

It reads the paths of records from stdin, one a line, and before them, behind `@`, the addresses to which they may be
sent; an empty line or the end of stdin means that no more will come: it sends what is left and exits, with 1 when
something stays unsent. When its parent dies, stdin ends too, and a record without an end becomes KILLED in MLflow.

Training comes first: while it goes on, the rounds have a low priority, and after each the process rests for ten times
as long as it took, but not so long that much is left for the end, where somebody waits.
"""

import atexit
import gc
import importlib
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

from lrbench.tracking.send_queue import SendQueue

POLL_SECONDS = 2.0  # MLflow's pages renew themselves every 30
PATIENCE_SECONDS = 5.0  # once nothing more will come: give up after this long without any progress
_REST_FACTOR, _LONGEST_REST = 10, 4.0
_NICENESS = 5  # a third of the weight; much less would starve on a machine that others keep busy


def main() -> int:
    """Follow the records named on stdin until it ends, then finish; see the module."""
    # Slurm and `kill` of a process group mean the training, which ends its record; that end is still to be
    # sent.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    atexit.register(gc.freeze)  # the last collections of all that MLflow imports take as long as sending fifty runs
    lines: SimpleQueue[str | None] = SimpleQueue()
    # A thread of its own, so that the parent never waits at a full pipe for a slow store.
    threading.Thread(target=_read_paths, args=[lines], daemon=True).start()
    importlib.import_module("lrbench.tracking.client")  # seconds, while the parent loads its data
    queue = SendQueue()
    # Niceness is a thread's own and cannot be taken back; for the last rounds somebody waits.
    with ThreadPoolExecutor(1) as background:
        background.submit(_follow, queue, lines).result()
    return _finish(queue)


def _follow(queue: SendQueue, lines: "SimpleQueue[str | None]") -> None:
    """Serve the records while the training goes on, which has the cores first."""
    if sys.platform == "linux":  # elsewhere it is the whole process that would be nice, to its end
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS)
    _weigh_session(_NICENESS)
    rest = POLL_SECONDS
    while _take_paths(queue, lines, seconds=rest):
        queue.visit_all(also_young=False)
        rest = min(_LONGEST_REST, max(POLL_SECONDS, _REST_FACTOR * queue.last_cost))
    _weigh_session(0)


def _finish(queue: SendQueue) -> int:
    """Send what is left; 1 when something stays unsent."""
    last_progress = time.monotonic()
    while queue.followed and time.monotonic() - last_progress < PATIENCE_SECONDS:
        for connection in queue.connections.values():  # no long pauses any more
            connection.retry_at = min(connection.retry_at, time.monotonic() + 1.0)
        if queue.visit_all(also_young=True):
            last_progress = time.monotonic()
        else:
            time.sleep(0.05)
    return 1 if queue.followed or queue.num_refused else 0


def _weigh_session(niceness: int) -> None:
    """Set the niceness of this session: Linux may weigh whole sessions first, and its processes only within."""
    for _ in range(5):
        try:
            Path("/proc/self/autogroup").write_text(str(niceness))
            return
        except BlockingIOError:  # it takes ten a second, of all processes together
            time.sleep(0.1)
        except OSError:  # this kernel does not
            return


def _read_paths(lines: "SimpleQueue[str | None]") -> None:
    """Pass on the paths from stdin, then None; a line without its end is of a parent that was killed meanwhile."""
    pending = b""
    # Not through sys.stdin, whose lock this thread would hold when the process exits.
    while data := os.read(sys.stdin.fileno(), 1 << 16):
        *found, pending = (pending + data).split(b"\n")
        for line in found:
            if not line:
                lines.put(None)
                return
            lines.put(os.fsdecode(line))
    lines.put(None)


def _take_paths(queue: SendQueue, lines: "SimpleQueue[str | None]", *, seconds: float) -> bool:
    """Wait for so long, taking in more paths; whether more may come."""
    until = time.monotonic() + seconds
    while True:
        try:
            line = lines.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return True
        if line is None:
            return False
        if line.startswith("@"):
            queue.allow(line[1:])
        else:
            queue.follow(Path(line))


if __name__ == "__main__":
    sys.exit(main())
