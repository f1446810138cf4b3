"""TextArena's games, where its rules are the games': each file of the folder is a game."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agentgym.envs.social.kuhn_poker_v0 import KuhnPoker
from agentgym.envs.social.matrix_game_v0 import MatrixGame
from agentgym.envs.social.tic_tac_toe_v0 import TicTacToe

from ..compare import Case, Report
from .deals import check_simple_negotiation


def textarena(path: Path) -> Iterator[Case]:
    """The adapter of the folder: a list of games a file, told apart by the file's name."""
    check = CHECKS[path.stem]
    for index, game in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        yield Case(f"[{index}] seed {game['seed']}", partial(check, game))


def check_tic_tac_toe(trace: dict[str, Any], report: Report) -> None:
    """Everything: what is refused, whose turn it is, the board, the end and who wins."""
    game = TicTacToe()
    game.reset(seed=0)
    for t, turn in enumerate(trace["turns"]):
        report.same(f"turn {t}: to move", game.possible_agents.index(game.agent_selection), turn["player"])
        mover = game.agent_selection
        game.step(turn["action"])
        info = game.infos[mover]
        report.same(f"turn {t}: refused", not info["is_action_valid"], turn["invalid"])
        report.same(f"turn {t}: board", info["state_key"].rstrip("?"), turn["board"])
        report.same(f"turn {t}: done", game.is_over, turn["done"])
    for player, seat in enumerate(game.possible_agents):
        report.number(f"reward of {seat}", game.rewards[seat], trace["rewards"][str(player)])


def check_kuhn_poker(trace: dict[str, Any], report: Report) -> None:
    """The legal actions in each situation, what is refused, whose turn it is and who wins each round.

    Not its payoffs: there a bet moves no chip, and an ante is taken for a round after the last.
    """
    before, first = trace["start"], trace["start"]["first_player"]
    report.same("who begins", first, trace["turns"][0]["player"])
    game = KuhnPoker()
    for t, turn in enumerate(trace["turns"]):
        if game.is_over:
            cards, first = before["cards"], turn["player"]
            game.reset(seed=0, options={"deal": cards[first] + cards[1 - first]})
        players = {"first": first, "second": 1 - first}
        mover = game.agent_selection
        report.same(f"turn {t}: to move", players[mover], turn["player"])
        legal = [f"[{action}]" for action in before["legal"]]
        report.same(f"turn {t}: legal", sorted(game.infos[mover]["admissible_actions"]), sorted(legal))
        game.step(turn["action"])
        report.same(f"turn {t}: refused", not game.infos[mover]["is_action_valid"], turn["invalid"])
        report.same(f"turn {t}: the round is over", game.is_over, turn["round"] > before["round"] or turn["done"])
        if game.is_over and not turn["invalid"]:
            winner = next(player for seat, player in players.items() if game.rewards[seat] > 0)
            won = [after - chips for after, chips in zip(turn["chips"], before["chips"], strict=True)]
            report.same(f"turn {t}: winner", winner, won.index(max(won)))
        before = turn


def check_prisoners_dilemma(trace: dict[str, Any], report: Report) -> None:
    """The matrix, the phases and the scores; nobody is told of a decision before both have decided.

    There whatever has no "[Defect]" cooperates; here it would be asked again, so what is unclear is decided for it.
    """
    order = ("both_cooperate", "temptation", "sucker", "both_defect")
    game = MatrixGame(rounds=trace["rounds"], talk=trace["communication_turns"])
    game.reset(seed=0, options={"payoffs": tuple(trace["payoff"][name] for name in order)})
    for t, turn in enumerate(trace["turns"]):
        mover, other = turn["player"], game.possible_agents[1 - turn["player"]]
        report.same(f"turn {t}: to move", game.possible_agents.index(game.agent_selection), mover)
        heard, action = game.observe(other), turn["action"]
        if not game.is_talking and "[defect]" not in action.lower():
            action = "[cooperate]"
        game.step(action)
        if len(game.to_act) == 1:
            report.same(f"turn {t}: told too early", game.observe(other), heard)
        report.same(f"turn {t}: talk", game.is_talking or game.is_over, turn["phase"] == "conversation" or turn["done"])
        report.number(f"turn {t}: scores", [float(total) for total in game.totals], turn["scores"])
        report.same(f"turn {t}: done", game.is_over, turn["done"])


def check_ultimatum(trace: dict[str, Any], report: Report) -> None:
    """Who offers and who answers, what is refused, what both have. A second refusal in a row loses there: not here."""
    game = MatrixGame(kind="ultimatum", rounds=trace["max_turns"] // 2)
    game.reset(seed=0, options={"pool": trace["pool"], "alternates": trace["alternate_roles"]})
    for t, turn in enumerate(trace["turns"]):
        mover = game.agent_selection
        report.same(f"turn {t}: to move", game.possible_agents.index(mover), turn["player"])
        if turn["invalid"] and turn["done"]:
            return
        game.step(turn["action"])
        report.same(f"turn {t}: refused", not game.infos[mover]["is_action_valid"], turn["invalid"])
        report.number(f"turn {t}: totals", [float(total) for total in game.totals], turn["totals"])
        report.same(f"turn {t}: done", game.is_over, turn["done"])


CHECKS: dict[str, Callable[[dict[str, Any], Report], None]] = {
    "iterated_prisoners_dilemma": check_prisoners_dilemma,
    "iterated_ultimatum": check_ultimatum,
    "kuhn_poker": check_kuhn_poker,
    "simple_negotiation": check_simple_negotiation,
    "tic_tac_toe": check_tic_tac_toe,
}
