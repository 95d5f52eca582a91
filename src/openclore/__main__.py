"""`python -m openclore`."""

from .cli.main import run

run()
