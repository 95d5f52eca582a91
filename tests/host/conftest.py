"""A real Docker Engine where there is one, with images made of nothing but busybox."""

import asyncio
import io
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import structlog
from aiodocker import Docker, DockerError

from openclore.host.docker import connect_engine
from openclore.host.runtime import RuntimeMissing


@pytest.fixture(autouse=True)
def _plain_log():
    """Whatever a test configures, the next one finds structlog as it was."""
    yield
    structlog.reset_defaults()


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
    asyncio.run(_delete(list(commands)))


async def _import(commands: dict[str, tuple[list[str], bool]], busybox: bytes) -> None:
    engine = await connect_engine()
    try:
        for image, (command, with_shell) in commands.items():
            repository, _, tag = image.partition(":")
            params = {"fromSrc": "-", "repo": repository, "tag": tag}
            params["changes"] = f"CMD {msgspec.json.encode(command).decode()}"
            async with engine._query(
                "images/create", "POST", params=params, data=io.BytesIO(_root(busybox, with_shell))
            ) as response:
                await response.read()
    finally:
        await engine.close()


async def _delete(images: list[str]) -> None:
    async with Docker() as engine:
        for image in images:
            try:
                await engine.images.delete(image, force=True)
            except DockerError as error:
                if error.status != 404:
                    raise


def _root(busybox: bytes, with_shell: bool) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        _add(tar, "bin/busybox", busybox)
        _add(tar, "www/index.html", b"hello\n")
        _add(tar, "tmp/empty", b"")
        for applet in ("sh", "httpd", "sleep", "cat", "env", "wc") if with_shell else ():
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    file = tarfile.TarInfo(name)
    file.size, file.mode = len(content), 0o755
    tar.addfile(file, io.BytesIO(content))
