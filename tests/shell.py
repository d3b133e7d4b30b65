"""Commands as a reader types them, for the tests of the documentation and the examples."""

import atexit
import os
import re
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from warm_command import CLIENT

REPO = Path(__file__).resolve().parent.parent


@cache
def _warm_server() -> str:
    """Address of a server of commands (see warm_command.py) that ends with this process."""
    address = f"{tempfile.mkdtemp()}/warm"
    server = [sys.executable, str(REPO / "tests" / "warm_command.py"), address]
    process = subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    assert process.stdout.readline() == "ready\n"
    return address


def environment(folder: Path) -> dict[str, str]:
    """Variables in which `lrbench` and `python` are this checkout's, wherever the tests were started.

    Args:
        folder: gets a `bin` with the two programs, and the data cache.
    """
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "lrbench").write_text(CLIENT.format(python=sys.executable, address=_warm_server()))
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPO),
        "LRBENCH_CACHE_DIR": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def run_shell(script: str, *, cwd: Path, env: dict[str, str], timeout: float = 300) -> str:
    """Run a script as bash would, stop at its first failing command, and return what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def finish(process: subprocess.Popen[str], timeout: float) -> tuple[str, str]:
    """What a process printed that leads a session of its own; one that hangs is killed with all that it started."""
    try:
        return process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def indented_commands(docstring: str) -> str:
    """The indented lines of a docstring: the commands that it shows."""
    return "\n".join(line[4:] for line in docstring.splitlines() if re.match(r"    \S|        ", line))
