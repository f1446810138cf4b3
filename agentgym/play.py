"""An episode in the terminal: what `agentgym play` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from agentgym.agents.agent import Decision, HumanAgent, InstantAgent, View
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.partners import LEARNER, Company
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import Trajectory
from agentgym.envs import make, make_game
from agentgym.envs.names import unknown
from agentgym.envs.one_seat import MIXTURE
from agentgym.evaluate import Agents
from agentgym.seating import Seating, company, partner_weights

HUMAN = "human"


class Shown(InstantAgent):
    """A player whose views are printed."""

    def __init__(self, player: InstantAgent, console: Console, *, tells_seats: bool):
        """`tells_seats`: several sit at this terminal, and are told whose turn it is."""
        super().__init__()
        self.player, self.console, self.tells_seats = player, console, tells_seats

    def decide(self, view: View) -> Decision:
        """See `InstantAgent.decide`."""
        if self.tells_seats:
            self.console.rule(view.seat)
        if view.turn == 0:
            self.console.print(f"{view.rules}\n", style="dim")
        self.console.print(f"{view.observation}\n")
        return self.player.decide(view)


@dataclass(frozen=True)
class Table:
    """A world, and who plays in it."""

    env_id: str
    make_env: Callable[[], Any]
    player: InstantAgent
    seats: tuple[str, ...]
    """The player's own; none in a world of which one seat is played."""
    company_of: Callable[[InstantAgent], Company] | None
    """Who plays where seats are several."""
    agents: Agents
    """The models that play."""

    @classmethod
    def of(
        cls,
        env_id: str,
        player: InstantAgent,
        split: str,
        env_kwargs: dict[str, Any],
        seat: str | None,
        partner: str | None,
    ) -> Table:
        """The table that a command describes. With `seat` or `partner` the world is a game with all its seats.

        Raises `ValueError` in one line for what cannot be made, and for seats and partners that do not exist.
        """
        agents = Agents()
        if seat is None and partner is None:
            make_env: Callable[[], Any] = partial(make, env_id, split=split, **env_kwargs)
            make_env().close()
            return cls(env_id, make_env, player, (), None, agents)
        make_env = partial(make_game, env_id, split=split, **env_kwargs)
        game = make_env()
        seats = list(game.possible_agents)
        seat = seats[0] if seat is None else seat
        if seat not in seats:
            raise ValueError(f"--seat: {unknown('the game has no seat', seat, seats)}")
        if partner == HUMAN and isinstance(player, HumanAgent):
            seating = Seating(tuple(seats), {})
        elif partner == HUMAN:
            raise ValueError("--partner human: then --agent is human too: people hold all the seats")
        else:
            weights = partner_weights(partner or MIXTURE, game, "--partner")
            seating = Seating((seat,), {other: weights for other in seats if other != seat})
        for name in seating.names:
            agents.partner(game, name)  # loads it now: a model that cannot be is a fault of the call
        source = partial(agents.partner, game)
        return cls(
            env_id,
            make_env,
            player,
            seating.learners,
            lambda shown: company(seating, shown, source),
            agents,
        )


def play_episode(table: Table, seed: int, console: Console) -> Trajectory:
    """Play an episode as the player's seat, or all people's, see it; return the (first) player's trajectory."""
    shown = Shown(table.player, console, tells_seats=len(table.seats) > 1)

    told: Counter[str] = Counter()

    def show_turns(trajectory: Trajectory) -> None:
        """Those that are complete now: in a game the last ones of a seat are so at once."""
        if table.seats and trajectory.player != LEARNER:
            return
        who = f"{trajectory.seat}, " if len(table.seats) > 1 else ""
        for turn in trajectory.turns[told[trajectory.seat] :]:
            told[trajectory.seat] += 1
            console.print(f"{who}turn {told[trajectory.seat]}: {turn.action}   reward {turn.reward:g}", style="bold")

    seated = None if table.company_of is None else table.company_of(shown)
    spec = EpisodeSpec(table.env_id, seed, "", seed, {} if seated is None else seated.draw(seed))
    with ExitStack() as stack:
        for agent in table.agents.loaded.values():
            stack.enter_context(agent.serving())
        played = play(shown if seated is None else seated.players, table.make_env, [spec], on_turn=show_turns)
    own = [each for each in played if not table.seats or each.player == LEARNER or not each.counts]
    for trajectory in own:
        if trajectory.counts:
            _show_end(trajectory, console, tells_seat=len(own) > 1)
    return own[0]


def _show_end(trajectory: Trajectory, console: Console, *, tells_seat: bool) -> None:
    turns, total = len(trajectory.turns), trajectory.total_reward
    who = f"{trajectory.seat}: " if tells_seat else ""
    against = f", against {trajectory.partner}" if trajectory.partner and not tells_seat else ""
    console.print(f"{who}{trajectory.final_observation}\n")
    console.print(f"{who}{trajectory.stop_reason} after {turns} turns, return {total:.2f}{against}")
