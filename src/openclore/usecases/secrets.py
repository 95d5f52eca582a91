"""Secrets we hand out. Only their hashes are kept, save an init token until its first use."""

import hashlib
import secrets
import string

from ..api.hostlink import INIT_TOKEN_LENGTH

_ALPHABET = string.ascii_letters + string.digits
_KEY_LENGTH = 43
"""Letters and digits that hold 256 random bits."""


def new_key() -> str:
    """An API key or a host credential."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH))


def new_init_token() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(INIT_TOKEN_LENGTH))


def hashed(secret: str) -> str:
    """What is kept of a secret. Random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
