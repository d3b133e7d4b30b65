"""The process of `server.serving`, `python -m lrbench.tracking.server_process WORDS`: MLflow's server, and its end.

Its stdin is a pipe from its parent. When that ends, the parent has died, by whatever signal, and the server goes too.
"""

import os
import signal
import subprocess
import sys
import threading
import time

STOP_SECONDS = 10.0  # for an orderly end


def main() -> int:
    """Run the server until it ends, or the parent does."""
    # It comes to the whole group; the server's end is this process's. Not SIG_IGN, which the server would inherit.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    server = subprocess.Popen([sys.executable, "-m", "mlflow", "server", *sys.argv[1:]], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return server.wait()


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
