"""Turns a second of every registered game of several seats: `python benchmarks/social_speed.py [ID …]`.

No model plays: each episode is written down once, by the game's own experts after some talk and a refused offer, and
then played again from its text through PettingZoo's loop (`agent_iter`, `last`, `step`), resets included, without
wrappers. One process, one thread, CPU seconds; the best of five passes, each with tasks of its own, since other work on
the machine only slows it down. What a game keeps between episodes (solved scenarios) is warm.
"""

from __future__ import annotations

import itertools
import sys
import time

from agentgym.envs import NoPlanError, TextAECEnv, make_game, registered_games

EPISODES, PASSES = 400, 5
TALK = (
    "Good morning!",
    "propose: 99 unicorn, accept",
    "What do you need most?",
    "I could use a little more than that.",
)
"""Said in turn by the seats before the experts act: words, and what some games refuse."""


def script(game: TextAECEnv, seed: int) -> list[str]:
    """The actions of an episode, for whoever is to act."""
    game.reset(seed=seed)
    actions = []
    for talk in itertools.chain(TALK, itertools.repeat(None)):
        if game.is_over:
            return actions
        actions.append(talk or expert_action(game))
        game.step(actions[-1])
    raise AssertionError("itertools.repeat has no end")


def expert_action(game: TextAECEnv) -> str:
    """What the expert of the seat to act does, and words where there is none."""
    try:
        return game.expert(game.agent_selection)
    except (NotImplementedError, NoPlanError):
        return TALK[0]


def turns_a_second(game: TextAECEnv) -> tuple[float, float]:
    """Turns a second, and turns of an episode on average."""
    turns, seconds = 0, []
    for number in range(PASSES):
        scripts = {seed: script(game, seed) for seed in range(number * EPISODES, (number + 1) * EPISODES)}
        turns += sum(map(len, scripts.values()))
        start = time.process_time()
        for seed, actions in scripts.items():
            game.reset(seed=seed)
            said = iter(actions)
            for _seat in game.agent_iter():
                _, _, terminated, truncated, _ = game.last()
                game.step(None if terminated or truncated else next(said))
        seconds.append((time.process_time() - start) / sum(map(len, scripts.values())))
    return 1 / min(seconds), turns / EPISODES / PASSES


def main(ids: list[str]) -> None:
    """Print a line for each game."""
    print(f"{'game':<36} {'turns/s':>10} {'turns an episode':>18}")
    for env_id in ids or registered_games():
        game = make_game(env_id)
        speed, length = turns_a_second(game)
        print(f"{env_id:<36} {speed:>10,.0f} {length:>18.1f}")
        game.close()


if __name__ == "__main__":
    main(sys.argv[1:])
