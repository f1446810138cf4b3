"""Where demonstrations lie, and that they stay what they were: an absolute path with a hash."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from agentgym.agents.run_files import list_trajectories
from agentgym.agents.trajectory import Trajectory, read_trajectories

EXPERT = "expert"
_MARK = "#sha256:"


def pinned(source: str) -> str:
    """`source` with the hash of what it holds, as a run keeps it; "expert" as it is.

    Raises `ValueError` in one line where there is none, or another than the hash that `source` already has.
    """
    if source == EXPERT:
        return source
    path, _, known = source.partition(_MARK)
    place = Path(path).expanduser().absolute()
    digest = sha256()
    for file in _files(place):
        digest.update(file.read_bytes())
    found = digest.hexdigest()[:16]
    if known and known != found:
        raise ValueError(f"demonstrations: {place} has changed since the run began: clone it anew in another run")
    return f"{place}{_MARK}{found}"


def read_demonstrations(source: str, env_id: str, *, successes: bool, key: str = "demonstrations") -> list[Trajectory]:
    """The trajectories of a file or a run; of a run the `successes` alone, if so wished.

    `key`: what the source was named as. Raises `ValueError` in one line where there are none, and for those of another
    environment.
    """
    path = Path(source.partition(_MARK)[0]).expanduser()
    is_chosen = successes and path.is_dir()
    everything = (trajectory for file in _files(path, key) for trajectory in read_trajectories(file))
    once = (trajectory for trajectory in everything if trajectory.is_own_play)
    found = [trajectory for trajectory in once if (trajectory.success if is_chosen else trajectory.counts)]
    if not found:
        raise ValueError(f"{key}: there is no {'success' if is_chosen else 'trajectory'} in {path}")
    if foreign := {trajectory.env_id for trajectory in found} - {env_id}:
        raise ValueError(f"{key}: {path} is of {', '.join(sorted(foreign))}, and env_id is {env_id}")
    return found


def _files(path: Path, key: str = "demonstrations") -> list[Path]:
    if path.is_dir():
        return [file for of_step in list_trajectories(path).values() for file in of_step]
    if not path.is_file():
        also = f'; there is also "{EXPERT}"' if key == "demonstrations" else ""
        raise ValueError(f"{key}: {path} is no file and no directory{also}")
    return [path]
