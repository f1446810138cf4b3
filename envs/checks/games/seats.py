"""What seats are promised: types of all they are told, turns, ends, rewards, and an answer to whatever they say."""

from __future__ import annotations

import random
from typing import Any

from gymnasium.error import ResetNeeded

from agentgym.envs.checks.games.subject import GameSubject, episode, expert_action, random_action
from agentgym.envs.checks.step import LONGEST_ANSWER, check_info, is_utf8
from agentgym.envs.checks.subject import SHORT, Words, expect, fail, is_finite
from agentgym.envs.hostile import HOSTILE_ACTIONS
from agentgym.envs.multi_agent import TextAECEnv
from agentgym.envs.text_space import TextSpace


def check_seats(subject: GameSubject) -> None:
    """Seats, rules for each, spaces, task types, splits and partners are there, and of the right types."""
    game = subject.new()
    expect(isinstance(game, TextAECEnv), "a TextAECEnv", Words(type(game).__name__))
    seats = getattr(game, "possible_agents", None)
    named = isinstance(seats, list) and seats and all(isinstance(seat, str) and seat for seat in seats)
    expect(named and len(set(seats or ())) == len(seats or ()), "possible_agents to be a list of names", seats)
    for seat in game.possible_agents:
        rules = game.instructions.get(seat)
        expect(isinstance(rules, str) and rules.strip(), f"instructions[{seat!r}] in words", rules)
        for space in (game.observation_space, game.action_space):
            is_same = isinstance(space(seat), TextSpace) and space(seat) is space(seat)
            expect(is_same, f"one TextSpace for {seat} at every call of {space.__name__}", space(seat))
    for name in ("task_types", "splits"):
        value = getattr(game, name, None)
        correct = isinstance(value, tuple) and value and all(isinstance(item, str) for item in value)
        expect(correct, f"{name} to be a tuple of strings, not empty", value)
    expect(type(game.max_turns) is int and game.max_turns > 0, "max_turns to be an int above 0", game.max_turns)
    for name, weight in game.mixture.items():
        expect(name in game.partners, f"the mixture's {name!r} among partners", sorted(game.partners))
        expect(is_finite(weight) and weight > 0, f"a weight above 0 for the mixture's {name!r}", weight)
    for name, new in game.partners.items():
        expect(callable(new()), f"partners[{name!r}]() to be callable", new())


def check_told(subject: GameSubject) -> None:
    """Everything that all seats are told has the promised type; `success` comes only with the end."""
    for seed in subject.seeds:
        game = subject.new()
        for number, now in enumerate(episode(game, seed, subject.script(seed))):
            where = f"after act {number} of seed {seed}"
            for seat in game.possible_agents:
                text, reward, info = now.observations[seat], now.rewards.get(seat), now.infos.get(seat)
                expect(isinstance(text, str), f"what {seat} observes to be a str {where}", text)
                expect(is_finite(reward), f"rewards[{seat!r}] to be a finite number {where}", reward)
                expect(isinstance(info, dict), f"infos[{seat!r}] to be a dict {where}", info)
                check_info(now.infos[seat], game.task_types, f"of {seat} {where}")
                over = now.terminations[seat]
                expect(over or not now.infos[seat]["success"], f"success of {seat} only when terminated {where}", True)
                if number == 0:
                    expect(now.infos[seat]["is_action_valid"], f"is_action_valid of {seat} to be True at reset", False)


def check_who_may_act(subject: GameSubject) -> None:
    """`to_act` names living seats, `agent_selection` is its first, and a living seat answers with a string alone."""
    for seed in subject.seeds:
        game = subject.new()
        game.reset(seed=seed)
        for action in subject.script(seed):
            to_act = tuple(game.to_act)
            known = len(set(to_act)) == len(to_act) > 0 and set(to_act) <= set(game.agents)
            expect(known, "to_act to name seats of the game, each once", to_act)
            expect(game.agent_selection == to_act[0], f"agent_selection to be {to_act[0]!r}", game.agent_selection)
            _expect_refused(game, None, TypeError, f"{game.agent_selection}, who is alive,")
            turns = dict(game.turns)
            game.step(action)
            turns[to_act[0]] += 1
            expect(game.turns == turns, f"one more turn of {to_act[0]} alone: {turns}", game.turns)
            stays = game.is_over or set(to_act[1:]) <= set(game.to_act)
            expect(stays, f"{', '.join(to_act[1:])} to act still, as they were to at once", tuple(game.to_act))


def check_game_end(subject: GameSubject) -> None:
    """No seat has more than `max_turns`; all seats end together, terminated or truncated and not both."""
    for seed in subject.seeds:
        for action in ("", None):
            game, rng = subject.new(), random.Random(seed)
            game.reset(seed=seed)
            most = game.max_turns * len(game.possible_agents)
            for _ in range(most):
                if game.is_over:
                    break
                game.step(random_action(game, rng) if action is None else action)
            where = f"after {most} acts of seed {seed}"
            expect(game.is_over, f"an end of the game {where} (max_turns {game.max_turns})", Words("no end"))
            ends = [(game.terminations[seat], game.truncations[seat]) for seat in game.possible_agents]
            expect(len(set(ends)) == 1, "all seats to end together", ends)
            expect(sum(ends[0]) == 1, "terminated or truncated, one of them", ends[0])
            expect(max(game.turns.values()) <= game.max_turns, f"at most {game.max_turns} turns a seat", game.turns)


def check_dead_seats(subject: GameSubject) -> None:
    """After the end each seat takes `step(None)` once, and is told its last reward before; then nobody is left."""
    for seed in subject.seeds:
        game, rng = subject.new(), random.Random(seed)
        _expect_refused(game, "", ResetNeeded, "a game that has not begun")
        earned, total = dict.fromkeys(game.possible_agents, 0.0), dict.fromkeys(game.possible_agents, 0.0)
        game.reset(seed=seed)
        left = []
        for seat in game.agent_iter(max_iter=100_000):
            _, reward, terminated, truncated, _ = game.last()
            total[seat] += reward
            if terminated or truncated:
                left.append(seat)
                _expect_refused(game, "text", ValueError, f"{seat}, who is dead,")
                game.step(None)
                continue
            game.step(random_action(game, rng))
            for who, just in game.rewards.items():
                earned[who] += just
        expect(sorted(left) == sorted(earned), "each seat to leave once after the end", left)
        for seat in earned:
            close = abs(total[seat] - earned[seat]) < 1e-9
            expect(close, f"last() to have told {seat} all of its {earned[seat]:g} earned", total[seat])
        _expect_refused(game, None, ResetNeeded, "a game that is over")


def check_zero_sum(subject: GameSubject) -> None:
    """Where a game promises `zero_sum`, what the seats earn in a game sums to 0."""
    if not subject.new().zero_sum:
        return
    game = subject.new()
    for seed in (*subject.seeds, *range(1000, 1000 + subject.tasks_per_split)):
        game.reset(seed=seed)
        rng, total = random.Random(seed), 0.0
        while not game.is_over:
            game.step("" if rng.random() < 0.1 else random_action(game, rng))
            total += sum(game.rewards.values())
        expect(abs(total) < 1e-9, f"rewards that sum to 0 in the game of seed {seed} (zero_sum)", total)


def check_game_admissible_actions(subject: GameSubject) -> None:
    """Every admissible action of the seat to act is valid when it is played. At most 30 are tried in each state."""
    for seed in subject.seeds:
        game = subject.new()
        game.reset(seed=seed)
        for action in subject.script(seed):
            state, seat = game.snapshot(), game.agent_selection
            for admissible in game.infos[seat].get("admissible_actions", [])[:30]:
                game.step(admissible)
                valid = game.infos[seat]["is_action_valid"]
                expect(valid, f"{seat}'s admissible action {admissible!r} to be valid", Words("is_action_valid=False"))
                game.restore(state)
            game.step(action)


def check_game_hostile_actions(subject: GameSubject) -> None:
    """Any string of any seat is answered: with text that can be stored, and no error, for all seats."""
    game, over, said = subject.new(), True, 0
    for action in HOSTILE_ACTIONS * len(game.possible_agents):
        if over:
            game.reset(seed=subject.seeds[0])
            said = 0
        what = f"an answer to {game.agent_selection}'s action {SHORT.repr(action)}"
        try:
            game.step(action)
        except Exception as error:
            fail(what, Words(f"{type(error).__name__}: {error}"))
        over, said = game.is_over, said + len(action)
        for seat in game.possible_agents:
            text, reward = game.observe(seat), game.rewards[seat]
            expect(isinstance(text, str) and is_utf8(text), f"{what} that {seat} can store", text)
            most = LONGEST_ANSWER + 3 * said  # a game may pass on all that is said, with marks at its lines
            expect(len(text) < most, f"{what} below {most:,} characters", Words(f"{len(text):,}"))
            expect(is_finite(reward), f"{what} with a finite reward for {seat}", reward)
            success = game.infos[seat]["success"] and not game.terminations[seat]
            expect(not success, f"{what} without success of {seat}", Words("success=True"))


def check_game_expert(subject: GameSubject) -> None:
    """Where a game has an expert, what it plays for every seat is valid."""
    for seed in subject.seeds:
        game = subject.new()
        game.reset(seed=seed)
        while not game.is_over:
            seat = game.agent_selection
            action = expert_action(game, seat)
            if action is None:
                break
            game.step(action)
            valid = game.infos[seat]["is_action_valid"]
            expect(valid, f"the expert's action {action!r} for {seat} to be valid", Words("is_action_valid=False"))


def _expect_refused(game: TextAECEnv, action: Any, error: type[Exception], who: str) -> None:
    try:
        game.step(action)
    except error:
        return
    fail(f"step({action!r}) of {who} to raise {error.__name__}", Words("an answer"))
