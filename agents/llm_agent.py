"""The trainable agent: observation → prompt tokens → response tokens → action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from agentgym.agents.agent import Decision, Episode
from agentgym.agents.contexts import ChatPieces, Context
from agentgym.agents.engines import Engine, Sample, SamplingParams
from agentgym.agents.formats import Format
from agentgym.agents.token_spans import token_spans
from agentgym.agents.trajectory import StopReason, Trajectory, Turn, added_prompt, tokens_through

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class LLMAgent:
    """A language model that plays. It works on token ids throughout; text is decoded for the environment."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: Context,
        format: Format,
        sampling: SamplingParams,
        context_length: int,
    ):
        """`context_length`: an episode whose next prompt leaves no room for a response in it is ended."""
        self.engine = engine
        self.tokenizer = tokenizer
        self.context = context
        self.format = format
        self.sampling = sampling
        self.context_length = context_length
        self._pieces: dict[str, ChatPieces] = {}

    def act(self, episodes: Sequence[Episode]) -> list[Decision]:
        """See `Agent.act`."""
        prompts = [
            self._prompt(episode.env.instructions, episode.trajectory.turns, episode.observation, episode.info)
            for episode in episodes
        ]
        longest = self.context_length - self.sampling.max_new_tokens
        fitting = [i for i, prompt in enumerate(prompts) if len(prompt) <= longest]
        samples = self.engine.generate(
            [prompts[i] for i in fitting], [_turn_seed(episodes[i]) for i in fitting], self.sampling
        )
        decisions = [Decision(action="", stop_reason=StopReason.CONTEXT_OVERFLOW) for _ in episodes]
        for i, sample in zip(fitting, samples, strict=True):
            decisions[i] = self._decide(prompts[i], episodes[i].trajectory.turns, sample)
        return decisions

    def prompts(self, trajectory: Trajectory, rules: str) -> list[list[int]]:
        """What the agent was shown before each turn, and what it would be shown after the last: tokens.

        `rules`: the environment's instructions. The last is without admissible actions, for none is asked for; and
        without the observation that ends an episode ("Your answer is right."), which no agent ever sees.
        """
        turns = trajectory.turns
        observation = trajectory.final_observation if trajectory.truncated else ""
        last = self._prompt(rules, turns, observation, {"task": trajectory.task})
        return [*trajectory.prompts(), last]

    def _prompt(self, rules: str, turns: Sequence[Turn], observation: str, info: Mapping[str, Any]) -> list[int]:
        instructions = "\n".join(filter(None, [rules, self.format.instructions]))
        if instructions not in self._pieces:
            self._pieces[instructions] = ChatPieces(self.tokenizer, instructions)
        pieces = self._pieces[instructions]
        return self.context.prompt(pieces, turns, observation, pieces.end_of_turn_id, info)

    def _decide(self, prompt: list[int], turns: Sequence[Turn], sample: Sample) -> Decision:
        response = self._decode(sample.ids)
        parsed = self.format.parse(response)
        continues, added = added_prompt(tokens_through(turns), prompt)
        return Decision(
            action=parsed.action,
            response=response,
            continues=continues,
            prompt_ids=added,
            response_ids=sample.ids,
            logprobs=sample.logprobs,
            parts=dict(parsed.parts),
            spans=token_spans(self._decode, sample.ids, parsed.spans),
            policy_step=sample.policy_step,
        )

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def _turn_seed(episode: Episode) -> int:
    """The seed of this turn's sampling: a hash of the episode's seed and the turn."""
    digest = blake2b(f"{episode.sampling_seed}/{episode.turn}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
