"""Worker processes that pay for imports once, and that nothing outlives.

They are forked from one server process which has imported what they need, so a new one costs milliseconds, and a
worker that dies (out of memory, say) takes no other with it: its task is reported as `Died`. When the parent dies,
even by SIGKILL, its workers see the end of a pipe and exit at once, so that the same command can be given again.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import ModuleType, TracebackType
from typing import Any, Self

# What a terminal or a cluster sends to whole process groups.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
# A socket's path has at most 103 characters (macOS); multiprocessing adds 32 to the temporary folder.
_LONGEST_FOLDER = 70


@dataclass(frozen=True)
class Link:
    """What a running task has of its parent.

    Attributes:
        send: give the parent a Message.
        is_stopping: whether the parent wants the task to return early.
    """

    send: Callable[[Any], None]
    is_stopping: Callable[[], bool]


@dataclass(frozen=True)
class Message:
    """What a running task sent."""

    key: Any
    body: Any


@dataclass(frozen=True)
class Done:
    """A task returned."""

    key: Any
    result: Any


@dataclass(frozen=True)
class Died:
    """The worker of a task ended before the task did: killed by a signal (-number), or it raised (1).

    Attributes:
        reason: what was short of memory; "" where that is not known.
    """

    key: Any
    exit_code: int
    reason: str = ""

    @property
    def how(self) -> str:
        """What became of the process, in words."""
        if self.reason:
            return f"has too little memory: {self.reason}"
        return f"was killed by signal {-self.exit_code} (out of memory?)" if self.exit_code < 0 else "failed, see above"


Event = Message | Done | Died


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    key: Any = None
    is_busy: bool = False
    reason: str = ""


class Pool:
    """A context manager: leaving it stops the workers.

    They ignore the signals that a terminal or a cluster sends to whole process groups: what those mean is decided in
    the parent, which calls `stop`.

    Args:
        num_workers: processes at most; started when there are tasks for them.
        preload: modules that the server imports before any worker is forked.
    """

    def __init__(self, num_workers: int, *, preload: Sequence[str] = ()) -> None:
        self.num_workers = num_workers
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        with _quiet_place(), _nameless_main():
            forkserver.ensure_running()  # imports, while the caller still prepares the tasks
        self._workers: list[_Worker] = []
        self._has_begun = False
        self._tasks: deque[tuple[Any, str, Any]] = deque()
        # Its end means stop. Not an Event, which needs a semaphore: /dev/shm may be read-only.
        self._go_on, self._end_of_it = self._context.Pipe(duplex=False)

    def submit(self, key: Any, function: str, argument: Any) -> None:
        """Queue a call `function(argument, link)`; see Link.

        Args:
            key: comes back with every event of this task.
            function: dotted name, imported in the worker; an exception that it raises ends the worker, with a traceback
                on stderr.
            argument: pickled, as is what the function returns and sends.
        """
        self._tasks.append((key, function, argument))

    def events(self, *, poll_seconds: float = 0.5) -> Iterator[Event | None]:
        """Run the tasks, yielding what happens as it happens, and None now and then while nothing does.

        Tasks may be submitted while this runs. It ends when there is none left.
        """
        while self._tasks or any(worker.is_busy for worker in self._workers):
            self._hand_out()
            busy = {worker.pipe: worker for worker in self._workers if worker.is_busy}
            ready = wait(list(busy), timeout=poll_seconds)
            if not ready:
                yield None
            for pipe in ready:
                assert isinstance(pipe, Connection)
                yield self._receive(busy[pipe])

    def stop(self) -> list[Any]:
        """Ask running tasks to return early, forget those that no worker has begun, and return the keys of these."""
        self._end_of_it.close()
        keys = [key for key, _, _ in self._tasks]
        self._tasks.clear()
        return keys

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if not self._has_begun:
            _kill_server()
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()
        self._go_on.close()

    def _hand_out(self) -> None:
        while self._tasks:
            worker = next((worker for worker in self._workers if not worker.is_busy), None)
            if worker is None:
                if len(self._workers) >= self.num_workers:
                    return
                worker = self._start()
            worker.key, function, argument = self._tasks.popleft()
            worker.is_busy = True
            with suppress(BrokenPipeError, ConnectionResetError):  # it died while idle; its pipe says so later
                worker.pipe.send((function, argument))

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._go_on))
        try:
            with _quiet_place(), _nameless_main():
                process.start()
        except (EOFError, ConnectionError) as error:
            raise OSError("no worker process can be started: their server was killed (out of memory?)") from error
        self._has_begun = True
        theirs.close()  # else its end would not be seen here
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _receive(self, worker: _Worker) -> Event | None:
        try:
            what, body = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            self._workers.remove(worker)
            worker.pipe.close()
            exit_code = worker.process.exitcode
            assert exit_code is not None
            return Died(worker.key, exit_code, worker.reason)
        if what == "no memory":
            worker.reason = body
            return None
        if what == "message":
            return Message(worker.key, body)
        worker.is_busy = False
        return Done(worker.key, body)


def _kill_server() -> None:
    """End a server that nobody needed: it may be importing for seconds, and a pipe from our stdout waits for it."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)  # it has no public name, nor a quick stop
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            if hasattr(os, "waitid"):  # not on macOS
                # So that the next pool sees that it is gone; not reaped here, which multiprocessing does itself.
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Keep workers from running the caller's script once more.

    multiprocessing imports the main module into every process it starts, so a script that calls lrbench outside of `if
    __name__ == "__main__"` would begin again in each, and one that came by a pipe has no file. Tasks are found by name.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _quiet_place() -> Iterator[None]:
    """Start the workers' server where no signal reaches it and its socket has a short enough name.

    Ctrl-C comes to all processes of a terminal, and would end its imports in a traceback. It inherits what is blocked.
    """
    before = tempfile.tempdir
    resource_tracker.ensure_running()  # of multiprocessing; else the server starts it, and unblocks the signals
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_FOLDER:
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = before
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _work(pipe: Connection, go_on: Connection) -> None:
    """Do tasks until the pipe ends."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    stopping = threading.Event()
    threading.Thread(target=_watch_parent, args=[go_on, stopping], daemon=True).start()
    link = Link(send=lambda body: pipe.send(("message", body)), is_stopping=stopping.is_set)
    while True:
        try:
            function, argument = pipe.recv()
        except EOFError:
            return
        module, _, name = function.rpartition(".")
        try:
            result = getattr(importlib.import_module(module), name)(argument, link)
        except (ImportError, MemoryError, OSError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            pipe.send(("no memory", str(error) or type(error).__name__))
            sys.exit(1)
        pipe.send(("done", result))


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that the machine, or a limit, gives too little memory, be it to load a library."""
    words = ("failed to map segment", "cannot allocate memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in words)


def _watch_parent(go_on: Connection, stopping: threading.Event) -> None:
    """Take in a stop, and exit with the parent: a task may last for hours after nobody waits for it any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if go_on in wait([go_on, parent.sentinel]):
        stopping.set()
        wait([parent.sentinel])
    os._exit(1)
