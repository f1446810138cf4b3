"""Problems whose values are known exactly: what our targets, losses and schemes make of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch

from agentgym.trainers.arrays import FloatArray, IntArray
from agentgym.trainers.batch_json import distinct, offsets_of
from agentgym.trainers.credit import compute
from agentgym.trainers.losses.critics import expectile_loss, td_target
from agentgym.trainers.losses.implicit_rewards import prime_cross_entropy
from agentgym.trainers.losses.progress import progress_loss
from agentgym.trainers.segments import segment_sum

from ..compare import Report
from .critics import Row, parameter, tensor
from .values import batch_of

HALVINGS = 60
"""Steps of a search that halves its error in each."""


def check_known_values(case: Row, report: Report) -> None:
    """A chain, a tree, two levels of options, or the optima of two losses."""
    kinds = {"chain": _check_chain, "tree": _check_tree, "options": _check_options, "optima": _check_optima}
    kinds[case["params"]["kind"]](case, report)


def _check_chain(case: Row, report: Report) -> None:
    """ArCHer's targets, taken again and again, lead to the policy's values, IQL's expectile to the better action's."""
    given, expected, params = case["input"], case["expected"], case["params"]
    n_states, actions = given["states"], given["actions"]
    action_T = [actions.index(row["action"]) for row in given["transitions"]]
    state_T = [row["state"] for row in given["transitions"]]
    next_T = [row["next_state"] or 0 for row in given["transitions"]]
    reward_T, done_T = (tensor([row[key] for row in given["transitions"]]) for key in ("reward", "done"))
    policy_A = tensor([params["probability_of_go"] if a == "go" else 1 - params["probability_of_go"] for a in actions])
    q_SA, v_S = torch.zeros(n_states, len(actions), dtype=torch.float64), torch.zeros(n_states, dtype=torch.float64)
    change = 1.0
    while change > 1e-12:
        q_SA[state_T, action_T] = td_target(reward_T, done_T, v_S[next_T], params["gamma"])
        before, v_S = v_S, q_SA @ policy_A  # the least squares of q_SA under the policy
        change = float((v_S - before).abs().max())
    report.number("V", v_S.tolist(), expected["V"])
    report.number("Q", q_SA.tolist(), expected["Q"])
    report.same("better_action", [actions[i] for i in q_SA.argmax(1).tolist()], expected["better_action"])

    q_T, v_T = q_SA.flatten().numpy(), v_S.repeat_interleave(len(actions)).numpy()
    columns = {f"{name}{j}_T": value_T for name, value_T in (("q", q_T), ("v", v_T), ("target_v", v_T)) for j in "12"}
    columns |= {f"target_q{j}_policy_T": v_T for j in "12"}
    batch = batch_of([[{"reward": 0.0}] for _ in q_T], **columns)
    credit = compute("archer", batch)
    report.number("A", credit.turn_advantages(batch), expected["A"])

    best = []
    for q_A in q_SA:
        value = q_A.min().requires_grad_()
        for _ in range(HALVINGS):
            loss_A = expectile_loss(value.expand(len(actions)), q_A, expectile=1.0)
            (slope,) = torch.autograd.grad(loss_A.mean(), value)
            value = (value - slope / 2).detach().requires_grad_()
        best.append(value.item())
    report.number("iql_V_expectile_1", best, expected["iql_V_expectile_1"])


def _check_tree(case: Row, report: Report) -> None:
    """Returns have the values as their means; GAE with exact values has Q − V as its mean, whatever λ."""
    rows, expected, gamma = case["input"]["trajectories"], case["expected"], case["params"]["gamma"]
    probability_T = np.concatenate([[row["probability"]] * len(row["reward"]) for row in rows])
    # A turn's situation is the actions before it, its choice these and its own.
    situation_T, choice_T = (
        distinct(tuple(row["actions"][: t + own]) for row in rows for t in range(len(row["reward"]))) for own in (0, 1)
    )

    def mean(value_T: FloatArray, of_T: IntArray) -> FloatArray:
        n = int(of_T.max()) + 1
        return (segment_sum(probability_T * value_T, of_T, n) / segment_sum(probability_T, of_T, n))[of_T]

    def credit(value_T: FloatArray, lam: float) -> Any:
        batch = batch_of([[{"reward": r} for r in row["reward"]] for row in rows], value_T=value_T)
        return compute("turn_ppo", batch, gamma=gamma, gae_lambda=lam, whiten=False)

    value_T = mean(credit(np.zeros(len(situation_T)), 1.0).targets["value_T"], situation_T)
    report.number("value", value_T, [row["value"] for row in expected["trajectories"]])
    report.number("value_at_start", value_T[0], expected["value_at_start"])
    for lam in case["params"]["lambdas"]:
        gae_T = credit(value_T, lam).advantage_T
        report.number(f"gae {lam}", gae_T, [row["gae"][str(lam)] for row in expected["trajectories"]])
        report.number(f"q_minus_v {lam}", mean(gae_T, choice_T), [row["q_minus_v"] for row in expected["trajectories"]])


def _check_options(case: Row, report: Report) -> None:
    """HiPER's two levels: every choice of sub-goals is a trajectory, and the exact values leave nothing to explain."""
    given, expected = case["input"]["choices"], case["expected"]["choices"]
    rows: list[list[Row]] = []
    for picks in product(*(range(len(options)) for options in given)):
        chosen = [(k, g, given[k][g]["rewards"]) for k, g in enumerate(picks)]
        rows.append(
            [
                {"reward": reward, "tokens": 3, "at": (k, g), "t": t, "begins": t == 0}
                for k, g, rewards in chosen
                for t, reward in enumerate(rewards)
            ]
        )
    turns = [turn for row in rows for turn in row]
    subgoals = [expected[k]["subgoals"][g] for turn in turns for k, g in [turn["at"]]]
    low_T = np.array([known["value_low"][turn["t"]] for known, turn in zip(subgoals, turns, strict=True)])
    high_T = np.array([expected[turn["at"][0]]["value_high"] for turn in turns])
    begins_T = np.array([turn["begins"] for turn in turns])
    batch = batch_of(
        rows,
        role_K=np.array(["switch", "subgoal", "action"] * len(turns), dtype=object),
        switch_T=begins_T,
        value_low_T=low_T,
        value_high_T=high_T,
        value_switch_T=low_T,
    )
    params = {"gamma": case["params"]["gamma"], "segment_gae_lambda": 0.0, "norm_adv": False}
    credit = compute("hiper", batch, **params)
    for name in ("value_low_T", "value_switch_T"):
        report.number(name, credit.targets[name], low_T.tolist())
    advantages = [known["advantage_high"] for known in subgoals]
    advantage_T = credit.parts["subgoal_advantage_T"]
    report.number("advantage_high", advantage_T[begins_T], np.array(advantages)[begins_T].tolist())
    probability_N = np.array([np.prod([given[k][g]["probability"] for k, g in {t["at"] for t in row}]) for row in rows])
    choice_T = np.array([turn["at"][0] for turn in turns])
    weight_T = probability_N[batch.trajectory_T] * begins_T
    mean_C = segment_sum(weight_T * credit.targets["value_high_T"], choice_T, len(given))
    report.number("value_high", mean_C, [known["value_high"] for known in expected])


