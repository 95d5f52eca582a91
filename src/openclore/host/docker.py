"""Orders and the background job as containers of a Docker Engine.

What belongs to them is found by its labels, never by name: two agents can share an engine, and a
container somebody else made is never touched.
"""

import asyncio
import base64
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any

import aiohttp
import msgspec
import psutil
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

from openclore.api.hostlink import Assignment, BackgroundJob, Container

from . import recipe, sentences
from .recipe import Machine, Owner
from .runtime import (
    DeploymentFailed,
    Found,
    FoundBackground,
    Progress,
    RuntimeMissing,
    RuntimeTrouble,
)
from .state import PrivateImages

CALL_SECONDS_MAX = 60.0
PULL_SECONDS_MAX = 1_800.0
PULL_RETRY_SECONDS = (2.0, 5.0)
START_TRIES_MAX = 5
"""With the keeper's pauses, enough for an engine to let go of a port whose last holder just left."""
STOP_GRACE_SECONDS = 2
"""Short: what the container's processes could still save goes away with its files."""
BACKGROUND_STOP_GRACE_SECONDS = 1
"""An order waits for it."""
ENGINE_STOP_SECONDS_MAX = 60.0
ARCHIVE_BYTES_MAX = 8_192
ALIVE = ("running", "paused", "restarting")
UNREACHABLE = {502, 503, 504, 900}
"""Statuses that speak of the engine, not of the request; 900 is the library's "no connection"."""


async def connect_engine() -> Docker:
    """An engine that answers. Honours DOCKER_HOST. Raises `RuntimeMissing`."""
    try:
        engine = Docker()
    except (AssertionError, ValueError) as error:  # the library asserts that it found a socket
        raise _missing("there is no socket of one") from error
    except DockerError as error:
        raise _missing(error.message) from error
    try:
        await engine_info(engine)
    except BaseException as error:
        await engine.close()
        if isinstance(error, RuntimeTrouble):
            raise _missing(str(error)) from error
        raise
    return engine


async def engine_info(engine: Docker) -> dict[str, Any]:
    """The engine's `GET /info`. Raises `RuntimeTrouble`."""
    async with _translated(), _bounded(CALL_SECONDS_MAX):
        return dict(await engine.system.info())


