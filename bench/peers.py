"""What we are measured against, installed by the benchmark itself where it can be.

Python packages go into a virtual environment of their own under `bench/.peers`, so that none of them meets
ours. nginx and the load generator wrk are Debian's; where they are not installed, their packages and those
they need are unpacked there, which takes no root.
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
        raise Missing(f"{packages[0]} can't be installed: {_last_line(error)}") from error
    stamp.write_text("\n".join(packages))
    return python


def program(name: str) -> str:
    """Where a program of Debian's package of the same name is.

    Raises:
        Missing: it is not installed and can't be had.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    return found or str(_unpacked(name))


def _unpacked(name: str) -> Path:
    """The program from its Debian package, unpacked when first asked for, with the libraries it needs.

    Raises:
        Missing: the packages can't be had.
    """
    folder = PEERS / name
    start = folder / "start"
    if start.exists():
        return start
    print(f"unpacking {name} into {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    apt = ["apt-get", "-qq"]
    for option in ("State::Lists", "Cache"):
        place = folder / "apt" / option
        place.mkdir(parents=True)
        apt += ["-o", f"Dir::{option}={place}"]
    try:
        _run([*apt, "update"])
        steps = _run([*apt, "install", "--simulate", "--no-install-recommends", name])
        packages = [line.split()[1] for line in steps.splitlines() if line.startswith("Inst ")]
        _run([*apt, "download", *packages], folder)
        for package in folder.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(folder / "root")])
        (program,) = (folder / "root" / "usr").glob(f"*bin/{name}")
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise Missing(f"{name} is not installed: apt-get install {name} ({_last_line(error)})") from error
    libraries = {str(file.parent) for file in (folder / "root").rglob("*.so*")}
    script = f'#!/bin/sh\nLD_LIBRARY_PATH={":".join(sorted(libraries))} exec {program} "$@"\n'
    start.write_text(script)
    start.chmod(0o755)
    return start


def _last_line(error: Exception) -> str:
    said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
    return said[-1] if said else str(error)


def _succeeds(words: list[str]) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _run(words: list[str], folder: Path | None = None) -> str:
    """What it prints."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout
