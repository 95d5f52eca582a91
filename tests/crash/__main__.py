"""`python -m tests.crash`: kill a market under load, start it again, check its books; many times."""

import argparse
import random
import shutil
import tempfile
import warnings
from pathlib import Path

from .databases import Sqlite, a_postgres
from .drill import drill

KILLS = {"sqlite": 200, "postgresql": 100}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--database", choices=KILLS, help="on this one only")
    parser.add_argument("--kills", type=int, help=", ".join(f"{name}: {n}" for name, n in KILLS.items()))
    parser.add_argument("--seed", type=int, help="of a run to repeat, as far as timing can be")
    asked = parser.parse_args()
    seed = random.randrange(10**9) if asked.seed is None else asked.seed
    reports = [
        f"{name}, seed {seed}: {_run(name, asked.kills or kills, seed)}"
        for name, kills in KILLS.items()
        if asked.database in (None, name)
    ]
    print("\n".join(reports))


def _run(database: str, kills: int, seed: int) -> str:
    folder = Path(tempfile.mkdtemp(prefix="openclore-crash-"))
    print(f"{database}, seed {seed}, in {folder}", flush=True)
    if database == "sqlite":
        report = drill(Sqlite(folder), folder, kills=kills, seed=seed)
    else:
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        with a_postgres(folder) as postgres:
            report = drill(postgres, folder, kills=kills, seed=seed)
    shutil.rmtree(folder)
    return str(report)


if __name__ == "__main__":
    main()
