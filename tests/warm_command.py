"""`lrbench` from a process that has imported what commands import, and forks for each: most of a short one is imports.

Whatever a command starts itself (workers, the sender) is a new process, as always. That a cold command imports what it
needs is held by tests/test_layering.py and by all tests that start `python -m lrbench`.

`python warm_command.py SOCKET` serves until its standard input ends, as it does with the tests; CLIENT is the program.
"""

import os
import select
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -IS
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
parts = [os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:], *(f"{{k}}={{v}}" for k, v in os.environ.items())]
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall("\\0".join(parts).encode("utf-8", "surrogateescape"))
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(16) or b"70"))
"""


def serve(address: str) -> None:
    """Answer clients until standard input ends; return in the process of each command, in its place."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    _import_all()
    print("ready", flush=True)
    while True:
        if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
            os._exit(0)
        client, _ = listener.accept()
        if os.fork():
            client.close()
            os.waitpid(-1, os.WNOHANG)  # not for this one, whose output may be the input of the next client
            continue
        _, descriptors, _, _ = socket.recv_fds(client, 1, 3)
        with client.makefile("rb") as request:
            text = request.read().decode("utf-8", "surrogateescape")
        if (command := os.fork()) == 0:
            client.close()
            return _become(text.split("\0"), descriptors)
        client.sendall(str(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]) & 0xFF).encode())
        os._exit(0)


def _become(parts: list[str], descriptors: list[int]) -> None:
    for wanted, descriptor in enumerate(descriptors):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    folder, number, *rest = parts
    sys.argv[1:] = rest[: int(number)]
    os.environ.clear()
    os.environ.update(part.split("=", 1) for part in rest[int(number) :])
    os.chdir(folder)


def _import_all() -> None:
    import hydra._internal.utils  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import mlflow.tracking  # noqa: F401
    import optuna  # noqa: F401
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch.func  # noqa: F401

    import lrbench.api
    import lrbench.runs.worker  # noqa: F401


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    serve(sys.argv[1])
    from lrbench.cli import main

    sys.exit(main())
