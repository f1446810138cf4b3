"""Which split (train, valid, test) a task belongs to, by a stable hash of the task itself.

A hash needs no list of tasks, is the same on every machine and Python version, and makes the splits disjoint
by construction: whatever seed finds a task, the task always falls into the same split.
"""

from __future__ import annotations

from hashlib import blake2b

from agentgym.envs.text_env import SPLITS, Split

__all__ = ["SPLITS", "Split", "split_of"]


def split_of(task: str) -> Split:
    """The split of `task` (its canonical text, such as a map's rows): 80% train, 10% valid, 10% test."""
    digest = blake2b(task.encode("utf-8")).digest()
    bucket = int.from_bytes(digest[:4], "big") % 10
    if bucket < 8:
        return "train"
    return "valid" if bucket == 8 else "test"
