"""Checkpoints: written atomically, resumed exactly.

A checkpoint is a plain PEFT adapter directory with the trainer's state beside the adapter. It is written under
a hidden name and renamed when it is whole and on the disk, so that whatever stands under a checkpoint's name
is complete: a kill at any moment leaves the one before.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from agentgym.agents.adapters import AdapterError, check_fit
from agentgym.agents.run_files import checkpoint_path, list_checkpoints
from agentgym.trainers.parts import Part
from agentgym.trainers.policy import Policy

_STATES = "trainer_state.pt"
_FACTS = "trainer_state.json"
_ADAPTER = "adapter_model.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; one line says which and why."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run: the policy's adapter, and the states of all parts."""

    run_dir: Path
    policy: Policy
    fingerprint: Mapping[str, Any]
    """What must be equal for a run to be the same run."""
    save_steps: int
    """Steps from one checkpoint to the next."""
    keep: int
    """How many are kept."""

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after so many finished steps."""
        return step % self.save_steps == 0

    def last_whole(self) -> str:
        """In words, from where a run can go on."""
        last = list_checkpoints(self.run_dir)
        return f"the last whole checkpoint is {last[-1]}" if last else "there is no checkpoint yet"

    def save(self, step: int, parts: Mapping[str, Part]) -> None:
        """Write the checkpoint of `step` finished steps, then drop all but the last `keep`. Called by all processes.

        Raises `CheckpointError` when the disk refuses, or where a parameter is not finite; earlier ones then stand.
        """
        processes = self.policy.processes
        shared = {name: part.state_dict() for name, part in parts.items() if not part.per_process}
        own = {name: part.state_dict() for name, part in parts.items() if part.per_process}
        of_processes = processes.gather(own) if own else []
        if processes.is_main:
            self._write(step, {"shared": shared, "of_processes": of_processes})
        processes.wait()

    def _write(self, step: int, states: dict[str, Any]) -> None:
        target = checkpoint_path(self.run_dir, step)
        folder = target.parent
        unfinished = folder / f".{target.name}.{os.getpid()}"
        try:
            held = [("adapter", self.policy.parameters), *states["shared"].items()]
            held += [each for own in states["of_processes"] for each in own.items()]
            if wrong := next((name for name, state in held if not _is_finite(state)), None):
                raise CheckpointError(
                    f"the checkpoint {target} is not written: the {wrong} holds NaN or infinity; {self.last_whole()}"
                )
            for left_by_a_kill in folder.glob(".step-*"):
                shutil.rmtree(left_by_a_kill)
            unfinished.mkdir(parents=True)
            # "auto" would ask the hub
            self.policy.model.save_pretrained(unfinished, save_embedding_layers=False, selected_adapters=["default"])
            torch.save(states, unfinished / _STATES)
            facts = {"step": step, "processes": self.policy.processes.count, "fingerprint": dict(self.fingerprint)}
            (unfinished / _FACTS).write_text(json.dumps(facts, indent=1))
            _flush(unfinished)
            if target.exists():  # the same step, saved again
                remove_checkpoint(target)
            unfinished.rename(target)
            _sync(folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as RuntimeError
            shutil.rmtree(unfinished, ignore_errors=True)
            last = list_checkpoints(self.run_dir)
            kept = f"the last whole one is {last[-1]}" if last else "there is none yet"
            raise CheckpointError(f"cannot write the checkpoint {target}: {error} ({kept})") from error
        for old in list_checkpoints(self.run_dir)[: -self.keep]:
            remove_checkpoint(old)

    def load(self, checkpoint: Path, parts: Mapping[str, Part]) -> int:
        """Put a checkpoint's adapter into the policy and its states into the parts; return its finished steps.

        Raises `CheckpointError` for a directory that is no checkpoint, an incomplete one, one that was written
        with another fingerprint (the message names the first difference), weights of other shapes, and states that
        are not those of these parts and processes. All of it is looked at before anything is changed.
        """
        missing = [name for name in (_ADAPTER, _STATES, _FACTS) if not (checkpoint / name).is_file()]
        if missing:
            raise CheckpointError(f"{checkpoint} is not a whole checkpoint: it has no {', '.join(missing)}")
        try:
            facts = json.loads((checkpoint / _FACTS).read_text())
            _check_same(checkpoint, facts["fingerprint"], dict(self.fingerprint))
            states = torch.load(checkpoint / _STATES, map_location="cpu", weights_only=True)
            found = self._states_of(checkpoint, states, parts)
            weights = load_file(checkpoint / _ADAPTER)
            check_fit(self.policy.model, weights)
            step = int(facts["step"])
            if checkpoint.name != checkpoint_path(checkpoint, step).name:
                raise CheckpointError(f"{checkpoint} was renamed: it is the checkpoint of step {step}")
            set_peft_model_state_dict(self.policy.model, weights)
            for name, part in parts.items():
                part.load_state_dict(found[name])
            return step
        except CheckpointError:
            raise
        except AdapterError as error:
            raise CheckpointError(f"{checkpoint}: {error}") from error
        except Exception as error:  # unpickling can raise nearly anything on damaged bytes
            reason = str(error).strip().splitlines()
            raise CheckpointError(
                f"{checkpoint} cannot be read: {reason[0] if reason else type(error).__name__}"
            ) from error

    def _states_of(self, checkpoint: Path, states: Any, parts: Mapping[str, Part]) -> dict[str, Any]:
        """The state of each part, in this process."""
        processes, of_processes = self.policy.processes, states["of_processes"]
        if of_processes and len(of_processes) != processes.count:
            raise CheckpointError(
                f"{checkpoint} was written by {len(of_processes)} processes, each with a state of its own, and there "
                f"are {processes.count} here: resume with as many"
            )
        found = states["shared"] | (of_processes[processes.index] if of_processes else {})
        if found.keys() != parts.keys():
            raise CheckpointError(
                f"{checkpoint} has the states of {', '.join(sorted(found))}, and those of {', '.join(sorted(parts))} "
                "are needed: resume with the same configuration"
            )
        return dict(found)


def remove_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint. A kill meanwhile leaves nothing that has a checkpoint's name and is not whole."""
    hidden = checkpoint.with_name(f".{checkpoint.name}.removed")
    if hidden.exists():  # such a kill's
        shutil.rmtree(hidden)
    checkpoint.rename(hidden)
    shutil.rmtree(hidden)


