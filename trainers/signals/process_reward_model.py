"""Process reward models from a directory: a score of each turn, off a trained head of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from agentgym.agents.models import no_bar
from agentgym.agents.trajectory import Trajectory
from agentgym.envs.told import Told
from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.credit.process.pure import step_scores
from agentgym.trainers.experience import Experience
from agentgym.trainers.layout import Layout, TokenSequence, share_sequences
from agentgym.trainers.policy import Policy
from agentgym.trainers.signals.signal import Resources, Signal

HEADS = {"ForTokenClassification": 2, "ForSequenceClassification": 1}
"""How the names of the architectures end that have a head to score turns with, and its outputs."""


class ProcessRewardModel(Signal):
    """Scores of turns by a trained model that stays as it is, read at each turn's last token.

    The model reads the tokens that the policy read and wrote, so it must have the policy's tokenizer, and must read
    from left to right. Its head has two outputs for every token, "wrong" before "right", as PURE's
    (arXiv:2504.15275; TRL's `PRMTrainer` makes such) or one, as reward models have. A trajectory longer than the model
    can read is excluded from learning and counted.

    - `model`: the directory, with a tokenizer.
    - `reward_range` [lowest, highest]: scores are put there by the probability of "right", or the sigmoid of the one
      output. PPR wants [0, 1]. By default two outputs give PURE's p_right − p_wrong, in (−1, 1), and one is as it is.

    `prime` is not served: its reward of a token is β·log(π_φ/π_ref) of a language model, whose sums over tokens are
    what it was trained on; a classifier's scores are no such ratios and their sums mean nothing.
    """

    gives = ("process_reward_T",)

    def __init__(
        self,
        resources: Resources,
        wanted: frozenset[str],
        *,
        model: str = "",
        reward_range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None,
    ):
        """Raises `ValueError` in one line for a directory that cannot be loaded or has another tokenizer."""
        super().__init__(resources, wanted)
        self.reward_range = reward_range
        policy = resources.policy
        weight = next(policy.model.parameters())
        loaded, tokenizer = _load(model, weight.dtype)
        if tokenizer.get_vocab() != resources.agent.tokenizer.get_vocab():
            raise ValueError(
                f"process_reward_model: {model} has another tokenizer than the policy, and could not read its tokens"
            )
        self.longest = getattr(loaded.config.get_text_config(), "max_position_embeddings", None)
        self.reader = Policy(
            _Scorer(loaded.to(weight.device)), max_tokens=policy.max_tokens, processes=resources.processes
        )
        self.excluded = 0

    @classmethod
    def check(cls, params: Mapping[str, Any], told: Told) -> None:
        """Raise `ValueError` in one line for a directory without a head that scores, and for a range that is none."""
        _kind_of_head(params["model"])
        reward_range = params["reward_range"]
        if reward_range is not None and reward_range[0] >= reward_range[1]:
            lowest, highest = reward_range
            raise ValueError(
                f"process_reward_model: reward_range goes from {lowest:g} to {highest:g}: give the lowest first"
            )

    def compute(self, experience: Experience) -> Mapping[str, NDArray[Any]]:
        """`process_reward_T`, and `excluded_N`: what is longer than the model can read."""
        laid_out = [_ends_of_turns(trajectory) for trajectory in experience.trajectories]
        excluded_N = np.array([self._is_too_long(sequences) for sequences, _ in laid_out], np.bool_)
        layout, place_T = _joined([each for each, out in zip(laid_out, excluded_N, strict=True) if not out])
        outputs = self.reader.read(layout, {"outputs": lambda each: each.logits[each.slot_K]})["outputs"]
        process_reward_T = np.full(experience.batch.n_turns, np.nan)
        if place_T.size:
            process_reward_T[~excluded_N[experience.batch.trajectory_T]] = self._scores(outputs)[place_T]
        self.excluded = int(excluded_N.sum())
        return {"excluded_N": excluded_N, "process_reward_T": process_reward_T}

    def _is_too_long(self, sequences: Sequence[TokenSequence]) -> bool:
        return self.longest is not None and any(len(each.context) > self.longest for each in sequences)

    def _scores(self, outputs: FloatArray) -> FloatArray:
        """The scores of places with these outputs: shape (places, 1 or 2) → (places,)."""
        is_pair = outputs.shape[1] == 2
        if self.reward_range is None:
            return step_scores(outputs) if is_pair else outputs[:, 0]
        right = (1 + step_scores(outputs)) / 2 if is_pair else (1 + np.tanh(outputs[:, 0] / 2)) / 2
        lowest, highest = self.reward_range
        return lowest + (highest - lowest) * right

    def report(self) -> dict[str, float]:
        """How many trajectories were too long, in all processes."""
        return {"process_reward_model/excluded": sum(self.resources.processes.gather(self.excluded))}


class _Scorer(torch.nn.Module):
    """A classifier as `Policy` runs models: the head is its output head, wherever the classifier would pool."""

    def __init__(self, classifier: Any):
        super().__init__()
        self.body = classifier.base_model
        self.head = classifier.score if hasattr(classifier, "score") else classifier.classifier
        self.requires_grad_(False)

    def get_output_embeddings(self) -> torch.nn.Module:
        """The head."""
        head: torch.nn.Module = self.head
        return head

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        """The head's outputs, as `logits`."""
        return SimpleNamespace(logits=self.head(self.body(input_ids=input_ids, use_cache=use_cache).last_hidden_state))


def _ends_of_turns(trajectory: Trajectory) -> tuple[list[TokenSequence], list[tuple[int, int]]]:
    """A trajectory's token sequences, with the places after its turns; and of each turn the sequence and the place.

    A state is read before a token; so the last turn has one more, which nobody reads.
    """
    sequences: list[TokenSequence] = []
    places: list[tuple[int, int]] = []
    ids: list[int] = []
    ends: list[int] = []

    def close() -> None:
        if ends:
            sequences.append(TokenSequence((*ids, 0), tuple(sorted(set(ends)))))

    for turn in trajectory.turns:
        if not turn.continues:
            close()
            ids, ends = [], []
        ids += [*turn.prompt_ids, *turn.response_ids]
        ends.append(len(ids))
        places.append((len(sequences), sorted(set(ends)).index(len(ids))))
    close()
    return sequences, places


def _joined(laid_out: Sequence[tuple[list[TokenSequence], list[tuple[int, int]]]]) -> tuple[Layout, IntArray]:
    """The layout of all trajectories' sequences, and each turn's place among those that it reads."""
    sequences = [sequence for of_one, _ in laid_out for sequence in of_one]
    first = np.cumsum([0, *(len(sequence.sampled) for sequence in sequences)])
    number, place_T = 0, []
    for of_one, places in laid_out:
        place_T += [int(first[number + sequence]) + place for sequence, place in places]
        number += len(of_one)
    return share_sequences(sequences), np.array(place_T, np.int64)


def _kind_of_head(directory: str) -> str:
    """How the name of the architecture ends. Raises `ValueError` in one line for a directory without such a head."""
    if not directory:
        raise ValueError("process_reward_model: model is missing: the directory of a trained process reward model")
    try:
        config = json.loads((Path(directory) / "config.json").read_text(encoding="utf-8"))
        name = str((config.get("architectures") or ["no architecture"])[0])
        n_outputs = len(config["id2label"]) if config.get("id2label") else int(config.get("num_labels", 2))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"process_reward_model: {directory} holds no model: {error}") from None
    for kind, expected in HEADS.items():
        if name.endswith(kind) and n_outputs == expected and config.get("is_decoder") is not False:
            return kind
    known = " or ".join(f"…{kind} with {expected} outputs" for kind, expected in HEADS.items())
    raise ValueError(
        f"process_reward_model: {directory} is a {name} with {n_outputs} outputs, and has no head that scores turns: "
        f"{known} is expected, which reads from left to right"
    )


def _load(directory: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The classifier and its tokenizer. Raises `ValueError` in one line for what cannot be loaded, or lacks weights."""
    auto = {
        "ForTokenClassification": AutoModelForTokenClassification,
        "ForSequenceClassification": AutoModelForSequenceClassification,
    }[_kind_of_head(directory)]
    try:
        with no_bar():
            tokenizer = AutoTokenizer.from_pretrained(directory)
            model, info = auto.from_pretrained(directory, dtype=dtype, output_loading_info=True)
    except Exception as error:  # damaged files make transformers and what it uses raise nearly anything
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"process_reward_model: cannot load {directory}: {reason}") from None
    if info["missing_keys"]:  # transformers would go on with random ones
        raise ValueError(f"process_reward_model: {directory} lacks {', '.join(sorted(info['missing_keys']))[:300]}")
    return model.eval(), tokenizer
