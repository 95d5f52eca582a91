"""OpenClore: the GPU marketplace behind the Clore API, in Python.

    from openclore import Clore

    with Clore(profile="local") as clore:
        for offer in clore.marketplace():
            print(offer.id, offer.usd_per_day)

The client's names are here and are loaded when first used: `import openclore` alone costs nothing.
"""

TYPE_CHECKING = False
"""As in `typing`, whose import would take most of the time."""

__version__ = "0.1.0"

if TYPE_CHECKING:
    from openclore.client import (
        AsyncClore,
        BalanceError,
        BlockedError,
        Clore,
        CloreError,
        Gigaspot,
        InputError,
        LimitError,
        NetworkError,
        NotFoundError,
        OutcomeUnknownError,
        PriceError,
        RateError,
        RefusedError,
        ReplyError,
        ServiceError,
        SetupError,
        SignatureError,
        SignInError,
        Spacing,
        TimedOutError,
        UnavailableError,
        WaitError,
        WebhookMessage,
        settings_of,
        verify_webhook,
    )

__all__ = [
    "AsyncClore",
    "BalanceError",
    "BlockedError",
    "Clore",
    "CloreError",
    "Gigaspot",
    "InputError",
    "LimitError",
    "NetworkError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PriceError",
    "RateError",
    "RefusedError",
    "ReplyError",
    "ServiceError",
    "SetupError",
    "SignInError",
    "SignatureError",
    "Spacing",
    "TimedOutError",
    "UnavailableError",
    "WaitError",
    "WebhookMessage",
    "settings_of",
    "verify_webhook",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'openclore' has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module("openclore.client"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
