"""How an order, or the background job, becomes a container: values in, the engine's configuration out."""

import hashlib
import io
import re
import tarfile
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from openclore.api.hostlink import Assignment, BackgroundJob

GIB = 2**30
MEMORY_RESERVE_BYTES_MIN = GIB // 2
MEMORY_RESERVE_BYTES_MAX = 4 * GIB
CPU_RESERVE = 0.25
PIDS_MAX = 8_192
LOG_SIZE_MAX = "10m"
LOG_FILES_MAX = "3"

CAPABILITIES_DROPPED = ["MKNOD", "NET_RAW"]
"""Of the engine's default set, what sshd and package managers can do without.

NET_RAW forges packets (`ping` works without it), MKNOD makes device nodes. AUDIT_WRITE and SYS_CHROOT look
droppable, but sshd needs them: PAM's login audit and privilege separation.
"""

ORDER_LABEL = "openclore.order"
BACKGROUND_LABEL = "openclore.background"
"""Its value is the revision of the job."""
SERVER_LABEL = "openclore.server"
MARKET_LABEL = "openclore.market"
PRIVATE_IMAGE_LABEL = "openclore.image-private"

OUR_DIRECTORY = ".openclore"
RUN_ONCE_SCRIPT = """\
(set -C; : > /.openclore/started) 2>/dev/null || exit 0
IFS= read -r first < /.openclore/command
case "$first" in
'#!'*) exec /.openclore/command ;;
*) exec /bin/sh /.openclore/command ;;
esac > /.openclore/command.log 2>&1
"""
"""`set -C` makes the creation of the marker atomic, so the command runs once however often this does."""

AUTOSSH_SCRIPT = (files(__package__) / "autossh.sh").read_text()
AUTOSSH_PATH = f"/{OUR_DIRECTORY}/autossh"
AUTOSSH_FAILED_STATUS = 113
AUTOSSH_FAILURE_PATH = f"/{OUR_DIRECTORY}/failure"
SENTENCE_BYTES_MAX = 1_024


@dataclass(frozen=True)
class Owner:
    """Whose containers these are. Server ids are counted per market, so both are needed."""

    market: str
    server_id: int

    @property
    def labels(self) -> dict[str, str]:
        return {MARKET_LABEL: self.market, SERVER_LABEL: str(self.server_id)}


@dataclass(frozen=True)
class Machine:
    """What the engine's machine has to share out."""

    memory_bytes: int
    cpu_threads: int
    has_gpus: bool


def order_name(order_id: int) -> str:
    """The name of the order's container and of its network."""
    return f"openclore-order-{order_id}"


def other_order_name(order_id: int, owner: Owner) -> str:
    """Their name where another market's order of the same number has the usual one."""
    return f"{order_name(order_id)}-{_digest(owner)}"


def background_name(owner: Owner) -> str:
    """The name of the background job's container and of its network."""
    return f"openclore-background-{owner.server_id}-{_digest(owner)}"


def _digest(owner: Owner) -> str:
    return hashlib.sha256(f"{owner.market} {owner.server_id}".encode()).hexdigest()[:8]


