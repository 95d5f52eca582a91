"""How long a program waits for our package and our command line, against the official SDK's.

Measured, for a fresh interpreter each time: milliseconds from the creation of the process to its end, of
`import openclore` against `import clore_ai`, and of `openclore --help` against `clore --help`. As ours loads
its client when that is first used, the import of the client itself is a row too.
"""

import os
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

from .measure import NotMeasured, Row, Scale, in_turns, milliseconds

IMPORT = "import of the package"
CLIENT = "import of the client"
HELP = "--help of the command line"


def measure(scale: Scale) -> list[Row | NotMeasured]:
    try:
        import clore_ai  # noqa: F401 -- is it here?
    except ModuleNotFoundError:
        return [
            NotMeasured(what=what, against="the official SDK", reason="clore-ai is not installed")
            for what in (IMPORT, CLIENT, HELP)
        ]
    python, beside = [sys.executable, "-c"], Path(sys.executable).parent
    return [
        _row(what, ours, theirs, scale.command_turns, target)
        for what, ours, theirs, target in (
            (IMPORT, [*python, "import openclore"], [*python, "import clore_ai"], None),
            (
                CLIENT,
                [*python, "from openclore import Clore"],
                [*python, "from clore_ai import CloreAI"],
                None,
            ),
            (HELP, [str(beside / "openclore"), "--help"], [str(beside / "clore"), "--help"], 0.7),
        )
    ]


def _row(what: str, ours: list[str], theirs: list[str], turns: int, target: float | None) -> Row:
    samples = in_turns(
        lambda: milliseconds(partial(_run, ours)), lambda: milliseconds(partial(_run, theirs)), turns
    )
    return Row(
        what=what,
        against=f"the official SDK, clore-ai {version('clore-ai')}",
        unit="ms",
        ours=samples[0],
        theirs=samples[1],
        note=f"{_shown(ours)}, {_shown(theirs)}; a fresh process each time",
        target=target,
    )


def _shown(words: list[str]) -> str:
    return " ".join([Path(words[0]).name, *words[1:]])


def _run(words: list[str]) -> None:
    subprocess.run(words, env={**os.environ, "COLUMNS": "100"}, capture_output=True, check=True)
