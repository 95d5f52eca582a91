"""The market to rehearse on: a virtual clock, rivals, simulated machines, faults on demand.

    from openclore.sandbox import Sandbox

In pytest, the fixture `clore_sandbox` is one; `openclore sandbox` is one on the command line. `Sandbox` is
loaded when first used, so that a test run that needs none pays nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sandbox import Sandbox

__all__ = ["Sandbox"]


def __getattr__(name: str) -> Any:
    if name != "Sandbox":
        raise AttributeError(f"module 'openclore.sandbox' has no attribute {name!r}")
    from .sandbox import Sandbox

    return Sandbox
