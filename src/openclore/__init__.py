"""OpenClore: the GPU marketplace behind the Clore API, in Python."""

__version__ = "0.1.0"
