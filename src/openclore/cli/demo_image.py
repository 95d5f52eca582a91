"""The image that the demo rents a container from: a web server that says hello."""

import asyncio
import io
import shutil
import tarfile
from pathlib import Path

from aiodocker import Docker, DockerError

from ..host.docker import connect_engine
from ..host.runtime import RuntimeMissing

IMAGE = "openclore/hello:1"
PORT = 8000
HELLO = "Hello from a rented container.\n"
BUILD_TIMEOUT_SECONDS = 120
_BASE = "busybox:stable"
_SERVE = f'CMD ["/bin/busybox", "httpd", "-f", "-p", "{PORT}", "-h", "/www"]'


class NoImage(Exception):
    """The demo can't run a container here; the message says why."""


def prepare() -> str:
    """Have the image on the local engine, made of this machine's busybox or else of a pulled one; its name.

    Raises:
        NoImage: no engine answers, or there is nothing to make the image of.
    """
    return asyncio.run(_prepare())


async def _prepare() -> str:
    try:
        engine = await connect_engine()
    except RuntimeMissing as missing:
        raise NoImage(str(missing).splitlines()[0]) from missing
    try:
        async with asyncio.timeout(BUILD_TIMEOUT_SECONDS):
            await _build(engine, _static_busybox())
    except (DockerError, TimeoutError) as error:
        reason = getattr(error, "message", "") or "it took too long"
        raise NoImage(f"Docker Engine could not build the demo's image: {reason}") from error
    finally:
        await engine.close()
    return IMAGE


def _static_busybox() -> bytes | None:
    """This machine's busybox, if it has one that needs no libraries."""
    found = shutil.which("busybox")
    program = Path(found).read_bytes() if found else b""
    return program if program.startswith(b"\x7fELF") and b"/ld-" not in program else None


async def _build(engine: Docker, busybox: bytes | None) -> None:
    files = {"root/www/index.html": HELLO.encode()}
    if busybox:
        files["root/bin/busybox"] = busybox
        files["root/bin/sh"] = busybox
    base = "scratch" if busybox else _BASE
    files["Dockerfile"] = f"FROM {base}\nCOPY root/ /\n{_SERVE}\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    context.seek(0)
    await engine.images.build(fileobj=context, encoding="gzip", tag=IMAGE, forcerm=True)
