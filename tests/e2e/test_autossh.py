"""SSH in an image that has none: renter, market, agent and engine as separate processes."""

import asyncio
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..host.debian_parts import program
from ..host.engine_images import a_root, delete_images, import_image
from ..processes import until
from .conftest import Installation

PACKAGE_MANAGER = b"#!/bin/sh\n[ $1 = update ] || mv /opt/dropbear /usr/sbin/dropbear\n"


@pytest.fixture(scope="module")
def plain_images(image: str) -> Iterator[tuple[str, str]]:
    """Without SSH, the first with a package manager that brings it. `image` stands for a working engine."""
    busybox = shutil.which("busybox")
    if not busybox or not shutil.which("ssh"):
        pytest.skip("there is no busybox to make images from, or no ssh to log in with")
    bare = {
        "bin/busybox": Path(busybox).read_bytes(),
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": b"root:x:0:\n",
        "root/empty": b"",
        "usr/sbin/empty": b"",
    }
    installable = {
        name.replace("usr/sbin/dropbear", "opt/dropbear"): content
        for name, content in program("dropbear", "dropbear-bin", "libtomcrypt1", "libtommath1").items()
    }
    applets = ("cat", "chmod", "env", "id", "mkdir", "mv", "rm", "sed", "sh", "sleep")
    links = {f"bin/{applet}": "busybox" for applet in applets}
    repository = f"openclore-e2e-{uuid.uuid4().hex[:8]}"
    names = (f"{repository}:installable", f"{repository}:bare")
    for name, files in zip(
        names, ({**bare, **installable, "bin/apt-get": PACKAGE_MANAGER}, bare), strict=True
    ):
        asyncio.run(import_image(name, a_root(files, links), "ENV A=1"))
    yield names
    asyncio.run(delete_images(list(names)))


def rent(world: Installation, image: str, *more: str) -> dict[str, Any]:
    (server,) = until(lambda: world.json("marketplace", who="renter"), what="the server to be listed")
    words = ("rent", str(server["id"]), "--image", image, "--currency", "usd", "--autossh", "--no-wait")
    return world.order(world.json(*words, *more, who="renter")["id"])


def over_ssh(order: dict[str, Any], key: Path, command: str) -> str:
    """What the command prints; empty while nobody answers."""
    (port,) = (pair.partition(":")[2] for pair in order["tcp_ports"] if pair.startswith("22:"))
    options = (
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "ConnectTimeout=5",
    )
    done = subprocess.run(
        [
            *("ssh", "-F", "none", "-i", str(key), "-p", port),
            *(f"-o{option}" for option in options),
            *(f"root@{order['pub_cluster'][0]}", command),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


@pytest.mark.timeout(240)
def test_a_renter_logs_in_to_an_image_that_had_no_ssh(
    installation: Installation, plain_images: tuple[str, str], tmp_path: Path
) -> None:
    world, (installable, bare) = installation, plain_images
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    world.settle_in("docker")

    order = rent(world, installable, "--ssh-key-file", f"{key}.pub", "--command", "echo done > /done")
    said = "0\ndone\n"
    until(lambda: over_ssh(order, key, "id -u; cat /done") == said, what="SSH to answer")
    world.json("cancel", str(order["id"]), who="renter")
    until(lambda: world.json("marketplace", who="renter"), what="the machine to be free")

    # What can't work ends the order, and the renter reads why.
    failed = rent(world, bare, "--ssh-key-file", f"{key}.pub")
    until(lambda: world.order(failed["id"])["state"] == "ended", what="the order to fail")
    row = world.order(failed["id"])
    assert row["end_reason"] == "failed"
    assert row["end_detail"] == "the image has no SSH server, and no package manager to install one with"
