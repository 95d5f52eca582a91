"""The asynchronous client. `_sync/` is generated from this folder by tools/unasync.py."""

from .clore import AsyncClore

__all__ = ["AsyncClore"]
