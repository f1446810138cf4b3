"""Demonstrations: an expert, or a file of what was played, in the tokens that an agent would have written."""

from __future__ import annotations

from dataclasses import replace

from agentgym.agents.agent import Decision, ExpertAgent, InstantAgent, View, planned_action
from agentgym.agents.llm_agent import LLMAgent
from agentgym.agents.trajectory import StopReason, Trajectory, Turn


class Demonstrator(InstantAgent):
    """The expert, who writes its actions as `scribe`, a language model's agent, would: prompt, form and tokens.

    Where the expert knows no way to success any more the episode ends: nobody should learn what follows.
    """

    trainable = True

    def __init__(self, expert: ExpertAgent, scribe: LLMAgent):
        super().__init__()
        self.expert, self.scribe = expert, scribe

    def decide(self, view: View) -> Decision:
        """See `InstantAgent.decide`."""
        try:
            if planned_action(view.env, view.seat) is None:
                return Decision("", stop_reason=StopReason.TERMINATED)
        except NotImplementedError:
            raise
        except Exception as error:  # a search server that is down, say
            return Decision("", error=error)
        decision = self.expert.decide(view)
        return decision if decision.error is not None else self.scribe.write(view, decision.action)


def rewritten(trajectory: Trajectory, scribe: LLMAgent, rules: str) -> Trajectory:
    """What anybody played, as `scribe` would have written it: its prompts, and the responses in its tokens.

    Responses are kept word for word where `scribe`'s format reads the same action from them, else the action is
    written in that format. Turns that do not fit into the model's context are left out, with all after them.
    """
    turns: list[Turn] = []
    for turn in trajectory.turns:
        info = {"task": trajectory.task}
        view = View(
            trajectory.episode, trajectory.seat, rules, turn.observation, info, turns, seed=trajectory.seed, env=None
        )
        kept = turn.response if scribe.format.parse(turn.response).action == turn.action else None
        decision = scribe.write(view, turn.action, response=kept)
        if decision.stop_reason is not None:
            return replace(
                trajectory,
                turns=turns,
                stop_reason=decision.stop_reason,
                final_observation=turn.observation,
                final_state_key=turn.state_key,
            )
        turns.append(
            replace(
                turn,
                response=decision.response,
                continues=decision.continues,
                prompt_ids=decision.prompt_ids,
                response_ids=decision.response_ids,
                logprobs=[],
                parts=decision.parts,
                spans=decision.spans,
                fault=decision.fault,
            )
        )
    return replace(trajectory, turns=turns)
