"""Fixtures of these tests."""

from __future__ import annotations

from tests.small_model import cloned_model

__all__ = ["cloned_model"]
