"""Launchers: which one started this process, what it was asked for, and several processes without a GPU.

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
from argparse import Namespace
from collections.abc import Sequence
from types import FrameType

import psutil
from accelerate.commands.launch import launch_command_parser

_RANKS = ("LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_LAUNCHER = "AGENTGYM_LAUNCHER"
"""The environment variable in which `run_processes` tells the others its process id."""
_LAUNCHERS = ("launch", "launch.py", "torchrun", "torch.distributed.run")
"""How the command that starts a launcher ends, of accelerate and of torch."""
_SECONDS_TO_SPEAK = 2.0
"""What the others have, when one process has failed, to end by themselves with a message."""

_NOT_FOLLOWED = {
    "ACCELERATE_MIXED_PRECISION": ("--mixed_precision", "say --dtype bfloat16 after the configuration"),
    "ACCELERATE_DYNAMO_BACKEND": ("--dynamo_backend", "models are run as they are"),
    "ACCELERATE_USE_FSDP": ("--use_fsdp", "each process holds the whole model"),
    "ACCELERATE_USE_DEEPSPEED": ("--use_deepspeed", "each process holds the whole model"),
    "ACCELERATE_USE_MEGATRON_LM": ("--use_megatron_lm", "each process holds the whole model"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("--use_parallelism_config", "each process holds the whole model"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (
        "--gradient_accumulation_steps",
        "say --max_tokens_per_micro_batch after the configuration",
    ),
    "ACCELERATE_GRADIENT_CLIPPING": ("--gradient_clipping", "say --max_grad_norm after the configuration"),
}
"""By the environment variable in which accelerate passes it on: an option that training does not follow, and what to do
instead."""
_OFF = ("", "no", "NO", "none", "false", "False", "1")


def is_first() -> bool:
    """Whether this is the process that speaks for all, before they have found one another."""
    return os.environ.get("RANK", "0") == "0"


def launcher() -> psutil.Process | None:
    """The process that started this one among others: accelerate's launcher, torch's, or `run_processes`."""
    parent = psutil.Process().parent()
    if parent is None or os.environ.get(_LAUNCHER) == str(parent.pid):
        return parent
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    try:
        named = any(word.endswith(_LAUNCHERS) for word in parent.cmdline()[:4])
    except psutil.Error:  # it has just ended, or is somebody else's
        return None
    return parent if launched and named else None


def check_launcher() -> None:
    """Raise `ValueError` for an option of accelerate's launcher that would be ignored.

    Some it passes on in the environment, from its own configuration file too; the rest it forgets, but they are
    in its command line.
    """
    asked = {name: os.environ.get(name, "") for name in _NOT_FOLLOWED}
    if (options := _launch_options()) is not None:
        if int(options.num_machines or 1) > 1 and "ACCELERATE_USE_CPU" in os.environ:  # which its CPU launcher sets
            raise ValueError("accelerate launch was given --num_machines: without GPUs one machine is used")
        for name in ("gradient_accumulation_steps", "gradient_clipping"):
            asked[f"ACCELERATE_{name.upper()}"] = str(getattr(options, name) or "")
    for name, value in asked.items():
        if value not in _OFF:
            option, instead = _NOT_FOLLOWED[name]
            given = option if value == "true" else f"{option} {value.lower()}"
            raise ValueError(f"accelerate launch was given {given}, which agentgym does not follow: {instead}")


def processes_to_start() -> int:
    """How many processes `accelerate launch` was asked for and did not start; 1 where all is as it should be."""
    environ = os.environ
    launched = "ACCELERATE_USE_CPU" in environ and "MASTER_PORT" in environ  # which it sets for several only
    if not launched or any(name in environ for name in _RANKS):
        return 1
    options = _launch_options()
    return 1 if options is None else int(options.num_processes or 1)


def _launch_options() -> Namespace | None:
    """What `accelerate launch` was given, if it is what started this process."""
    parent = launcher()
    words = parent.cmdline() if parent is not None else []
    start = next((i for i, word in enumerate(words[:4]) if word.endswith(("launch", "launch.py"))), None)
    if start is None:
        return None
    known: Namespace = launch_command_parser().parse_known_args([*words[start + 1 :], ""])[0]
    return known


def run_processes(count: int, module: str, arguments: Sequence[str]) -> int:
    """Run `python -m module arguments` in `count` processes that find one another; return the exit status.

    Where one fails the others are ended: they would wait for it. SIGTERM is passed on to all of them.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // count)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        _LAUNCHER: str(os.getpid()),
    }
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    # Ctrl-C reaches the processes themselves.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, pass_on)
    try:
        for rank in range(count):
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            environ = {"OMP_NUM_THREADS": str(threads)} | os.environ | shared | ranks
            processes.append(subprocess.Popen([sys.executable, "-m", module, *arguments], env=environ))
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                time.sleep(_SECONDS_TO_SPEAK)
                for process in processes:
                    process.kill()  # not terminate: they would wait for the one that is gone to end the step
                break
            time.sleep(0.1)
        return next((status for status in (process.wait() for process in processes) if status), 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
