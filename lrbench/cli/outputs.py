"""Standard output and error as a command sees them: closed or full, they lose words, never the work."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, cast


class Output:
    """A text stream that takes everything; what cannot be written goes nowhere.

    Attributes:
        error: why something could not be written; None when all was.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or note that it cannot be done."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """See `write`."""
        self.write("".join(lines))

    def flush(self) -> None:
        """See `write`."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        self.error = self.error or error
        # What still waits in its buffer, which Python writes at its end, and all that is to come.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def split_json(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether `--json` is among the words of a command, and the others.

    With it the command prints one JSON object on standard output and nothing else there, by the names of verdict.json;
    messages stay on standard error and exit codes as they are. What is refused prints no object.
    """
    return "--json" in arguments, [word for word in arguments if word != "--json"]


def print_json(document: Mapping[str, object]) -> None:
    """Print the one object, on one line.

    Raises:
        ValueError: a number in it is not finite, which JSON does not have.
    """
    print(json.dumps(document, ensure_ascii=False, allow_nan=False))


@contextmanager
def lasting_outputs() -> Iterator[Output]:
    """Let sys.stdout and sys.stderr be such streams; yields the first."""
    _open_what_is_closed()
    before = sys.stdout, sys.stderr
    output = Output(sys.stdout)
    sys.stdout, sys.stderr = cast("tuple[TextIO, TextIO]", (output, Output(sys.stderr)))
    try:
        yield output
        output.flush()
    finally:
        sys.stdout, sys.stderr = before


def _open_what_is_closed() -> None:
    """After `>&-` the next file that is opened would get the number, and with it all that is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
