"""Four processes that share a key and call as fast as our client lets them, on a market with its usual pace.

Measured: calls answered per second in each fifth of the time, against the one per second that a market
allows, and the share of answers that were no refusal (code 5).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from openclore.store.store import database_url

from .market import serving
from .measure import NotMeasured, Row, Scale
from .prefill import fill
from .processes import ROOT

PROCESSES = 4
WINDOWS = 5
USUAL_PACE = {"OPENCLORE_PACE__SPACING_SECONDS": "1"}
ALLOWED = 1.0
START_SECONDS = 1.5
"""Until all four have begun."""


def measure(scale: Scale) -> list[Row | NotMeasured]:
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as folder:
        url = database_url(Path(folder))
        filled = fill(url, 10)
        with serving(url, filled, USUAL_PACE) as market:
            begin = time.time() + START_SECONDS
            words = [sys.executable, "-m", "bench.caller", str(market.port), filled.secret]
            callers = [
                subprocess.Popen([*words, str(begin + scale.pace_seconds)], cwd=ROOT, stdout=subprocess.PIPE)
                for _ in range(PROCESSES)
            ]
            told = [json.loads(caller.communicate()[0]) for caller in callers]
    answered = [at for one in told for at in one["answered"]]
    refused = sum(one["refused"] for one in told)
    window = scale.pace_seconds / WINDOWS
    rates = [
        sum(begin + i * window <= at < begin + (i + 1) * window for at in answered) / window
        for i in range(WINDOWS)
    ]
    what = f"{PROCESSES} processes on one key, {scale.pace_seconds} s"
    return [
        Row(
            what=what,
            against="the allowed rate",
            unit="/s",
            ours=rates,
            theirs=[ALLOWED] * WINDOWS,
            note="calls answered; a sample is a fifth of the time",
            more=True,
            target=0.95,
        ),
        Row(
            what=f"{what}: not refused",
            against="every answer",
            unit="of 1",
            ours=[len(answered) / (len(answered) + refused)],
            theirs=[1.0],
            note=f"{refused} refusals, {len(answered)} answers",
            more=True,
            target=1.0,
        ),
    ]
