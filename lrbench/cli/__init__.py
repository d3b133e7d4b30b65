"""The command line: `lrbench [COMMAND] [overrides]`; without a command it trains.

This package joins the edges (config, tracking) and is the only one that may. Commands are modules with a
`main(arguments) -> exit code`, imported when used, so that `--help` and typing errors answer at once.
"""

import atexit
import gc
import importlib
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import lrbench
from lrbench.cli.outputs import lasting_outputs
from lrbench.typos import did_you_mean

COMMANDS = {
    "run": "train one run, or a grid with -m (the default command)",
    "list": "say what schedulers, models, datasets or workloads there are, a line each",
    "preview": "draw the rates of schedules, write them as CSV",
    "check": "lint a configuration, or your own training code with --code FILE",
    "range-test": "find a good range of base rates for a model and dataset",
    "export": "print a schedule as plain PyTorch",
    "report": "compare the schedules of all runs, say who wins and how sure that is",
    "recommend": "say which schedule to use, from the runs there are",
    "predict": "name the best of all schedules at four times the length from four short runs, or refuse",
    "settle": "train and look at planned numbers of seeds until it is settled who is better",
    "ui": "look at the runs in the browser: learning curves and rates of all of them",
    "sync": "send records that have not reached MLflow yet",
    "import": "turn results in the formats of others into a file or into MLflow runs",
    "selftest": "check this installation on two problems with known answers",
}
# `import` cannot name a module, and one named `list` would hide Python's; any other command is its own module.
_MODULES = {"import": "import_results", "list": "list_entries"}


def module_of(command: str) -> str:
    """Name of the module of this package that is a command."""
    return _MODULES.get(command, command.replace("-", "_"))


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came, outside of a training, which ends itself."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done; 1 refused or failed; 3 trained, but the record has not reached MLflow; 4 nothing can be recommended or
    predicted; 128 + number of the signal that stopped it: 129 hung up, 130 interrupted, 143 terminated. That nobody
    reads on (`lrbench ... | head`) changes nothing; that what is printed cannot be written makes 1 of 0, but for a
    training, whose record has it all.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name, rest = (words[0], words[1:]) if words and words[0] in COMMANDS else ("run", words)
    if name == "run" and rest[:1] != ["run"] and re.fullmatch(r"[a-z][a-z-]*", "".join(rest[:1])):
        print(
            f"lrbench: no command {rest[0]!r}{did_you_mean(rest[0], COMMANDS)} There are: {', '.join(COMMANDS)}; "
            "without a command come overrides, such as scheduler=cosine",
            file=sys.stderr,
        )
        return 1
    with lasting_outputs() as output:
        code = _guarded(name, rest)
    if output.error is None or isinstance(output.error, BrokenPipeError):
        return code
    print(f"lrbench: standard output could not be written: {output.error.strerror}", file=sys.stderr)
    return code if name == "run" else code or 1


def _guarded(name: str, words: list[str]) -> int:
    """Run a command; what the user, the machine or a signal does to it becomes one sentence and an exit code."""
    # nohup has SIGHUP ignored, which stays.
    listened = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    try:
        for number in listened:
            signal.signal(number, _terminate)
        from lrbench.runs.errors import USER_ERRORS, explain

        # The interpreter's last collections look at every object of torch, for half a second of the user's time.
        atexit.register(gc.freeze)
        try:
            _check_working_directory()
            with _own_surroundings(), _messages():
                return _run(name, words)
        except USER_ERRORS as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(f"lrbench: {explain(error)}", file=sys.stderr)
            print("(HYDRA_FULL_ERROR=1 shows the traceback)", file=sys.stderr)
            return 1
        except (ImportError, MemoryError, RuntimeError) as error:
            from lrbench.launch import lacks_memory

            if not lacks_memory(error):
                raise
            print(
                f"lrbench: too little memory: {error or type(error).__name__}",
                file=sys.stderr,
            )
            return 1
    except KeyboardInterrupt:
        print("lrbench: interrupted; the same command continues", file=sys.stderr)
        return 128 + signal.SIGINT
    except _Terminated as end:
        print(f"lrbench: stopped by {signal.Signals(end.number).name}; the same command continues", file=sys.stderr)
        return 128 + end.number
    finally:
        for number in listened:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated(number)


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError("the working directory was deleted; go to another one") from None


@contextmanager
def _own_surroundings() -> Iterator[None]:
    """Keep what a command changes in the process for its time only.

    Its processes do not look into the working directory first either, where a `numpy.py` may lie beside the data.
    """
    path, variable = list(sys.path), os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        sys.path[:] = path
        if variable is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = variable


def _run(name: str, words: list[str]) -> int:
    """Run a command, or show what it or lrbench as a whole is."""
    wants_help = bool({"-h", "--help"} & set(words))
    if name == "run" and words[:1] == ["--version"]:
        print(f"lrbench {lrbench.__version__}")
    elif name == "run" and wants_help:
        from lrbench.cli.help import page

        print(page(COMMANDS), end="")
    elif name == "run" and words[:1] == ["-sc"] and words[1:2] and words[1].startswith("query="):
        from lrbench.cli.completion import complete

        complete(words, commands=COMMANDS)
    else:
        module = importlib.import_module(f"lrbench.cli.{module_of(name)}")
        if not wants_help or name == "import":  # whose help lists the formats it finds
            command: Callable[[list[str]], int] = module.main
            return command(words)
        print(module.__doc__)
    return 0


class _Shown(logging.Formatter):
    """Messages fit for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """See `lrbench.runs.errors.shown`."""
        from lrbench.runs.errors import shown

        return shown(super().format(record))


@contextmanager
def _messages() -> Iterator[None]:
    """Print what the package logs and what libraries warn of, a line each on stderr, without a line of our source."""
    log = logging.getLogger("lrbench")
    handler = logging.StreamHandler()
    handler.setFormatter(_Shown("lrbench: %(message)s"))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: log.warning("warning: %s", message)
            yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