class DockerRuntime:
    """The containers of one server on a Docker Engine.

    `bind_address` is where public ports listen. `private_images` is what an earlier agent noted by
    `note_private_images`, so that none outlives its order. Takes over `engine` and closes it.
    """

    name = "docker"

    def __init__(
        self,
        engine: Docker,
        owner: Owner,
        machine: Machine,
        bind_address: str = "0.0.0.0",  # noqa: S104 - renters come from anywhere
        private_images: PrivateImages | None = None,
        note_private_images: Callable[[PrivateImages], None] = lambda images: None,
        pull_retry_seconds: Sequence[float] = PULL_RETRY_SECONDS,
        pull_seconds_max: float = PULL_SECONDS_MAX,
        stop_grace_seconds: int = STOP_GRACE_SECONDS,
        background_stop_grace_seconds: int = BACKGROUND_STOP_GRACE_SECONDS,
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._machine = machine
        self._bind_address = bind_address
        self._pull_retry_seconds = pull_retry_seconds
        self._pull_seconds_max = pull_seconds_max
        self._stop_grace_seconds = stop_grace_seconds
        self._background_stop_grace_seconds = background_stop_grace_seconds
        self._failed_starts: Counter[int] = Counter()
        self._failed_background_starts = 0
        self._private_images = private_images or {}
        self._note_private_images = note_private_images
        self._engine_process: psutil.Process | None = None

    async def look(self) -> dict[int, Found]:
        async with _translated():
            containers = await self._containers()
            networks = await self._networks()
            made_so_far = [*self._private_images, *(_order_id(network["Labels"]) for network in networks)]
            found = {order_id: _being_created(order_id) for order_id in made_so_far}
            for container in containers:
                found[_order_id(container["Labels"])] = await self._found(container)
            return found

    async def deploy(self, order: Assignment, progress: Progress) -> str:
        try:
            async with _translated():
                remark = await self._deploy(order, progress)
        except DeploymentFailed:
            with suppress(RuntimeTrouble):  # the next plan removes what this could not
                await self.remove(order.order_id)
            raise
        del self._failed_starts[order.order_id]
        return remark

    async def remove(self, order_id: int) -> None:
        async with _translated():
            for container in await self._containers(order_id):
                await self._remove_container(container, self._stop_grace_seconds)
            await self._remove_networks(await self._networks(order_id))
            if order_id in self._private_images:
                await self._remove_image(self._private_images[order_id])
                self._set_private_image(order_id, None)
        del self._failed_starts[order_id]

    async def look_background(self) -> FoundBackground:
        async with _translated():
            for container in await self._background_containers():
                return FoundBackground(
                    "running" if container["State"] in ALIVE else "stopped",
                    revision=int(container["Labels"][recipe.BACKGROUND_LABEL]),
                    detail=container["Status"],
                )
            return FoundBackground()

    async def run_background(self, job: BackgroundJob) -> None:
        async with _translated():
            existing = await self._background_containers()
            container = existing[0] if existing else await self._create_background(job)
            try:
                await self._start(container, recipe.background_files(job))
            except DockerError as error:
                raise await self._background_start_error(error) from error
            self._failed_background_starts = 0

    async def stop_background(self) -> None:
        async with _translated():
            for container in await self._background_containers():
                with _absent_is_fine():
                    async with _bounded(CALL_SECONDS_MAX):
                        await container.stop(t=self._background_stop_grace_seconds)

    async def remove_background(self) -> None:
        async with _translated():
            for container in await self._background_containers():
                await self._remove_container(container, self._background_stop_grace_seconds)
            await self._remove_networks(await self._background_networks())
        self._failed_background_starts = 0

    async def close(self) -> None:
        await self._engine.close()

    async def _deploy(self, order: Assignment, progress: Progress) -> str:
        existing = await self._containers(order.order_id)
        if existing:
            container = existing[0]
        else:
            await self._provide_image(order, progress)
            progress("creating")
            await self._provide_network(order.order_id)
            container = await self._create(order)
        state = await self._state(container)
        if not _has_started(state):
            await self._start_first_time(order, container)
        elif state["Status"] == "exited":
            if not self._was_interrupted(state):
                return ""
            await self._start_again(container)
        return await self._run_command_once(order, container)

    async def _found(self, container: DockerContainer) -> Found:
        """`container` as listed."""
        order_id = _order_id(container["Labels"])
        if container["State"] == "created":
            return _being_created(order_id)
        if container["State"] in ALIVE:
            ports = frozenset(port["PublicPort"] for port in container["Ports"] if "PublicPort" in port)
            return Found(Container(order_id=order_id, state="running"), public_ports=ports)
        try:
            state = await self._state(container)
        except DockerError as error:
            if error.status != 404:
                raise
            return Found(Container(order_id=order_id, state="exited"), unfinished=True)
        if self._was_interrupted(state):
            detail = "stopped by a restart of the machine or its engine; it is being started again"
            return Found(Container(order_id=order_id, state="exited", detail=detail), unfinished=True)
        if state["ExitCode"] == recipe.AUTOSSH_FAILED_STATUS and (reason := await self._gave_up(container)):
            return Found(Container(order_id=order_id, state="failed", detail=reason))
        detail = sentences.exited(state["ExitCode"], state["OOMKilled"])
        return Found(Container(order_id=order_id, state="exited", detail=detail))

    async def _gave_up(self, container: DockerContainer) -> str:
        """The sentence that an autossh entry point left; empty where there is none.

        The file is the renter's to write, so only its beginning is read.
        """
        path = f"containers/{container.id}/archive"
        try:
            async with (
                _bounded(CALL_SECONDS_MAX),
                self._engine._query(path, params={"path": recipe.AUTOSSH_FAILURE_PATH}) as response,
            ):
                try:
                    archive = await response.content.readexactly(ARCHIVE_BYTES_MAX)
                except asyncio.IncompleteReadError as whole:
                    archive = whole.partial
                finally:
                    response.close()
        except DockerError as error:
            if error.status != 404:
                raise
            return ""
        return recipe.sentence_in(archive)

    async def _provide_image(self, order: Assignment, progress: Progress) -> None:
        others_private = {image for other, image in self._private_images.items() if other != order.order_id}
        if order.image not in others_private and await self._has_image(order.image):
            return
        progress("pulling")
        if order.registry_auth:
            self._set_private_image(order.order_id, order.image)
        await self._pull_patiently(order.image, order.registry_auth)

    async def _pull_patiently(self, image: str, registry_auth: str) -> None:
        for retry_seconds in (*self._pull_retry_seconds, None):
            message = await self._pull(image, registry_auth)
            if not message and await self._has_image(image):
                return
            verdict = sentences.pull_failure(image, message, bool(registry_auth))
            if verdict.final or retry_seconds is None:
                raise DeploymentFailed(verdict.sentence)
            await asyncio.sleep(retry_seconds)

    async def _has_image(self, image: str) -> bool:
        if not recipe.is_image_name(image):
            raise DeploymentFailed(f"'{image}' is not a valid image name")
        try:
            async with _bounded(CALL_SECONDS_MAX):
                await self._engine.images.inspect(image)
        except DockerError as error:
            if error.status == 404:
                return False
            if error.status == 400:
                raise DeploymentFailed(f"'{image}' is not a valid image name") from error
            raise
        return True

    async def _pull(self, image: str, registry_auth: str) -> str:
        """The engine's message where the pull failed, else empty.

        Not `images.pull`: that makes the first part of "user/image" the registry's address, which engines
        that compare addresses then take for other people's credentials.
        """
        headers = {}
        if registry_auth:
            credentials = recipe.registry_credentials(image, registry_auth)
            encoded = base64.urlsafe_b64encode(msgspec.json.encode(credentials))
            headers["X-Registry-Auth"] = encoded.decode()
        params = {"fromImage": image}
        if not {":", "@"} & set(image.rpartition("/")[2]):
            params["tag"] = "latest"
        try:
            async with asyncio.timeout(self._pull_seconds_max):
                return await self._pull_stream(params, headers)
        except TimeoutError as error:
            minutes = round(self._pull_seconds_max / 60)
            raise DeploymentFailed(f"image '{image}' could not be pulled within {minutes} minutes") from error
        except aiohttp.ClientError as error:
            raise RuntimeTrouble(f"the Docker Engine broke off a pull: {error}") from error
        except DockerError as error:
            if error.status in UNREACHABLE:
                raise
            return error.message

    async def _pull_stream(self, params: dict[str, str], headers: dict[str, str]) -> str:
        no_limit = aiohttp.ClientTimeout()
        async with self._engine._query(
            "images/create", "POST", params=params, headers=headers, timeout=no_limit
        ) as response:
            try:
                async for line in response.content:
                    message = msgspec.json.decode(line).get("error") if line.strip() else None
                    if message:
                        return str(message)
                return ""
            finally:
                response.close()

    async def _provide_network(self, order_id: int) -> None:
        for name in self._names(order_id):
            if await self._networks(order_id):
                return
            with _taken_is_fine():
                async with _bounded(CALL_SECONDS_MAX):
                    await self._engine.networks.create(recipe.network_config(name, order_id, self._owner))
        if not await self._networks(order_id):
            raise RuntimeTrouble(f"the network names of order {order_id} are taken")

    async def _create(self, order: Assignment) -> DockerContainer:
        (network, *_) = await self._networks(order.order_id)
        private_image = order.order_id in self._private_images
        config = recipe.container_config(
            order, self._owner, self._machine, network["Id"], self._bind_address, private_image
        )
        try:
            for name in self._names(order.order_id):
                with _taken_is_fine():
                    async with _bounded(CALL_SECONDS_MAX):
                        return await self._engine.containers.create(config, name=name)
                if earlier := await self._containers(order.order_id):
                    return earlier[0]
        except DockerError as error:
            if error.status == 404:
                raise RuntimeTrouble(
                    f"image '{order.image}' vanished before its container was made"
                ) from error
            raise self._start_error(order, error) from error
        raise RuntimeTrouble(f"the container names of order {order.order_id} are taken")

    def _names(self, order_id: int) -> tuple[str, str]:
        return recipe.order_name(order_id), recipe.other_order_name(order_id, self._owner)

    async def _start_first_time(self, order: Assignment, container: DockerContainer) -> None:
        try:
            await self._start(container, recipe.our_files(order))
        except DockerError as error:
            raise self._start_error(order, error) from error

    async def _start(self, container: DockerContainer, archive: bytes) -> None:
        """Start it with these files in it; one that runs already stays as it is."""
        if archive:
            async with _bounded(CALL_SECONDS_MAX):
                await container.put_archive("/", archive)  # type: ignore[no-untyped-call]
        async with _bounded(CALL_SECONDS_MAX):
            await container.start()

    async def _create_background(self, job: BackgroundJob) -> DockerContainer:
        # An image that a renter's credentials brought is none of the host's business.
        if job.image in self._private_images.values() or not await self._has_image(job.image):
            await self._pull_patiently(job.image, registry_auth="")
        if not await self._background_networks():
            async with _bounded(CALL_SECONDS_MAX):
                await self._engine.networks.create(recipe.background_network_config(self._owner))
        (network, *_) = await self._background_networks()
        config = recipe.background_config(job, self._owner, self._machine, network["Id"])
        async with _bounded(CALL_SECONDS_MAX):
            return await self._engine.containers.create(config, name=recipe.background_name(self._owner))

    def _start_error(self, order: Assignment, error: DockerError) -> DeploymentFailed | RuntimeTrouble:
        """An order that never ran is given up; an engine that broke down meanwhile is not its fault."""
        if error.status in UNREACHABLE:
            return RuntimeTrouble(error.message)
        verdict = sentences.start_failure(error.message, order.autossh)
        self._failed_starts[order.order_id] += 1
        if verdict.final or error.status == 400 or self._failed_starts[order.order_id] >= START_TRIES_MAX:
            return DeploymentFailed(verdict.sentence)
        return RuntimeTrouble(verdict.sentence)

    async def _background_start_error(self, error: DockerError) -> RuntimeTrouble:
        """The job's files stay for another try, unless something is gone for good or no try helps."""
        verdict = sentences.start_failure(error.message)
        if error.status in UNREACHABLE:
            return RuntimeTrouble(verdict.sentence)
        self._failed_background_starts += 1
        hopeless = verdict.final or error.status in (400, 404)
        if hopeless or self._failed_background_starts >= START_TRIES_MAX:
            await self.remove_background()  # the next try makes it anew
        return RuntimeTrouble(verdict.sentence)

    async def _start_again(self, container: DockerContainer) -> None:
        """A failure is never final here: the container holds a renter's work."""
        async with _bounded(CALL_SECONDS_MAX):
            await container.start()

    async def _run_command_once(self, order: Assignment, container: DockerContainer) -> str:
        if (
            not order.command or order.autossh
        ):  # there the entry point runs it, once it has no more to install
            return ""
        try:
            async with _bounded(CALL_SECONDS_MAX):
                script = await container.exec(
                    ["/bin/sh", "-c", recipe.RUN_ONCE_SCRIPT], stdout=False, stderr=False
                )
                await script.start(detach=True)
        except DockerError as error:
            if error.status in UNREACHABLE:
                raise
            return sentences.command_failure(error.message)
        return ""

    async def _remove_container(self, container: DockerContainer, stop_grace_seconds: int) -> None:
        with _absent_is_fine():
            async with _bounded(CALL_SECONDS_MAX):
                await container.stop(t=stop_grace_seconds)
        with _absent_is_fine():
            async with _bounded(CALL_SECONDS_MAX):
                await container.delete(force=True, v=True)
        if recipe.PRIVATE_IMAGE_LABEL in container["Labels"]:
            await self._remove_image(container["Image"])

    async def _remove_networks(self, networks: list[dict[str, Any]]) -> None:
        for network in networks:
            with _absent_is_fine():
                async with _bounded(CALL_SECONDS_MAX):
                    await (await self._engine.networks.get(network["Id"])).delete()

    async def _remove_image(self, image: str) -> None:
        """A private image must not stay for the next renter, who may have no right to it."""
        try:
            async with _bounded(CALL_SECONDS_MAX):
                await self._engine.images.delete(image)
        except DockerError as error:
            if error.status not in (404, 409):  # gone, or another container uses it
                raise

    def _set_private_image(self, order_id: int, image: str | None) -> None:
        others = {other: name for other, name in self._private_images.items() if other != order_id}
        self._private_images = others | ({order_id: image} if image else {})
        self._note_private_images(self._private_images)

    def _was_interrupted(self, state: dict[str, Any]) -> bool:
        """Whether the machine or the engine stopped it, so that it should go on.

        A stopping engine ends its containers within the minute before it starts again, or before the machine
        does. After a reboot nothing tells these from containers that ended by themselves earlier: all start.
        """
        started, finished = (
            datetime.fromisoformat(state[key]).timestamp() for key in ("StartedAt", "FinishedAt")
        )
        boot, engine_start = psutil.boot_time(), self._engine_started_at()
        return started < engine_start and (
            finished > engine_start - ENGINE_STOP_SECONDS_MAX or finished < boot
        )

    def _engine_started_at(self) -> float:
        """When the local engine's process began; where we can't see one, when the machine did (Unix s)."""
        if self._engine_process is None or not self._engine_process.is_running():
            self._engine_process = _find_engine_process()
        return float(self._engine_process.create_time() if self._engine_process else psutil.boot_time())

    async def _state(self, container: DockerContainer) -> dict[str, Any]:
        """Its state in full: Status, StartedAt, FinishedAt, ExitCode, OOMKilled."""
        async with _bounded(CALL_SECONDS_MAX):
            inspected = await self._engine.containers.get(container.id)
            return dict(inspected["State"])

    async def _containers(self, order_id: int | None = None) -> list[DockerContainer]:
        return await self._list_containers(_order_label(order_id))

    async def _networks(self, order_id: int | None = None) -> list[dict[str, Any]]:
        return await self._list_networks(_order_label(order_id))

    async def _background_containers(self) -> list[DockerContainer]:
        return await self._list_containers(recipe.BACKGROUND_LABEL)

    async def _background_networks(self) -> list[dict[str, Any]]:
        return await self._list_networks(recipe.BACKGROUND_LABEL)

    async def _list_containers(self, label: str) -> list[DockerContainer]:
        """As the engine lists them: with Image, Labels, State and Status."""
        filters = msgspec.json.encode(self._filters(label)).decode()
        async with _bounded(CALL_SECONDS_MAX):
            return await self._engine.containers.list(all=True, filters=filters)

    async def _list_networks(self, label: str) -> list[dict[str, Any]]:
        async with _bounded(CALL_SECONDS_MAX):
            return await self._engine.networks.list(filters=self._filters(label))

    def _filters(self, label: str) -> dict[str, list[str]]:
        return {"label": [label, *(f"{key}={value}" for key, value in self._owner.labels.items())]}


@asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    """Limit one call of the engine. No answer is trouble; a refusal is the caller's to judge."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise RuntimeTrouble(f"the Docker Engine did not answer within {seconds:.0f} s") from error
    except aiohttp.ClientError as error:
        raise RuntimeTrouble(f"the Docker Engine broke off an answer: {error}") from error


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except DockerError as error:
        raise RuntimeTrouble(f"the Docker Engine refused: {error.message}") from error


@contextmanager
def _absent_is_fine() -> Iterator[None]:
    try:
        yield
    except DockerError as error:
        already_being_removed = error.status == 409 and "in progress" in error.message
        if error.status != 404 and not already_being_removed:
            raise


@contextmanager
def _taken_is_fine() -> Iterator[None]:
    try:
        yield
    except DockerError as error:
        if error.status != 409:
            raise


def _missing(reason: str) -> RuntimeMissing:
    where = os.environ.get("DOCKER_HOST", "its usual socket")
    if "permission denied" in reason.lower():
        what = f"you may not use the Docker Engine at {where}: join the group docker, or run as root"
    elif "cannot connect" in reason.lower():
        what = f"no Docker Engine answers at {where}"
    else:
        what = f"no Docker Engine answers: {reason}"
    return RuntimeMissing(f"{what}.\nWithout one, --runtime simulated stands in; it runs no containers.")


def _order_label(order_id: int | None) -> str:
    """What the containers of this order carry, or of any."""
    return recipe.ORDER_LABEL if order_id is None else f"{recipe.ORDER_LABEL}={order_id}"


def _order_id(labels: dict[str, str]) -> int:
    return int(labels[recipe.ORDER_LABEL])


def _being_created(order_id: int) -> Found:
    return Found(Container(order_id=order_id, state="creating"), unfinished=True)


def _has_started(state: dict[str, Any]) -> bool:
    return not str(state["StartedAt"]).startswith("0001-")


def _find_engine_process() -> psutil.Process | None:
    """The oldest of that name: a renter's container may run an engine too, and begins after ours."""
    processes = [
        process
        for process in psutil.process_iter(["name", "create_time"])
        if process.info["name"] == "dockerd"
    ]
    return min(processes, key=lambda process: float(process.info["create_time"]), default=None)
