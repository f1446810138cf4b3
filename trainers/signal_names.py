"""Signals: what a credit scheme may need beyond rollouts. A name ends in its axis.

`_N`: one for each trajectory, `_T`: each turn, `_K`: each response token. In `agentgym credit`'s files a
signal is the key of the same name without its axis, in every trajectory, in every turn, or as a list in
every turn.
"""

from __future__ import annotations

SIGNALS: dict[str, str] = {
    # The policy's own statistics
    "logprob_K": "log-probability of each token under the policy that sampled it",
    "policy_logprob_K": "log-probability of each token under the present policy, whoever sampled it",
    "entropy_K": "entropy of the distribution that each token was sampled from",
    "sum_pi_squared_K": "Σ_v π(v)² of the distribution that each token was sampled from",
    "reference_logprob_K": "log-probability of each token under the reference policy",
    "perplexity_K": "perplexity of each token under the reference policy",
    "planning_K": "whether each token is a planning token",
    "role_K": 'what each token belongs to: "switch", "subgoal", "action", or "" for none of them',
    "position_K": "place of each token in its trajectory's whole sequence, the environment's tokens counted too",
    "past_entropy.*_T": "mean entropy of turns of the same index over the training steps so far (EPO)",
    "parts.*_T": "what the turn's response says besides the action, by part: categories",
    # Told by the environment
    "success_N": "whether the task was solved",
    "final_state_N": "state after the last action, in the numbers of the turns' states",
    "seat_N": "whose trajectory it is, in games with several seats",
    "replayed_N": "whether an earlier training step has played it",
    "policy_step_T": "training steps that the policy that acted had finished",
    "pivot_N": "first turn of each trajectory that is learned from: where an attempt and its retry part (R³L)",
    "score_N": "graded success of the episode, in [0, 1]",
    "token_reward_K": "reward of each token, in place of the turns' rewards",
    "reward_parts.*_T": "named components of the reward",
    "duration_T": "what each action took, in seconds",
    "greedy_return_N": "return of a greedy rollout of the same task",
    "stratum_N": "stratum of each trajectory: a category",
    "running_baseline_N": "what the trajectory's seat has earned of late, before it: a moving average (SPIRAL)",
    # The answer's probability
    "answer_logprob_T": "mean log-probability of the ground-truth answer's tokens before each turn",
    "final_answer_logprob_N": "mean log-probability of the ground-truth answer's tokens after the last turn",
    "answer_prob_T": "exp of `answer_logprob_T`: the geometric mean of the probabilities of the answer's tokens",
    "final_answer_prob_N": "exp of `final_answer_logprob_N`",
    # Critics
    "value_T": "critic's value of the situation before each turn",
    "value_K": "critic's value of the situation before each token",
    "final_value_N": "critic's value of the situation after the last turn",
    "value_high_T": "HiPER's value of choosing a sub-goal before each turn",
    "value_low_T": "HiPER's value of acting for the present sub-goal before each turn",
    "value_switch_T": "HiPER's value of the decision to switch, before each turn",
    "switch_T": "whether the turn begins a new sub-goal",
    "subgoal_T": "the sub-goal that the turn names: a category",
    "q1_T": "first critic's value of the turn's action (Q1)",
    "q2_T": "second critic's value of the turn's action (Q2)",
    "v1_T": "first critic's value of the situation before the turn (V1)",
    "v2_T": "second critic's value of the situation before the turn (V2)",
    "target_v1_T": "V1 of the slowly following target critic",
    "target_v2_T": "V2 of the slowly following target critic",
    "target_q1_T": "target critic's Q1 of the turn's action",
    "target_q2_T": "target critic's Q2 of the turn's action",
    "target_q1_policy_T": "target critic's Q1 of an action that the present policy samples before the turn",
    "target_q2_policy_T": "target critic's Q2 of an action that the present policy samples before the turn",
    # Implicit, learned or judged step scores
    "implicit_reward_T": "implicit reward of each turn, β·Σ log-ratio of its tokens",
    "implicit_reward_K": "implicit reward of each token, β·log-ratio",
    "process_reward_T": "process reward model's score of each turn",
    "progress_T": "estimated contribution of each turn to completing the task",
    "executable_T": "whether each turn's action could be executed",
    "score.*_N": "score of the episode in each dimension",
    "attribution.*_T": "how much of each dimension's score a judge attributes to the turn",
    "wrong_votes_T": "share of the critiques that call the turn wrong, in [0, 1]",
    "stage_T": "stage of the task that each turn belongs to: a category",
    "stage_score_T": "judge's score of the stage that each turn belongs to",
}
"""Every signal that a built-in scheme may need, and what it means. One with a star has a name for each of several."""
