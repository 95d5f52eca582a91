"""Images for a real engine, made from files: nothing is pulled."""

import io
import tarfile

from aiodocker import Docker, DockerError

from openclore.host.docker import connect_engine


def a_root(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A file system as a tar archive: path to content, and path to what a symbolic link there says."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(content), 0o755
            tar.addfile(file, io.BytesIO(content))
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    return archive.getvalue()


async def import_image(image: str, root: bytes, change: str) -> None:
    """Make an image of a file system. `change` is a line of a Dockerfile. Raises `RuntimeMissing`."""
    repository, _, tag = image.partition(":")
    params = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": change}
    engine = await connect_engine()
    try:
        async with engine._query("images/create", "POST", params=params, data=io.BytesIO(root)) as response:
            await response.read()
    finally:
        await engine.close()


async def delete_images(images: list[str]) -> None:
    async with Docker() as engine:
        for image in images:
            try:
                await engine.images.delete(image, force=True)
            except DockerError as error:
                if error.status != 404:
                    raise
