"""The planner against plain breadth-first search, and on genuine Boxoban levels."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.envs.sokoban.boxoban import read_levels
from agentgym.envs.sokoban.level import Level
from agentgym.envs.sokoban.solver import SearchLimitExceeded, solve

State = tuple[frozenset[int], int]


def step(level: Level, boxes: frozenset[int], player: int, action: str) -> State | None:
    """The rules, written a second time: None if the move is not possible."""
    delta = {"up": -level.width, "down": level.width, "left": -1, "right": 1}[action]
    goal, beyond = player + delta, player + 2 * delta
    if goal in level.walls or (goal in boxes and (beyond in level.walls or beyond in boxes)):
        return None
    return (boxes - {goal} | {beyond} if goal in boxes else boxes), goal


def fewest_moves(level: Level, boxes: frozenset[int], player: int) -> int | None:
    """Breadth-first search over (boxes, player), without any pruning."""
    queue = deque([((boxes, player), 0)])
    seen = {(boxes, player)}
    while queue:
        state, moves = queue.popleft()
        if state[0] <= level.targets:
            return moves
        for action in ("up", "down", "left", "right"):
            after = step(level, *state, action)
            if after is not None and after not in seen:
                seen.add(after)
                queue.append((after, moves + 1))
    return None


def assert_solves(level: Level, boxes: frozenset[int], player: int, plan: tuple[str, ...] | None) -> None:
    assert plan is not None
    state: State | None = (boxes, player)
    for action in plan:
        assert state is not None and not state[0] <= level.targets, "a move after the solution"
        state = step(level, *state, action)
        assert state is not None, f"{action} is not possible"
    assert state is not None and state[0] == level.targets


def random_level(seed: int) -> Level:
    """Any level with up to 4 x 4 inner cells and three boxes, solvable or not, perhaps solved in part."""
    rng = random.Random(seed)
    height, width = rng.randint(4, 6), rng.randint(4, 6)
    inner = [row * width + column for row in range(1, height - 1) for column in range(1, width - 1)]
    count = rng.randint(1, min(3, (len(inner) - 1) // 2))
    player, *cells = rng.sample(inner, len(inner))
    boxes = frozenset(cells[:count])
    targets = frozenset(rng.sample(cells, count))
    others = [cell for cell in cells if cell not in boxes | targets]
    inner_walls = others[: rng.randint(0, len(inner) // 4)]
    walls = frozenset(range(height * width)) - frozenset(inner) | frozenset(inner_walls)
    return Level(height, width, walls, targets, boxes, player)


seeds = st.integers(0, 2**32 - 1)
# By seed, as hypothesis's own strategies mostly draw the smallest boards with their cells in order.
levels = seeds.map(random_level)


def played_backwards(level: Level, rng: random.Random) -> State:
    """From boxes on their targets, the player pulls the box behind him half of the times: always solvable."""
    boxes = level.targets
    player = rng.choice(sorted(level.neighbours.keys() - boxes))
    for _ in range(60):
        delta = rng.choice((-level.width, level.width, -1, 1))
        if player + delta in level.walls or player + delta in boxes:
            continue
        if player - delta in boxes and rng.random() < 0.5:
            boxes = boxes - {player - delta} | {player}
        player += delta
    return boxes, player


@given(levels)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_plans_are_as_short_as_breadth_first_search_finds(level: Level) -> None:
    plan = solve(level, level.boxes, level.player)
    expected = fewest_moves(level, level.boxes, level.player)
    if expected is None:
        assert plan is None
    else:
        assert_solves(level, level.boxes, level.player, plan)
        assert plan is not None and len(plan) == expected


@given(levels, seeds)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_states_that_have_a_solution_are_solved_in_the_fewest_moves(level: Level, seed: int) -> None:
    boxes, player = played_backwards(level, random.Random(seed))
    plan = solve(level, boxes, player)
    assert_solves(level, boxes, player, plan)
    assert plan is not None and len(plan) == fewest_moves(level, boxes, player)


def test_more_boxes_than_are_matched_exactly() -> None:
    level = Level.from_rows(["#" * 15, "#@            #", "#$#$#$#$#$#$#$#", "#.#.#.#.#.#.#.#", "#" * 15])
    plan = solve(level, level.boxes, level.player)
    assert_solves(level, level.boxes, level.player, plan)
    # Seven pushes, and six times one cell up and two to the right.
    assert plan is not None and len(plan) == 7 + 6 * 3 == fewest_moves(level, level.boxes, level.player)


def test_nothing_to_do_when_solved() -> None:
    level = Level.from_rows(["####", "#@*#", "####"])
    assert solve(level, level.boxes, level.player, max_expansions=1) == ()


def test_plans_from_any_state_of_a_level() -> None:
    level = Level.from_rows(["#######", "#@$  .#", "#######"])
    assert solve(level, level.boxes, level.player) == ("right",) * 3
    assert solve(level, frozenset({10}), 9) == ("right",) * 2
    assert solve(level, frozenset({10}), 11) is None


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(["#####", "#$  #", "# @.#", "#####"], id="box in a corner"),
        pytest.param(["######", "#    #", "# @ .#", "# $  #", "######"], id="box along a wall"),
        pytest.param(
            ["#######", "#@    #", "# $$  #", "# $$  #", "#.. ..#", "#######"],
            id="four boxes in a square",
        ),
        pytest.param(
            ["#######", "#  $$##", "#@    #", "# .   #", "#    .#", "#######"],
            id="two boxes side by side at a wall",
        ),
        pytest.param(["#######", "#.# $@#", "#######"], id="target out of reach"),
        pytest.param(["########", "#@ $$. #", "#  #  .#", "#   ####", "########"], id="two boxes, one way"),
    ],
)
def test_what_cannot_be_solved_has_no_plan(rows: list[str]) -> None:
    level = Level.from_rows(rows)
    assert fewest_moves(level, level.boxes, level.player) is None
    assert solve(level, level.boxes, level.player) is None


def test_frozen_boxes_are_seen_without_a_search() -> None:
    rows = ["##########", "#$$   @  #", "#     .  #", "#     $  #", "#     .  #", "#     .  #", "#    $   #"]
    rows += ["#        #", "#      . #", "##########"]
    level = Level.from_rows(rows)
    assert solve(level, level.boxes, level.player, max_expansions=1) is None


def test_the_search_limit_is_said_in_one_line() -> None:
    level = Level.from_rows(["########", "#@     #", "# $ $  #", "#   .  #", "#  . # #", "########"])
    with pytest.raises(SearchLimitExceeded) as caught:
        solve(level, level.boxes, level.player, max_expansions=2)
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value) == "no plan found within 2 states (max_expansions)"
    assert solve(level, level.boxes, level.player) is not None


def test_genuine_levels(test_data: Path) -> None:
    named = read_levels(test_data / "boxoban")
    for chosen in named[:: max(1, len(named) // 9)]:
        level = chosen.level
        plan = solve(level, level.boxes, level.player)
        assert_solves(level, level.boxes, level.player, plan)
