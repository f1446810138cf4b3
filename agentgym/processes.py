"""Several processes on a machine without a GPU.

There, `accelerate launch --num_processes 2` says nothing and starts one process (its CPU launcher needs MPI and a
host file for more). So that the same command means the same everywhere, that one process starts the others.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil
from accelerate.commands.launch import launch_command_parser

_RANKS = ("LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def processes_to_start() -> int:
    """How many processes `accelerate launch` was asked for and did not start; 1 where all is as it should be."""
    environ = os.environ
    launched = "ACCELERATE_USE_CPU" in environ and "MASTER_PORT" in environ  # which it sets for several only
    parent = psutil.Process().parent()
    if not launched or any(name in environ for name in _RANKS) or parent is None:
        return 1
    words = parent.cmdline()
    start = next((i for i, word in enumerate(words) if word.endswith(("launch", "launch.py"))), len(words))
    known, _ = launch_command_parser().parse_known_args([*words[start + 1 :], ""])
    return int(known.num_processes or 1)


def run_processes(count: int, module: str, arguments: Sequence[str]) -> int:
    """Run `python -m module arguments` in `count` processes that find one another; return the exit status.

    Where one fails the others are ended: they would wait for it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // count)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the processes themselves
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={"OMP_NUM_THREADS": str(threads)} | os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            time.sleep(2)  # the others may be about to end by themselves, with a message
            for process in processes:
                process.terminate()
            break
        time.sleep(0.1)
    signal.signal(signal.SIGINT, before)
    return next((status for status in (process.wait() for process in processes) if status), 0)
