"""A real Docker Engine where there is one, with images made of nothing but busybox."""

import asyncio
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import structlog
from engine_images import a_root, delete_images, import_image

from openclore.host.runtime import RuntimeMissing


@pytest.fixture(autouse=True)
def _plain_log():
    """Whatever a test configures, the next one finds structlog as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@dataclass(frozen=True)
class Images:
    """`web` serves "hello" on port 80; `shell` is a bare /bin/sh; `job` ends with 3; `bare` has no sh."""

    web: str
    shell: str
    job: str
    bare: str


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("there is no busybox to make images from")
    repository = f"openclore-host-test-{uuid.uuid4().hex[:8]}"
    named = Images(*(f"{repository}:{field}" for field in Images.__dataclass_fields__))
    commands = {
        named.web: (["httpd", "-f", "-p", "80", "-h", "/www"], True),
        named.shell: (["/bin/sh"], True),
        named.job: (["sh", "-c", "exit 3"], True),
        named.bare: (["/bin/busybox", "sleep", "1000"], False),
    }
    try:
        asyncio.run(_import(commands, Path(busybox).read_bytes()))
    except RuntimeMissing as missing:
        pytest.skip(f"no container is tested: {missing}")
    yield named
    asyncio.run(delete_images(list(commands)))


async def _import(commands: dict[str, tuple[list[str], bool]], busybox: bytes) -> None:
    files = {"bin/busybox": busybox, "www/index.html": b"hello\n", "tmp/empty": b""}
    shell = {f"bin/{applet}": "busybox" for applet in ("sh", "httpd", "sleep", "cat", "env", "wc")}
    for image, (command, with_shell) in commands.items():
        root = a_root(files, shell if with_shell else {})
        await import_image(image, root, f"CMD {msgspec.json.encode(command).decode()}")
