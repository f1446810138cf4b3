"""Agents: from an observation to an action, and from a task to a trajectory.

    from agentgym.agents.agent import RandomAgent
    from agentgym.agents.episode import EpisodeSpec
    from agentgym.agents.rollout import play
    from agentgym.envs import make

    specs = [EpisodeSpec("agentgym/Sokoban-v0", seed, group=str(seed), sampling_seed=seed) for seed in range(8)]
    trajectories = play(RandomAgent(), lambda: make("agentgym/Sokoban-v0"), specs)

Only `models` and `engines.transformers` need torch.
"""