def _check_optima(case: Row, report: Report) -> None:
    """Where SPA's loss is least for a linear estimator, and PRIME's for responses that are now right, now wrong."""
    given, expected = case["input"]["progress"], case["expected"]["progress"]
    features, offsets = tensor(np.concatenate(given["features"])), offsets_of(map(len, given["features"]))
    weight, bias = parameter(np.zeros(features.shape[1])), parameter(0.0)
    outcome = tensor(given["final_reward"])
    least = _minimise([weight, bias], lambda: progress_loss(features @ weight + bias, offsets, outcome))
    report.number("progress weight", weight.tolist(), expected["weight"])
    report.number("progress bias", bias.item(), expected["bias"])
    report.number("progress mse", least, expected["mse"])

    counts, expected = case["input"]["implicit"]["success_failure_counts"], case["expected"]["implicit"]
    seen = [i for i, each in enumerate(counts) for _ in range(sum(each))]
    right = tensor([outcome for right, wrong in counts for outcome in [1.0] * right + [0.0] * wrong])
    q_sum = parameter(np.zeros(len(counts)))
    least = _minimise([q_sum], lambda: prime_cross_entropy(q_sum[seen], right, beta=case["params"]["beta"]))
    report.number("implicit q_sum", q_sum.tolist(), expected["q_sum"])
    report.number("implicit cross_entropy", least, expected["cross_entropy"])


def _minimise(parameters: list[torch.nn.Parameter], loss: Callable[[], torch.Tensor]) -> float:
    """Leave the parameters where the loss is least, and return that."""
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    optimizer.step(closure)
    return closure()
