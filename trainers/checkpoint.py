"""Checkpoints: written atomically, resumed exactly.

A checkpoint is a plain PEFT adapter directory with the trainer's state beside the adapter. It is written under
a hidden name and renamed when it is whole and on the disk, so that whatever stands under a checkpoint's name
is complete: a kill at any moment leaves the one before.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from agentgym.agents.models import CHECKPOINTS

_TENSORS = "trainer_state.pt"
_FACTS = "trainer_state.json"
_ADAPTER = "adapter_model.safetensors"

STATES = {"optimizer", "schedule"}
"""Whose states a checkpoint holds."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; one line says which and why."""


def save_checkpoint(
    run_dir: Path,
    step: int,
    model: Any,
    tensors: dict[str, Any],
    fingerprint: dict[str, Any],
    *,
    keep: int,
) -> Path:
    """Write the checkpoint of `step` finished steps, then drop all but the last `keep`.

    `tensors`: the states of `STATES`. `fingerprint`: what must be equal for a run
    to be the same run. Raises `CheckpointError` when the disk refuses; earlier checkpoints then stand.
    """
    folder = run_dir / CHECKPOINTS
    target = folder / f"step-{step:06d}"
    unfinished = folder / f".{target.name}.{os.getpid()}"
    try:
        for left_by_a_kill in folder.glob(".step-*"):
            shutil.rmtree(left_by_a_kill)
        unfinished.mkdir(parents=True)
        model.save_pretrained(unfinished, save_embedding_layers=False)  # "auto" would ask the hub
        torch.save(tensors, unfinished / _TENSORS)
        (unfinished / _FACTS).write_text(json.dumps({"step": step, "fingerprint": fingerprint}, indent=1))
        _flush(unfinished)
        if target.exists():  # the same step, saved again after a resume
            shutil.rmtree(target)
        unfinished.rename(target)
        _sync(folder)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as RuntimeError
        shutil.rmtree(unfinished, ignore_errors=True)
        last = list_checkpoints(run_dir)
        kept = f"the last whole one is {last[-1]}" if last else "there is none yet"
        raise CheckpointError(f"cannot write the checkpoint {target}: {error} ({kept})") from error
    for old in list_checkpoints(run_dir)[:-keep]:
        shutil.rmtree(old)
    return target


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted((run_dir / CHECKPOINTS).glob("step-*"))


def load_checkpoint(checkpoint: Path, model: Any, fingerprint: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Put the adapter of `checkpoint` into `model`; return the finished steps and the saved tensors.

    Raises `CheckpointError` for a directory that is no checkpoint, an incomplete one, one that was written
    with another `fingerprint` (the message names the first difference), and weights of other shapes.
    """
    missing = [name for name in (_ADAPTER, _TENSORS, _FACTS) if not (checkpoint / name).is_file()]
    if missing:
        raise CheckpointError(f"{checkpoint} is not a whole checkpoint: it has no {', '.join(missing)}")
    try:
        facts = json.loads((checkpoint / _FACTS).read_text())
        _check_same(checkpoint, facts["fingerprint"], fingerprint)
        tensors = torch.load(checkpoint / _TENSORS, map_location="cpu", weights_only=True)
        if lacking := STATES - tensors.keys():
            raise CheckpointError(f"{checkpoint} has no state of the {' and the '.join(sorted(lacking))}")
        weights = load_file(checkpoint / _ADAPTER)
        expected = get_peft_model_state_dict(model, save_embedding_layers=False)
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in expected.items()}:
            raise CheckpointError(f"{checkpoint} holds an adapter of another model or LoRA setting")
        set_peft_model_state_dict(model, weights)
        return int(facts["step"]), tensors
    except CheckpointError:
        raise
    except Exception as error:  # unpickling can raise nearly anything on damaged bytes
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"{checkpoint} cannot be read: {reason[0] if reason else type(error).__name__}"
        ) from error


def _check_same(checkpoint: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key in sorted(saved.keys() | wanted.keys()):
        if saved.get(key) != wanted.get(key):
            raise CheckpointError(
                f"{checkpoint} is of another run: {key} was {saved.get(key)!r} there and is {wanted.get(key)!r} "
                "here; resume with the same configuration"
            )


def _flush(directory: Path) -> None:
    """Bring the files of `directory`, and it itself, to the disk."""
    for path in directory.iterdir():
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
