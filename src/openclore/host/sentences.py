"""The engine's messages, sorted by what follows from them and put into sentences for a renter."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

ENGINE_MESSAGE_LENGTH_MAX = 300


@dataclass(frozen=True)
class Verdict:
    """`final`: trying again would not help."""

    sentence: str
    final: bool


def pull_failure(image: str, message: str, with_credentials: bool) -> Verdict:
    """Why an image could not be pulled. Whatever we don't recognise may be the network: not final."""
    text = message.lower()
    if _has(text, "invalid reference format", "must be lowercase", "invalid repository name"):
        return Verdict(f"'{image}' is not a valid image name", final=True)
    if _has(text, "no matching manifest"):
        return Verdict(f"image '{image}' does not exist for this machine's processor", final=True)
    if _has(text, "no space left"):
        return Verdict(f"the machine has too little disk space for image '{image}'", final=True)
    if _has(text, "unauthorized", "authentication required", "denied", "no basic auth", "incorrect username"):
        return Verdict(_refused(image, text, with_credentials), final=True)
    if _has(text, "manifest unknown", "not found", "does not exist", "no such image", "name unknown"):
        return Verdict(f"image '{image}' was not found locally nor in its registry", final=True)
    return Verdict(
        f"image '{image}' was not found locally and could not be pulled: {_short(message)}",
        final=False,
    )


def start_failure(message: str, autossh: bool = False) -> Verdict:
    """Why a container could not be created or started, `autossh` with SSH brought into its image."""
    text = message.lower()
    if "port is already allocated" in text or "address already in use" in text:
        port = re.search(r"(?:bind for|listen tcp\d?|host port for) \S*?:(\d+)", text)
        return Verdict(f"{f'port {port[1]}' if port else 'a port'} is in use on the machine", final=False)
    if _has(text, "could not select device driver", "nvidia-container", "nvidia.com/gpu", "nvml error"):
        return Verdict(f"the machine could not give the container its GPUs: {_short(message)}", final=True)
    if autossh and 'exec: "/bin/sh"' in text:
        return Verdict("SSH can't be brought into the image: it has no /bin/sh", final=True)
    if _has(
        text, "executable file not found", "no command specified", "exec format error", "permission denied"
    ):
        return Verdict(f"the image's command could not be started: {_short(message)}", final=True)
    if "no space left" in text:
        return Verdict("the machine has too little disk space", final=True)
    return Verdict(f"the container could not be started: {_short(message)}", final=False)


def command_failure(message: str) -> str:
    """Why the order's start-up command could not run in a container that is otherwise well."""
    if _has(message.lower(), "no such file", "executable file not found"):
        return "the start-up command could not run: the image has no /bin/sh"
    if "is not running" in message.lower():
        return "the start-up command could not run: the container had already stopped"
    return f"the start-up command could not run: {_short(message)}"


def exited(exit_code: int, out_of_memory: bool) -> str:
    """What to say of a container that stopped by itself."""
    reason = ", out of memory" if out_of_memory else ""
    return f"the container's main process ended with exit code {exit_code}{reason}"


def left_behind(containers: int, running: int, labels: Mapping[str, str]) -> str:
    """For the owner of a machine whose agent ends for good: what stays there, and how to remove it."""
    what = "1 container" if containers == 1 else f"{containers} containers"
    filters = " ".join(f"--filter {shlex.quote(f'label={key}={value}')}" for key, value in labels.items())
    return (
        f"{what} of this server left on this machine, {running} running. To remove all:\n"
        f"  docker rm -fv $(docker ps -aq {filters})\n"
        f"  docker network prune -f {filters}"
    )


def _refused(image: str, text: str, with_credentials: bool) -> str:
    if with_credentials:
        return f"the registry refused the credentials for image '{image}'"
    if "does not exist" in text:
        return f"image '{image}' was not found locally nor in its registry, or it needs credentials"
    return f"the registry wants credentials for image '{image}'"


def _has(text: str, *parts: str) -> bool:
    return any(part in text for part in parts)


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= ENGINE_MESSAGE_LENGTH_MAX else line[: ENGINE_MESSAGE_LENGTH_MAX - 1] + "…"
