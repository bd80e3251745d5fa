"""Fixtures of the infrastructure's tests."""

from tests.support.production_plan import planned, provider

__all__ = ["planned", "provider"]