def _check_same(checkpoint: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any], within: str = "") -> None:
    """Raise `CheckpointError` with the first key, dotted where it lies in another, that was otherwise."""
    for key in sorted(saved.keys() | wanted.keys()):
        there, here, name = saved.get(key), wanted.get(key), f"{within}{key}"
        if isinstance(there, dict) and isinstance(here, dict):
            _check_same(checkpoint, there, here, f"{name}.")
        elif there != here and not (name == "model" and there and here and Path(there).resolve() == Path(here)):
            way_out = "resume with the same configuration"
            if name == "max_steps":  # which is free where the learning rate does not depend on the end
                way_out += (
                    f", or begin a run that trains on from it (--model {checkpoint} and another --output_dir); a run "
                    "whose lr_scheduler_type is constant from the start can be made longer"
                )
            raise CheckpointError(
                f"{checkpoint} is of another run: {name} was {there!r} there and is {here!r} here; {way_out}"
            )


def _is_finite(state: Any) -> bool:
    """Whether all numbers of a state are finite."""
    if isinstance(state, torch.Tensor):
        return bool(state.isfinite().all())
    if isinstance(state, Mapping):
        return all(map(_is_finite, state.values()))
    if isinstance(state, list | tuple):
        return all(map(_is_finite, state))
    return not isinstance(state, float) or math.isfinite(state)


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
