"""What we are measured against, installed by the benchmark itself where it can be.

Python packages go into a virtual environment of their own under `bench/.peers`, so that none of them meets
ours. nginx and the load generator wrk are Debian's: `apt-get install nginx wrk`.
"""

import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / ".peers"
FASTAPI = ("fastapi==0.165.0", "sqlalchemy[asyncio]==2.1.*", "aiosqlite==0.22.1", "uvicorn[standard]==0.54.0")


class Missing(Exception):
    """A peer is not here and can't be had; the message says what to do."""


def python_with(name: str, packages: tuple[str, ...]) -> Path:
    """The interpreter of a virtual environment with these packages, made when first asked for.

    Raises:
        Missing: they can't be installed.
    """
    folder = PEERS / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    if stamp.exists() and stamp.read_text() == "\n".join(packages):
        return python
    print(f"installing {', '.join(packages)} into {folder} ...", file=sys.stderr)
    uv = Path(sys.executable).with_name("uv")
    make = [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
    add = [str(uv), "pip", "install", "--quiet", "--python", str(python), *packages]
    try:
        _run(make)
        # The second try is for networks whose certificates only this machine knows.
        if not _succeeds(add):
            _run([*add, "--system-certs"])
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise Missing(f"{packages[0]} can't be installed: {said[-1] if said else error}") from error
    stamp.write_text("\n".join(packages))
    return python


def program(name: str) -> str:
    """Where a program of the system is.

    Raises:
        Missing: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise Missing(f"{name} is not installed: apt-get install {name}")
    return found


def _succeeds(words: list[str]) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _run(words: list[str]) -> None:
    subprocess.run(words, capture_output=True, text=True, check=True)
