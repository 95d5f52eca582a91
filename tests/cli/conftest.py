"""Fixtures of the command line's tests."""

from .renter_fakes import openclore

__all__ = ["openclore"]
