"""Programs out of Debian's packages, with the libraries they need, to make images of."""

import atexit
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest


def program(name: str, *packages: str) -> dict[str, bytes]:
    """Path in the image to content: /usr/sbin/NAME and its libraries, from here or from Debian's mirror."""
    found = shutil.which(name)
    if found:
        return {f"usr/sbin/{name}": Path(found).read_bytes(), **libraries(Path(found))}
    root = _unpacked(packages)
    (path,) = (path for path in root.glob(f"usr/*bin/{name}") if path.is_file())
    return {f"usr/sbin/{name}": path.read_bytes(), **libraries(path, root)}


def libraries(path: Path, root: Path = Path("/nowhere")) -> dict[str, bytes]:
    """All in /lib, where every loader looks; the loader itself where programs expect it."""
    folders = ":".join(str(folder) for folder in root.glob("**/lib/*-linux-gnu"))
    listed = subprocess.run(
        ["ldd", path], capture_output=True, text=True, env={"LD_LIBRARY_PATH": folders}, check=True
    ).stdout
    found = re.findall(r"(?:=> )?(/\S+) \(0x", listed)
    assert "not found" not in listed, listed
    return {
        (name if "/ld-linux" in name else f"/lib/{Path(name).name}").lstrip("/"): Path(name).read_bytes()
        for name in found
    }


@cache
def _unpacked(packages: tuple[str, ...]) -> Path:
    """The packages' files in a folder of their own; skips the test where there is no mirror."""
    folder = Path(tempfile.mkdtemp(prefix="openclore-debian-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not shutil.which("apt-get"):
        pytest.skip(f"no {packages[0]} here, and no apt-get to fetch it with")
    fetched = subprocess.run(
        ["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        pytest.skip(f"no {packages[0]} here, and none could be fetched: {fetched.stderr.strip()}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    return folder / "root"
