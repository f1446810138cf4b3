"""What no seat may know: what others hold, and what they decide before all have decided."""

from __future__ import annotations

import random
from typing import Any

from agentgym.envs.checks.games.subject import GameSubject, expert_action, moment, random_action, reset
from agentgym.envs.checks.subject import SHORT, expect
from agentgym.envs.multi_agent import TextAECEnv


def check_at_once(subject: GameSubject) -> None:
    """Of several seats that decide at once none is told of another's decision before the last of them has answered."""
    for seed in subject.seeds:
        game = subject.new()
        before = reset(game, seed)
        at_once = set(game.to_act)
        waited_for = set(at_once)
        for action in subject.script(seed):
            actor = game.agent_selection
            game.step(action)
            now = moment(game)
            if now.infos[actor]["is_action_valid"] or actor not in now.to_act:
                waited_for.discard(actor)
            if not waited_for or not now.to_act or not set(now.to_act) <= waited_for:
                at_once, waited_for = set(now.to_act), set(now.to_act)  # all have answered: they may be told
            else:
                for seat in at_once - {actor}:
                    told = (now.observations[seat], now.infos[seat])
                    known = (before.observations[seat], before.infos[seat])
                    expect(told == known, f"{seat}, who decides at once with {actor}, to be told nothing yet", told)
            before = now


def check_look_alikes(subject: GameSubject) -> None:
    """Tasks that differ only in what a seat may not know look alike to it until another seat acts."""
    for seed in subject.seeds:
        game = subject.new()
        game.reset(seed=seed)
        for seat in game.possible_agents:
            views = [_until_another_acts(subject.new(), seat, seed, dict(o)) for o in game.look_alikes(seat)]
            for view in views[1:]:
                expect(
                    view == views[0],
                    f"{seat} to see the same of seed {seed} whatever the others hold: {SHORT.repr(views[0])}",
                    view,
                )


def check_privacy(subject: GameSubject) -> None:
    """No seat reads another's private part (its `info["task"]`), unless that seat said it."""
    game = subject.new()
    for seed in (*subject.seeds, *range(2000, 2000 + subject.tasks_per_split)):
        game.reset(seed=seed)
        rng, said = random.Random(seed), dict.fromkeys(game.possible_agents, "")
        secrets = {seat: str(info.get("task", "")) for seat, info in game.infos.items()}
        while True:
            for seat in game.possible_agents:
                shown = f"{game.instructions[seat]}\n{game.observe(seat)}\n{secrets[seat]}"
                for other in game.possible_agents:
                    secret = secrets[other]
                    own = other == seat or not secret or secret in secrets[seat] or secret in said[other]
                    expect(own or secret not in shown, f"{seat} not to read the task of {other}: {secret!r}", shown)
            if game.is_over:
                break
            actor = game.agent_selection
            action = (expert_action(game, actor) if rng.random() < 0.5 else None) or random_action(game, rng)
            said[actor] += f"\n{action}"
            game.step(action)


_KNOWN = ("task", "state_key", "admissible_actions", "is_action_valid", "task_type")
"""Keys of `info` that a seat, or what learns for it, may be shown."""


def _until_another_acts(game: TextAECEnv, seat: str, seed: int, options: dict[str, Any]) -> list[Any]:
    game.reset(seed=seed, options=options)
    view: list[Any] = []
    while not game.is_over:
        view.append((game.observe(seat), {key: game.infos[seat].get(key) for key in _KNOWN}))
        if game.agent_selection != seat:
            break
        game.step((game.infos[seat].get("admissible_actions") or [""])[0])
    return view