def memory_limit_bytes(memory_bytes: int) -> int:
    """All but a twentieth, which the system keeps: at least 0.5 GiB, at most 4 GiB, never more than half."""
    reserve = min(max(memory_bytes // 20, MEMORY_RESERVE_BYTES_MIN), MEMORY_RESERVE_BYTES_MAX)
    return memory_bytes - min(reserve, memory_bytes // 2)


def container_config(
    order: Assignment, owner: Owner, machine: Machine, network: str, bind_address: str, private_image: bool
) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create` for an order.

    The engine never restarts it: a job that has ended must not start over. The agent itself restarts what
    the machine or the engine interrupted (`DockerRuntime.look`).
    """
    labels = {ORDER_LABEL: str(order.order_id), **owner.labels}
    if private_image:
        labels[PRIVATE_IMAGE_LABEL] = "1"
    config = _confined(order.image, order.env, labels, machine, network)
    config["Hostname"] = f"order-{order.order_id}"
    config["ExposedPorts"] = {f"{port.container}/tcp": {} for port in order.ports}
    config["HostConfig"]["PortBindings"] = _port_bindings(order, bind_address)
    if order.autossh:
        config |= {"Entrypoint": ["/bin/sh", AUTOSSH_PATH], "Cmd": []}
    return config


def background_config(job: BackgroundJob, owner: Owner, machine: Machine, network: str) -> dict[str, Any]:
    """The same for the background job, which the agent starts again whenever it ends."""
    labels = {BACKGROUND_LABEL: str(job.revision), **owner.labels}
    config = _confined(job.image, job.env, labels, machine, network)
    config["Hostname"] = "background"
    if job.command:
        config |= {"Entrypoint": [f"/{OUR_DIRECTORY}/command"], "Cmd": []}
    return config


def _confined(
    image: str, env: dict[str, str], labels: dict[str, str], machine: Machine, network: str
) -> dict[str, Any]:
    """What all our containers have in common.

    No privileges, no mounts from the host, and limits for memory, CPU, processes and logs. A terminal and an
    open stdin, so that an image whose command is a shell stays up.
    """
    memory = memory_limit_bytes(machine.memory_bytes)
    return {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": labels,
        "Tty": True,
        "OpenStdin": True,
        "HostConfig": {
            "NetworkMode": network,
            "RestartPolicy": {"Name": "no"},
            "Privileged": False,
            "SecurityOpt": ["no-new-privileges:true"],
            "CapDrop": CAPABILITIES_DROPPED,
            "IpcMode": "private",
            "Memory": memory,
            "MemorySwap": memory,
            "ShmSize": memory // 2,
            "NanoCpus": int((machine.cpu_threads - CPU_RESERVE) * 1e9),
            "PidsLimit": PIDS_MAX,
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": LOG_SIZE_MAX, "max-file": LOG_FILES_MAX},
            },
            "DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}] if machine.has_gpus else [],
        },
    }


def network_config(name: str, order_id: int, owner: Owner) -> dict[str, Any]:
    """The body of the engine's `POST /networks/create`: a bridge of the order's own."""
    return _bridge(name, {ORDER_LABEL: str(order_id), **owner.labels})


def background_network_config(owner: Owner) -> dict[str, Any]:
    """The same for the background job, whatever its revision."""
    return _bridge(background_name(owner), {BACKGROUND_LABEL: "", **owner.labels})


def _bridge(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Labels": labels,
        "Options": {"com.docker.network.bridge.enable_icc": "false"},
    }


def our_files(order: Assignment) -> bytes:
    """The tar archive to be unpacked at the root of the container's file system; empty: it needs none.

    The directory is open to all users of the container, because the image decides as whom it runs.
    """
    scripts = {"command": order.command.replace("\r\n", "\n")} if order.command else {}
    if order.autossh:
        scripts |= {"autossh": AUTOSSH_SCRIPT, "run-command": RUN_ONCE_SCRIPT}
    return _archive(scripts)


def background_files(job: BackgroundJob) -> bytes:
    """The same for the background job. Without a `#!` line the kernel would refuse to run its script."""
    command = job.command.replace("\r\n", "\n")
    if not command:
        return b""
    return _archive({"command": command if command.startswith("#!") else f"#!/bin/sh\n{command}"})


def _archive(scripts: dict[str, str]) -> bytes:
    if not scripts:
        return b""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        directory = tarfile.TarInfo(OUR_DIRECTORY)
        directory.type, directory.mode = tarfile.DIRTYPE, 0o777
        tar.addfile(directory)
        for name, script in scripts.items():
            content = script.encode()
            file = tarfile.TarInfo(f"{OUR_DIRECTORY}/{name}")
            file.size, file.mode = len(content), 0o755
            tar.addfile(file, io.BytesIO(content))
    return archive.getvalue()


def sentence_in(archive: bytes) -> str:
    """The text of the first file in the beginning of a tar archive, on one line; empty: there is none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            file = tar.next()
    except tarfile.TarError:
        return ""
    if not file or not file.isfile():
        return ""
    content = archive[file.offset_data : file.offset_data + min(file.size, SENTENCE_BYTES_MAX)]
    text = content.decode(errors="replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def registry_credentials(image: str, registry_auth: str) -> dict[str, str]:
    """The engine's `AuthConfig` from "user:token". No `serveraddress` means the engine's default registry."""
    user, _, token = registry_auth.partition(":")
    first, slash, _ = image.partition("/")
    names_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return {"username": user, "password": token, **({"serveraddress": first} if names_registry else {})}


def is_image_name(image: str) -> bool:
    """Whether the name is safe as part of a path of the engine's API, where ".." would climb."""
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@/-]*", image)) and not any(
        part in ("", ".", "..") for part in image.split("/")
    )


def _port_bindings(order: Assignment, bind_address: str) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in order.ports:
        binding = {"HostIp": bind_address, "HostPort": str(port.public)}
        bindings.setdefault(f"{port.container}/tcp", []).append(binding)
    return bindings
