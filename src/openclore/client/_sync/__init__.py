# Generated from _async/__init__.py by tools/unasync.py: change that one.
"""The synchronous client."""

from .clore import Clore

__all__ = ["Clore"]
