"""The trainable agent: observation → prompt tokens → response tokens → action."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from agentgym.agents.agent import Decision, View
from agentgym.agents.contexts import ChatPieces, Context
from agentgym.agents.engines import Engine, Request, Sample, SamplingParams
from agentgym.agents.formats import Format
from agentgym.agents.seeds import derived_seed
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
        trainable: bool = True,
        stop_ids: Sequence[int] = (),
    ):
        """`context_length`: an episode whose next prompt leaves no room for a response in it is ended.

        `trainable=False`: a frozen partner, whose turns are played and not learned from. `stop_ids`: what the engine
        ends a response with, beside the tokenizer's own end tokens; no part of its text.
        """
        self.engine = engine
        self.tokenizer = tokenizer
        self.context = context
        self.format = format
        self.sampling = sampling
        self.context_length = context_length
        self.trainable = trainable
        self.stop_ids = stop_ids
        self._keys = count()
        self._asked: dict[Hashable, tuple[View, list[int]]] = {}
        self._overflowed: list[View] = []
        self._pieces: dict[str, ChatPieces] = {}
        self._template = ChatPieces(tokenizer, instructions="")
        ends = (tokenizer.eos_token_id, tokenizer.pad_token_id, self._template.end_of_turn_id)
        self._unsaid = frozenset({*stop_ids, *ends})

    def at(self, temperature: float) -> LLMAgent:
        """The same agent at another temperature, on the same engine: one of the two plays at a time."""
        return self._like(self.engine, replace(self.sampling, temperature=temperature), self.trainable)

    def frozen(self, engine: Engine) -> LLMAgent:
        """The same agent on another engine, as a partner that is not learned from."""
        return self._like(engine, self.sampling, trainable=False)

    def _like(self, engine: Engine, sampling: SamplingParams, trainable: bool) -> LLMAgent:
        return LLMAgent(
            engine,
            self.tokenizer,
            context=self.context,
            format=self.format,
            sampling=sampling,
            context_length=self.context_length,
            trainable=trainable,
            stop_ids=self.stop_ids,
        )

    def ask(self, views: Sequence[View]) -> None:
        """See `Agent.ask`."""
        requests = []
        for view in views:
            prompt = self._prompt_of(view)
            if len(prompt) > self.context_length - self.sampling.max_new_tokens:
                self._overflowed.append(view)
                continue
            key = next(self._keys)
            self._asked[key] = view, prompt
            session = f"{view.episode}/{view.seat}"
            requests.append(Request(key, prompt, derived_seed(view.seed, view.turn), self.sampling, session))
        self.engine.submit(requests)

    def answers(self) -> list[tuple[View, Decision]]:
        """See `Agent.answers`."""
        answers = [(view, Decision("", stop_reason=StopReason.CONTEXT_OVERFLOW)) for view in self._overflowed]
        self._overflowed = []
        for sample in self.engine.collect() if self._asked else ():
            view, prompt = self._asked.pop(sample.key)
            answers.append((view, self._decide(prompt, view.turns, sample)))
        return answers

    def write(self, view: View, action: str, response: str | None = None) -> Decision:
        """The decision of somebody else's action, in the tokens that the agent would have sampled for it.

        `response` is the whole response, by default the shortest of the format that gives the action. The decision
        ends the episode where prompt and response do not fit into the model's context.
        """
        prompt = self._prompt_of(view)
        text = self.format.write(action) if response is None else response
        end = self._pieces_of(view.rules).end_of_turn_id
        ids = [*self.tokenizer.encode(text, add_special_tokens=False), *([] if end is None else [end])]
        if len(prompt) + len(ids) > self.context_length:
            return Decision("", stop_reason=StopReason.CONTEXT_OVERFLOW)
        return replace(self._decide(prompt, view.turns, Sample(view, ids)), action=action)

    def after(self, view: View, decision: Decision) -> Decision:
        """A decision, token by token, as it would have been made where this is shown: with the prompt of `view`.

        Without log-probabilities: they are not known after that prompt.
        """
        continues, added = added_prompt(tokens_through(view.turns), self._prompt_of(view))
        return replace(decision, continues=continues, prompt_ids=added, logprobs=[])

    def prompt_length(self, view: View) -> int:
        """How many tokens the prompt has that answers `view`."""
        return len(self._prompt_of(view))

    def prompts(self, trajectory: Trajectory, rules: str) -> list[list[int]]:
        """What the agent was shown before each turn, and what it would be shown after the last: tokens.

        `rules`: the environment's instructions. The last is without admissible actions, for none is asked for; and
        without the observation that ends an episode ("Your answer is right."), which no agent ever sees.
        """
        turns = trajectory.turns
        observation = trajectory.final_observation if trajectory.truncated else ""
        last = self._prompt(rules, turns, observation, {"task": trajectory.task})
        return [*trajectory.prompts(), last]

    def _prompt_of(self, view: View) -> list[int]:
        return self._prompt(view.rules, view.turns, view.observation, view.info)

    def _prompt(self, rules: str, turns: Sequence[Turn], observation: str, info: Mapping[str, Any]) -> list[int]:
        pieces = self._pieces_of(rules)
        return self.context.prompt(pieces, turns, observation, pieces.end_of_turn_id, info)

    def _pieces_of(self, rules: str) -> ChatPieces:
        instructions = "\n".join(filter(None, [rules, self.format.instructions]))
        if instructions not in self._pieces:
            self._pieces[instructions] = ChatPieces(self.tokenizer, instructions)
        return self._pieces[instructions]

    def _decide(self, prompt: list[int], turns: Sequence[Turn], sample: Sample) -> Decision:
        response = self.decode(sample.ids)
        start = self._template.answer_start(response)
        parsed = self.format.parse(response[start:])
        spans = {part: (start + first, start + end) for part, (first, end) in parsed.spans.items()}
        continues, added = added_prompt(tokens_through(turns), prompt)
        return Decision(
            action=parsed.action,
            response=response,
            continues=continues,
            prompt_ids=added,
            response_ids=sample.ids,
            logprobs=sample.logprobs,
            parts=dict(parsed.parts),
            spans=token_spans(self.decode, sample.ids, spans),
            fault=parsed.fault,
            policy_step=sample.policy_step,
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a response. Of special tokens only those that end it are none: others may be tags of a format."""
        return str(self.tokenizer.decode([token for token in ids if token not in self._unsaid]))
