"""GraphGPO: what its graph says that a return does not, and what a file must tell."""

from __future__ import annotations

import numpy as np
import pytest

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute


def lived(success: bool, *rooms: str, group: str = "g") -> dict[str, object]:
    """An episode through these rooms, the last of which it ended in."""
    turns = [{"obs": room, "reward": 0.0, "valid": True} for room in rooms[:-1]]
    return {"group": group, "success": success, "final_obs": rooms[-1], "turns": turns}


def test_a_turn_of_a_failed_episode_is_worth_what_it_brought_it_nearer():
    batch = TurnBatch.from_dicts(
        [
            lived(True, "hall", "kitchen", "cellar", "unused"),
            lived(False, "hall", "attic", "hall", "cellar"),  # ends where one more turn would have done
            lived(False, "attic", "roof"),
            lived(False, "hall", "cellar", group="another"),
        ]
    )
    credit = compute("graphgpo", batch, epsilon=1e-9)
    assert batch.nest_turns(credit.parts["distance_after_T"]) == [[2, 1, 0], [3, 2, 1], [4], [1]]
    assert batch.nest_turns(credit.parts["graph_return_T"]) == [
        pytest.approx(returns) for returns in ([0.1, 1, 10], [0.01, 0.1, 1], [0.001], [0])
    ]
    in_hall = np.array([0.1, 0.01, 1])
    graph_T = credit.parts["graph_advantage_T"]
    assert graph_T[[0, 3, 5]] == pytest.approx((in_hall - in_hall.mean()) / in_hall.std(ddof=1))
    assert graph_T[[4, 6]] == pytest.approx([0.5**0.5, -(0.5**0.5)])  # the two that began in the attic
    assert graph_T[[1, 2, 7]].tolist() == [0, 0, 0]  # alone in their states


def test_what_a_file_must_tell_is_named():
    rows = [lived(True, "hall", "kitchen"), lived(False, "hall", "hall")]
    for key, message in {
        "final_obs": "graphgpo needs 'final_state_N' .*: trajectory 1 has no 'final_state_key' or 'final_obs'",
        "success": "graphgpo needs 'success_N' .*: trajectory 1",
    }.items():
        told = [rows[0], {name: value for name, value in rows[1].items() if name != key}]
        with pytest.raises(ValueError, match=message):
            compute("graphgpo", TurnBatch.from_dicts(told))
