"""An agent behind a server: what it is shown, what it costs, and that a failure is no silence."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.agents.agent import ExpertAgent
from agentgym.agents.chat_agent import API_KEY, ChatAgent
from agentgym.agents.episode import EpisodeSpec
from agentgym.agents.rollout import play
from agentgym.agents.trajectory import StopReason, Trajectory
from tests.envs.haggle import Haggle
from tests.judge_server import Answer, judge_server


def played(agent: ChatAgent, episodes: int = 3) -> list[Trajectory]:
    """Episodes of a game in which the server's model sells to the expert."""
    specs = [EpisodeSpec("tests/Haggle", seed, f"g{seed}", seed) for seed in range(episodes)]
    return play({"buyer": ExpertAgent(), "seller": agent}, Haggle, specs)


def test_it_is_shown_its_seats_dialogue_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY, "sk-secret")

    def sell(body: dict[str, Any]) -> Answer:
        return "offer 500" if len(body["messages"]) < 4 else "accept"

    with judge_server(sell) as server:
        agent = ChatAgent(server.url, "seller-1", max_tokens=20)
        trajectories = played(agent)
        agent.close()
    sellers = [t for t in trajectories if t.seat == "seller"]
    assert {turn.action for t in sellers for turn in t.turns} == {"offer 500", "accept"}
    assert all(t.counts for t in sellers)
    assert server.keys == {"Bearer sk-secret"} and "sk-secret" not in repr(vars(agent))
    asked = max((body["messages"] for body in server.asked), key=len)
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
    assert "You are the seller" in asked[0]["content"] and asked[2]["content"] == "offer 500"
    assert not any("worth" in message["content"] for message in asked)  # the buyer's own part
    assert agent.client.counts["requests"] == len(server.asked) == sum(len(t.turns) for t in sellers)
    assert len({body["seed"] for body in server.asked}) == len(server.asked)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((500, {}, "out of memory"), "status 500: out of memory"),
        ((200, {}, "no json"), "the answer is no chat completion"),
        ("", "an answer without text"),
        (1.0, "no answer within 0.3 s"),
    ],
)
def test_a_failure_is_excluded_and_no_silence(fault: Answer, message: str) -> None:
    with judge_server(lambda body: fault) as server:
        agent = ChatAgent(server.url, "seller-1", timeout=0.3, retries=0)
        trajectories = played(agent, episodes=1)
        agent.close()
    assert {t.stop_reason for t in trajectories} == {StopReason.ENV_ERROR}
    assert not any(t.counts for t in trajectories)
    assert any(message in t.error for t in trajectories)


def test_a_server_that_has_gone() -> None:
    with judge_server(lambda body: "accept") as server:
        pass
    agent = ChatAgent(server.url, "seller-1", retries=0)
    assert all("cannot be reached" in t.error for t in played(agent, episodes=1))
    agent.close()
