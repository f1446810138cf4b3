"""What must hold for every credit scheme there is, built in or not yet written, with each of its settings.

A new scheme is tested here without a line being added: with its defaults, and with one parameter after the other
changed. Where a property does not hold by definition, the scheme, or a setting of it, is listed with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Credit, Scheme, compute, get_scheme, schemes
from agentgym.trainers.parameters import Parameter
from agentgym.trainers.signal_names import SIGNALS
from tests.docs_tables import is_ours
from tests.trainers.credit.batches import PARTS, batch_of, batches, is_column, quarters

SETTINGS: dict[str, list[dict[str, object]]] = {
    "reinforce": [{"gamma": 0.9, "baseline": "none", "invalid_action_penalty": 0.1}],
    "grpo": [{"scale": "none", "statistics": "turns", "invalid_action_penalty": 0.1}],
    "rloo": [{"statistics": "turns", "invalid_action_penalty": 0.1}],
    "gigpo": [{"mode": "mean_std_norm", "statistics": "trajectories", "step_weight": 0.5}],
}
"""Settings besides those that are found by themselves."""

Exceptions: TypeAlias = dict[str, list[dict[str, object]]]
"""A scheme → with which values of which parameters a property does not hold; {} is with all."""

WHITENED: list[dict[str, object]] = [{"whiten": True}]
NORMALISED: list[dict[str, object]] = [{"norm_adv": True}]

ORDER_MATTERS: Exceptions = {
    "gigpo": [{"similarity_threshold": 0.5}],  # a turn joins the first cluster that is similar enough
    "ma_rlhf": [{"termination": "randomized_ngram"}],  # drawn from the seed, one after the other
}
"""The order of the trajectories says something."""

BATCH_WIDE: Exceptions = {
    "bi_level_gae": WHITENED,
    "duration_weighted": [{"normalise": "batch_mean"}],  # durations beside the batch's mean
    "empg": [{}],  # entropies beside the batch's least and largest
    "gdpo": [{"normalise_over": "trajectories"}, {"normalise_over": "tokens"}],
    "gpg": [{"gradient_estimation": "accurate"}, {"gradient_estimation": "nonzero_scores"}],  # counted in the batch
    "hiper": NORMALISED,
    "istar": [{"normalisation": "batch_norm"}, {"baseline": "reinforce_pp_baseline"}],
    "ma_rlhf": ORDER_MATTERS["ma_rlhf"],
    "ntpo": NORMALISED,
    "poad": NORMALISED,
    "ppo": WHITENED,
    "ppr": [{}],  # rewards normalised over the batch
    "prime": [{"whiten": True}, {"normalisation": "batch_norm"}],
    "reinforce": [{"baseline": "batch"}],
    "reinforce_pp": [{}],  # whitened
    "reinforce_pp_baseline": [{}],  # whitened
    "spa": WHITENED,
    "turn_ppo": WHITENED,
}
"""Groups influence one another: something is whitened over the batch, or compared with it."""

TURNS_COMPARED: Exceptions = {name: [{}] for name in ("capo_credit", "empg", "igpo", "istar", "pure", "sotopia_rl")}
"""A turn is compared with other turns of its own trajectory too."""

NOT_COMPARED: Exceptions = {
    "empg": [{"base": "return"}],
    "gigpo": [{"similarity_threshold": 0.5}],  # different turns of a trajectory form a state
    "grpo_vps": [{}],  # the answer's progress is its own measure
    "optimal_token_baseline": [{"epsilon": 0.5}],  # which stands beside the weights in a mean's denominator
    "prime": [{}],  # a token's process reward beside the mean over all tokens
}
"""Something is earned that is not compared with the same of other trajectories."""

SHIFT_MATTERS: Exceptions = {
    "empg": [{"base": "return"}],  # no baseline
    "g_ra": [{}],  # a gate that rewards below a threshold do not pass
    "gigpo": [{}],  # a state's turns are compared by returns, which a later shift changes by powers of gamma
    "gpg": [{"gradient_estimation": "nonzero_scores"}],  # how many scores are 0
    "hgpo": [{}],  # as gigpo
    "igpo": [{"norm_mode": "joint"}],  # outcomes in one pool with gains
    "optimal_token_baseline": [{"zero_tail": True}, {"epsilon": 0.5}],  # the longest one's end has no baseline
    "stratified_grpo": [{"singleton": "raw"}],  # a stratum of one
    "turn_loo": [{}],  # a turn without siblings of its index
}
"""A shift of all outcomes of a group changes something, although they are compared."""

OURS = list(filter(is_ours, schemes()))
NAMES = [scheme.name for scheme in OURS]
GROUPED = [scheme.name for scheme in OURS if scheme.requires_groups]
quick = settings(max_examples=10, deadline=None)


def settings_of(scheme: Scheme, but: Exceptions | None = None) -> list[dict[str, object]]:
    """The defaults, another value of each parameter that has a simple one, and what `SETTINGS` lists.

    `but`: without the settings that are excepted from a property.
    """
    others = [{p.name: value} for p in scheme.parameters.values() for value in _other_values(p)]
    excepted = (but or {}).get(scheme.name, [])
    defaults = {p.name: p.default for p in scheme.parameters.values()}
    return [
        params
        for params in [{}, *others, *SETTINGS.get(scheme.name, [])]
        if not any(exception.items() <= {**defaults, **params}.items() for exception in excepted)
    ]


def _other_values(parameter: Parameter) -> Iterator[object]:
    """The other choices, the other truth value, or another number that the parameter takes."""
    schema = parameter.adapter.json_schema()
    for option in schema.get("anyOf", [schema]):
        numbers = {"boolean": [False, True], "number": [0.5, 0.25], "integer": [1, 2]}.get(option.get("type"), [])
        values = [value for value in option.get("enum", numbers) if value != parameter.default]
        yield from values if "enum" in option else values[:1]


def schemes_but(exceptions: Exceptions, names: list[str] = NAMES) -> pytest.MarkDecorator:
    """Parametrises a test by the schemes that have any setting that is not excepted."""
    return pytest.mark.parametrize("scheme", [name for name in names if settings_of(get_scheme(name), exceptions)])


every_scheme = schemes_but({})


@cache
def needs_of(name: str) -> tuple[str, ...]:
    """What the scheme needs with any of its settings, found by asking it."""
    scheme = get_scheme(name)
    needs = list(scheme.needs)
    for params in settings_of(scheme):
        while missing := _missing(name, params, needs):
            needs.append(missing)
    return tuple(needs)


def _missing(name: str, params: dict[str, object], needs: list[str]) -> str | None:
    """What the scheme says that it needs besides, given a batch with these needs."""
    try:
        compute(name, TurnBatch.from_dicts(small_trajectories(needs)), **params)
    except ValueError as error:
        found = re.search(r"needs '([^']+)'", str(error))
        if found is None or found[1] in needs:
            raise
        return found[1]
    return None


def small_trajectories(needs: Iterable[str]) -> list[dict[str, Any]]:
    """Two episodes of one turn with one token, the second cut off."""
    turn: dict[str, Any] = {"obs": "here", "reward": 1.0, "valid": True, "tokens": [0]}
    trajectory: dict[str, Any] = {"group": 0, "final_obs": "there"}
    for need in filter(is_column, needs):
        key, axis = need[:-2], need[-2:]
        value: object = "switch" if "category" in SIGNALS.get(need, "") or key == "role" else 1.0
        row = trajectory if axis == "_N" else turn
        if key.endswith(".*"):
            row[key.removesuffix(".*")] = dict.fromkeys(PARTS, value)
        else:
            row[key] = [value] if axis == "_K" else value
    return [{**trajectory, "truncated": cut_off, "turns": [turn]} for cut_off in (False, True)]


def trajectories_of(name: str, **how: Any) -> st.SearchStrategy[list[dict[str, Any]]]:
    consistent = {"logprob": st.floats(-5, -0.7), "sum_pi_squared": st.floats(0.5, 1)}  # Σπ² is at least any π²
    return batches(needs_of(name), values=consistent, **how)


def results(
    name: str, trajectories: list[dict[str, Any]], but: Exceptions | None = None
) -> Iterator[tuple[dict[str, object], TurnBatch, Credit]]:
    """The credit for the trajectories with each setting of the scheme that is not excepted."""
    batch = batch_of(trajectories, needs_of(name))
    for params in settings_of(get_scheme(name), but):
        yield params, batch, compute(name, batch, **params)


def by_trajectory(batch: TurnBatch, credit: Credit) -> list[dict[str, list[float]]]:
    """Everything that the scheme gives, trajectory by trajectory."""
    offsets = {"_N": np.arange(batch.n_trajectories + 1), "_T": batch.turn_offsets_N, "_K": None}
    offsets["_K"] = batch.token_offsets_N if batch.token_offsets_T is not None else None
    return [
        {
            name: array[offsets[name[-2:]][i] : offsets[name[-2:]][i + 1]].tolist()
            for name, array in credit.arrays.items()
        }
        for i in range(batch.n_trajectories)
    ]


def assert_equal(given: list[dict[str, list[float]]], expected: list[dict[str, list[float]]], *where: object) -> None:
    assert len(given) == len(expected)
    for i, (ours, theirs) in enumerate(zip(given, expected, strict=True)):
        assert ours == {name: pytest.approx(v, rel=1e-6, abs=1e-6) for name, v in theirs.items()}, (*where, i)


def size_of_groups(trajectories: list[dict[str, Any]]) -> list[int]:
    groups = [trajectory["group"] for trajectory in trajectories]
    return [groups.count(group) for group in groups]


# The register ---------------------------------------------------------------------------------------------


@every_scheme
def test_defaults_are_valid_and_described(scheme):
    found = get_scheme(scheme)
    defaults = {name: parameter.default for name, parameter in found.parameters.items()}
    assert found.check_parameters(defaults) == defaults
    assert found.summary
    assert re.fullmatch(r"(arXiv:\d{4}\.\d{4,5}|doi:10\.\S+|https://\S+)", found.paper)


def test_exceptions_are_of_schemes_and_parameters_that_exist():
    for exceptions in (ORDER_MATTERS, BATCH_WIDE, TURNS_COMPARED, NOT_COMPARED, SHIFT_MATTERS, SETTINGS):
        for name, listed in exceptions.items():
            assert all(params.keys() <= get_scheme(name).parameters.keys() for params in listed), name


@every_scheme
def test_every_need_is_known(scheme):
    rollouts = {"state_key", "observation", "tokens", "token_ids"}
    for need in set(needs_of(scheme)) - rollouts:
        assert any(fnmatchcase(need, name) for name in SIGNALS), need


@every_scheme
def test_missing_needs_are_named_in_one_line(scheme):
    bare = TurnBatch(np.array([0]), np.array([0, 1]), np.ones(1), np.ones(1, dtype=bool))
    if needs := get_scheme(scheme).needs:
        with pytest.raises(ValueError, match=re.escape(f"{scheme} needs {needs[0]!r}")) as caught:
            compute(scheme, bare)
        assert "\n" not in str(caught.value)
    else:
        assert np.isfinite(compute(scheme, bare).turn_advantages(bare)).all()


# Whatever the batch ---------------------------------------------------------------------------------------


@every_scheme
def test_nothing_comes_of_nothing(scheme):
    without_turns = [{**trajectory, "turns": []} for trajectory in small_trajectories(needs_of(scheme))]
    for trajectories in ([], without_turns[:1], without_turns):
        for _, batch, credit in results(scheme, trajectories):
            assert all(array.size in (0, batch.n_trajectories) for array in credit.arrays.values())


@every_scheme
@quick
@given(data=st.data())
def test_finite_in_finite_out_and_the_batch_is_as_it_was(scheme, data):
    trajectories = data.draw(trajectories_of(scheme, rewards=st.floats(-1e6, 1e6)))
    before = batch_of(trajectories, needs_of(scheme))
    for params, batch, credit in results(scheme, trajectories):  # `compute` checks shapes, and that all is finite
        assert credit.arrays.keys() <= {"advantage_T", "advantage_K", "trained_K", "clip_scale_T", *SIGNALS}, params
        for name in ("group_N", "turn_offsets_N", "reward_T", "valid_T", "state_T", "token_offsets_T", "token_K"):
            assert np.array_equal(getattr(batch, name), getattr(before, name)), (params, name)
        for name, array in before.columns.items():
            assert np.array_equal(batch.columns[name], array), (params, name)


@every_scheme
@quick
@given(data=st.data())
def test_trajectories_without_turns_are_not_counted(scheme, data):
    trajectories = data.draw(trajectories_of(scheme))
    kept = [i for i, trajectory in enumerate(trajectories) if trajectory["turns"]]
    without = results(scheme, [trajectories[i] for i in kept])
    for (params, batch, credit), (_, smaller, same) in zip(results(scheme, trajectories), without, strict=True):
        of_all = by_trajectory(batch, credit)
        assert_equal([of_all[i] for i in kept], by_trajectory(smaller, same), params)


# Symmetries -----------------------------------------------------------------------------------------------


@schemes_but(ORDER_MATTERS)
@quick
@given(data=st.data())
def test_permuting_trajectories_permutes_the_result(scheme, data):
    trajectories = data.draw(trajectories_of(scheme))
    order = data.draw(st.permutations(range(len(trajectories))))
    both = (results(scheme, some, ORDER_MATTERS) for some in (trajectories, [trajectories[i] for i in order]))
    for (params, batch, credit), (_, permuted, same) in zip(*both, strict=True):
        of_all = by_trajectory(batch, credit)
        assert_equal(by_trajectory(permuted, same), [of_all[i] for i in order], params, order)


@schemes_but(BATCH_WIDE)
@quick
@given(data=st.data())
def test_groups_do_not_influence_one_another(scheme, data):
    trajectories = data.draw(trajectories_of(scheme))
    for group in {trajectory["group"] for trajectory in trajectories}:
        members = [i for i, trajectory in enumerate(trajectories) if trajectory["group"] == group]
        both = (results(scheme, some, BATCH_WIDE) for some in (trajectories, [trajectories[i] for i in members]))
        for (params, batch, credit), (_, smaller, same) in zip(*both, strict=True):
            together = by_trajectory(batch, credit)
            assert_equal(by_trajectory(smaller, same), [together[i] for i in members], params)


@every_scheme
@quick
@given(data=st.data())
def test_the_numbers_of_states_tokens_and_categories_mean_nothing(scheme, data):
    trajectories = data.draw(trajectories_of(scheme))
    batch = batch_of(trajectories, needs_of(scheme))
    assert batch.state_T is not None and batch.token_K is not None
    fields = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    # A number of a state says nothing outside of its group; from a rollout, tokens have the tokenizer's numbers.
    fields["state_T"] = 1000 * (batch.group_T + 1) - batch.state_T
    if batch.final_state_N is not None:
        fields["final_state_N"] = 1000 * (batch.group_N + 1) - batch.final_state_N
    fields["token_K"] = 1000 - batch.token_K
    categories = [name for name in batch.columns if "category" in SIGNALS.get(name, "")]
    renamed = {name: np.array([f"z{text}"[::-1] for text in batch.columns[name]], dtype=object) for name in categories}
    renumbered = TurnBatch(**{**fields, "columns": {**batch.columns, **renamed}})
    for params, _, credit in results(scheme, trajectories):
        same = compute(scheme, renumbered, **params)
        assert_equal(by_trajectory(renumbered, same), by_trajectory(batch, credit), params)


# Where trajectories of a group are compared ---------------------------------------------------------------


@schemes_but(NOT_COMPARED, GROUPED)
@quick
@given(data=st.data())
def test_equal_trajectories_get_no_advantage(scheme, data):
    trajectories = data.draw(trajectories_of(scheme, min_turns=1, min_tokens=1, max_trajectories=3))
    if not settings_of(get_scheme(scheme), TURNS_COMPARED):
        trajectories = [{**trajectory, "turns": trajectory["turns"][:1]} for trajectory in trajectories]
    for trajectory in trajectories:
        for t, turn in enumerate(trajectory["turns"]):
            turn.update(obs=f"turn {t}", valid=True)
    copies = [{**trajectory, "group": i} for i, trajectory in enumerate(trajectories) for _ in range(3)]
    for params, batch, credit in results(scheme, copies, NOT_COMPARED):
        assert credit.token_advantages(batch) == pytest.approx(np.zeros(batch.n_tokens), abs=1e-6), params


@schemes_but(SHIFT_MATTERS, GROUPED)
@quick
@given(data=st.data())
def test_shifting_every_outcome_of_a_group_changes_nothing(scheme, data):
    trajectories = data.draw(trajectories_of(scheme, min_turns=1, min_tokens=1))
    sizes = size_of_groups(trajectories)
    compared = [trajectory for trajectory, size in zip(trajectories, sizes, strict=True) if size > 1]
    shift = data.draw(quarters)
    shifted = [{**trajectory, "turns": _shifted(trajectory["turns"], shift)} for trajectory in compared]
    both = (results(scheme, some, SHIFT_MATTERS) for some in (compared, shifted))
    for (params, batch, credit), (_, _, same) in zip(*both, strict=True):
        assert same.token_advantages(batch) == pytest.approx(credit.token_advantages(batch), abs=1e-6), params


def _shifted(turns: list[dict[str, Any]], shift: float) -> list[dict[str, Any]]:
    return [*turns[:-1], {**turns[-1], "reward": turns[-1]["reward"] + shift}]
