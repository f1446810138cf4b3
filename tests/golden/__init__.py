"""Checks of agentgym against numbers that official implementations gave: `python -m tests.golden DIR …`."""
