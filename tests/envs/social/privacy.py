"""Privacy by search: is anything in a seat's prompts that another was told alone and nobody has said?"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from agentgym.envs import TextAECEnv
from agentgym.envs.hostile import HOSTILE_ACTIONS, random_actions
from agentgym.envs.multi_agent import Partner, SeatedPartner, StatefulPartner

_PIECES = re.compile(r"[.,:;\n]+\s*")


def private_pieces(game: TextAECEnv) -> dict[str, set[str]]:
    """By seat what a game that has just been reset told it and no other: pieces between punctuation marks.

    A list gives its entries, "worth to you: hat 3, book 1" gives "hat 3" and "book 1".
    """
    shown = {
        seat: f"{game.observe(seat)}\n{game.infos[seat].get('task', '')}\n{game.instructions[seat]}"
        for seat in game.agents
    }
    pieces = {seat: {piece for piece in _PIECES.split(text) if piece.strip()} for seat, text in shown.items()}
    return {
        seat: {
            piece
            for piece in pieces[seat]
            if not any(contains(shown[other], piece) for other in game.agents if other != seat)
        }
        for seat in game.agents
    }


def contains(text: str, piece: str) -> bool:
    """The piece stands in the text, in whatever case, with no letter or digit next to it."""
    if piece.lower() not in text.lower():  # much the quicker
        return False
    return re.search(rf"(?<!\w){re.escape(piece)}(?!\w)", text, re.IGNORECASE) is not None


def hostile_actor(seed: int) -> Partner:
    """An actor for any game: strings that break parsers, and near misses of its admissible actions."""
    rng = random.Random(seed)
    short = [action for action in HOSTILE_ACTIONS if len(action) < 1000]

    def act(observation: str, info: Mapping[str, object]) -> str:
        words = info.get("admissible_actions")
        words = tuple(words) if isinstance(words, list) else ()
        if words and rng.random() < 0.4:
            return rng.choice(words)
        return rng.choice(short) if rng.random() < 0.5 else random_actions(rng, 1, words)[0]

    return act


def leaks(
    game: TextAECEnv,
    actors: Callable[[int], Mapping[str, Partner]],
    seeds: range,
    private: Callable[[TextAECEnv], Mapping[str, set[str]]] = private_pieces,
) -> list[str]:
    """What is found over the episodes of `seeds`, in words: nothing, where the game keeps secrets.

    Args:
        game: whose prompts are searched: what `observe` gives each seat after every turn, `instructions`, and "task"
            in its info. Everything that was said is taken out of suspicion, whoever said it.
        actors: who holds each seat in an episode; they are seated and reset as `OneSeat` does.
        seeds: of the tasks.
        private: by seat what only it was told, in a game that has just been reset.
    """
    found = []
    for seed in seeds:
        game.reset(seed=seed)
        secrets = {owner: pieces for owner, pieces in private(game).items() if pieces}
        assert secrets, f"seed {seed}: nobody was told anything of its own"
        players = actors(seed)
        for seat, player in players.items():
            if isinstance(player, SeatedPartner):
                player.sit(game, seat)
            if isinstance(player, StatefulPartner):
                player.reset(seed)
        said = ""
        searched: dict[str, str] = {}
        while True:
            for reader in game.agents:
                prompt = f"{game.observe(reader)}\n{game.infos[reader].get('task', '')}\n{game.instructions[reader]}"
                if prompt == searched.get(reader):
                    continue
                searched[reader] = prompt
                for owner in secrets.keys() - {reader}:
                    found += [
                        f"seed {seed}: {reader} reads {piece!r} of {owner}"
                        for piece in secrets[owner]
                        if contains(prompt, piece) and not contains(said, piece)
                    ]
            if game.is_over:
                break
            seat = game.agent_selection
            action = players[seat](game.observe(seat), game.infos[seat])
            said += f"\n{action}"
            game.step(action)
    return found
