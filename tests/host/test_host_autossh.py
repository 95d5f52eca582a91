"""SSH in images of all kinds, with a real engine and a real ssh client."""

import asyncio
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from debian_parts import libraries, program
from engine_images import a_root, delete_images, import_image
from host_fakes import FakeMarket, an_order, ports, until
from test_host_command import an_agent
from test_host_docker import a_runtime, eventually, ignore, inside

from openclore.api.hostlink import Assignment
from openclore.host import recipe
from openclore.host.docker import DockerRuntime
from openclore.host.runtime import DeploymentFailed

PASSWORD = "correct horse;battery$staple"

APPLETS = ["cat", "chmod", "env", "id", "kill", "mkdir", "mv", "pidof", "rm", "sed", "sh", "sleep", "touch"]
BASE = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/shadow": b"root:!:19000:0:99999:7:::\n",  # locked, as in many images
    "etc/profile": b"PATH=/bin\nfor file in /etc/profile.d/*.sh; do . $file; done\n",
    "etc/profile.d/empty.sh": b"",
    "etc/pam.d/chpasswd": b"password required pam_unix.so sha512\n",
    "root/empty": b"",
    "tmp/empty": b"",
    "usr/sbin/empty": b"",
}
FORGETFUL_APT_GET = b"""#!/bin/sh
echo "this is apt-get $*"
[ "$1" = install ] || exit 0
[ -e /tmp/tried ] || { touch /tmp/tried; echo "E: Unable to fetch some archives"; exit 100; }
[ -x /usr/sbin/policy-rc.d ] || { echo "E: sshd was started"; exit 1; }
mv /opt/dropbear /usr/sbin/dropbear
"""
BROKEN_APT_GET = b"#!/bin/sh\necho 'Reading package lists...'\necho 'E: no mirror answers'\necho\nexit 100\n"


def openssh() -> dict[str, bytes]:
    """As a package leaves it, which lets root in by no means."""
    configuration = b"PermitRootLogin no\nPasswordAuthentication no\nUsePAM yes\nPort 2222\n"
    programs = program("sshd", "openssh-server", "libwrap0") | program("ssh-keygen", "openssh-client")
    return programs | {"etc/ssh/sshd_config": configuration}


def dropbear() -> dict[str, bytes]:
    return program("dropbear", "dropbear-bin", "libtomcrypt1", "libtommath1")


def chpasswd() -> dict[str, bytes]:
    """With what it has of PAM, wherever this machine keeps that."""
    module = next(Path("/").glob("lib/*-linux-gnu/security/pam_unix.so"), None)
    if module is None:
        pytest.skip("there is no pam_unix.so, which chpasswd needs, where Debian has it")
    return program("chpasswd", "passwd") | libraries(module) | {str(module)[1:]: module.read_bytes()}


KINDS = {
    "openssh": lambda: openssh() | chpasswd(),
    "dropbear": lambda: dropbear() | chpasswd(),
    "no-chpasswd": dropbear,
    "installable": lambda: (
        {name.replace("usr/sbin/dropbear", "opt/dropbear"): content for name, content in dropbear().items()}
        | {"usr/bin/apt-get": FORGETFUL_APT_GET}
    ),
    "no-mirror": lambda: {"usr/bin/apt-get": BROKEN_APT_GET},
    "nothing": dict,
    "not-root": dict,
    "ends": dict,
    "rambles": dict,
}
CHANGES = {
    "not-root": "USER 1000",
    "ends": 'CMD ["sh", "-c", "exit 113"]',
    "rambles": 'CMD ["sh", "-c", "mkdir /.openclore; cat /bin/busybox > /.openclore/failure; exit 113"]',
}
OWN_COMMAND = 'CMD ["sh", "-c", "touch /own-command-ran"]'


@pytest.fixture(scope="session")
def an_image(images):
    """Makes an image of one of the KINDS."""
    repository = f"openclore-autossh-test-{uuid.uuid4().hex[:8]}"
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    made = set()

    async def make(kind: str) -> str:
        image = f"{repository}:{kind}"
        if image not in made:
            files = {"bin/busybox": busybox, **BASE, **KINDS[kind]()}
            root = a_root(files, {f"bin/{applet}": "busybox" for applet in APPLETS})
            await import_image(image, root, CHANGES.get(kind, OWN_COMMAND))
            made.add(image)
        return image

    yield make
    asyncio.run(delete_images(list(made)))


@dataclass(frozen=True)
class Renter:
    """Somebody with a key of their own and an ssh client."""

    folder: Path

    @property
    def public_key(self) -> str:
        return (self.folder / "key.pub").read_text().strip()

    async def ssh(self, order: Assignment, command: str, password: str = "") -> tuple[int, str]:
        """The status and the output of a command over SSH: by password where one is given, else by key."""
        port = next(port.public for port in order.ports if port.container == 22)
        how = "password" if password else "publickey"
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "PreferredAuthentications": how,
            "NumberOfPasswordPrompts": "1",
            "ConnectTimeout": "5",
            "IdentitiesOnly": "yes",
        }
        (self.folder / "ask").write_text('#!/bin/sh\nprintf "%s\\n" "$TEST_PASSWORD"\n')
        (self.folder / "ask").chmod(0o700)
        process = await asyncio.create_subprocess_exec(
            *("ssh", "-F", "none", "-p", str(port), "-i", str(self.folder / "key")),
            *(f"-o{name}={value}" for name, value in options.items()),
            *("root@127.0.0.1", command),
            env={
                "SSH_ASKPASS": str(self.folder / "ask"),
                "SSH_ASKPASS_REQUIRE": "force",
                "TEST_PASSWORD": password,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def gets_in(self, order: Assignment, password: str = "") -> bool:
        return await self.ssh(order, "id -u", password) == (0, "0\n")


@pytest.fixture
def renter(tmp_path) -> Renter:
    if not shutil.which("ssh"):
        pytest.skip("there is no ssh client to log in with")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    return Renter(tmp_path)


def ssh_order(image: str, renter: Renter | None = None, password: str = "", **changes) -> Assignment:
    env = {"SSH_KEY": renter.public_key} if renter else {}
    env |= {"SSH_PASSWORD": password} if password else {}
    return an_order(image, autossh=True, ports=ports(22), **{**changes, "env": env | changes.get("env", {})})


async def log_of(runtime: DockerRuntime, order: Assignment) -> str:
    (container,) = await runtime._containers(order.order_id)
    return "".join(await container.log(stdout=True, stderr=True))


@pytest.mark.parametrize("server", ["openssh", "dropbear"])
def test_a_renter_logs_in_as_root_by_key(an_image, renter, server):
    async def scenario():
        async with a_runtime() as runtime:
            order = ssh_order(await an_image(server), renter)
            assert await runtime.deploy(order, ignore) == ""
            await until(lambda: renter.gets_in(order))
            assert await renter.ssh(order, "cat /own-command-ran") != (0, "")
            status, output = await renter.ssh(order, "id -u", password="a guess")
            assert (status, "denied" in output) == (255, True)

    asyncio.run(scenario())


@pytest.mark.parametrize("server", ["openssh", "dropbear"])
def test_a_renter_logs_in_as_root_by_password(an_image, renter, server):
    async def scenario():
        async with a_runtime() as runtime:
            order = ssh_order(await an_image(server), password=PASSWORD)
            await runtime.deploy(order, ignore)
            await until(lambda: renter.gets_in(order, PASSWORD))
            status, output = await renter.ssh(order, "id -u", password="a guess")
            assert (status, "denied" in output) == (255, True)

    asyncio.run(scenario())


@pytest.mark.parametrize("server", ["openssh", "dropbear"])
def test_secrets_are_neither_in_the_log_nor_in_a_process_list(an_image, renter, server):
    async def scenario():
        async with a_runtime() as runtime:
            order = ssh_order(await an_image(server), renter, PASSWORD, command="sleep 1000")
            await runtime.deploy(order, ignore)
            await until(lambda: renter.gets_in(order, PASSWORD))
            (container,) = await runtime._containers(order.order_id)
            processes = str(await runtime._engine._query_json(f"containers/{container.id}/top"))
            assert "/.openclore/autossh" in processes
            seen = processes + await log_of(runtime, order)
            assert PASSWORD not in seen
            assert renter.public_key.split()[1] not in seen

    asyncio.run(scenario())


def test_sessions_find_the_containers_variables_and_path_but_not_the_password(an_image, renter):
    async def scenario():
        async with a_runtime() as runtime:
            env = {"MODE": "train fast", "PATH": "/opt/tool's/bin:/bin"}
            order = ssh_order(await an_image("openssh"), renter, PASSWORD, env=env)
            await runtime.deploy(order, ignore)
            await until(lambda: renter.gets_in(order))
            _, variables = await renter.ssh(order, "env")
            assert "MODE=train fast\n" in variables
            assert (
                "PATH=/opt/tool's/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin\n"
                in variables
            )
            assert "SSH_PASSWORD" not in variables
            _, path = await renter.ssh(order, "sh -lc 'echo $PATH'")
            assert path.startswith("/opt/tool's/bin:/bin:")

    asyncio.run(scenario())


def test_the_command_runs_once_and_onstart_on_every_start(an_image, renter, monkeypatch):
    command = "echo ran >> /ran\nprintf '#!/bin/sh -e\\necho started >> /started\\n' > /root/onstart.sh"

    async def scenario():
        async with a_runtime() as runtime:
            order = ssh_order(await an_image("dropbear"), renter, command=command)
            await runtime.deploy(order, ignore)
            await eventually(runtime, order.order_id, "ran\n", "cat", "/ran")
            await until(lambda: renter.gets_in(order))
            for starts in (1, 2):
                await restart(runtime, order, monkeypatch)
                await eventually(runtime, order.order_id, "started\n" * starts, "cat", "/started")
                await until(lambda: renter.gets_in(order))
            assert await inside(runtime, order.order_id, "cat", "/ran") == "ran\n"
            _, keys = await renter.ssh(order, "cat /root/.ssh/authorized_keys")
            assert keys == renter.public_key + "\n"

    asyncio.run(scenario())


async def restart(runtime: DockerRuntime, order: Assignment, monkeypatch) -> None:
    """As when the machine's engine was restarted."""
    (container,) = await runtime._containers(order.order_id)
    await container.stop(t=5)
    later = time.time() + 1
    monkeypatch.setattr(runtime, "_engine_started_at", lambda: later)
    await asyncio.sleep(max(0, later - time.time()))
    await runtime.deploy(order, ignore)


def test_a_server_that_dies_is_started_again(an_image, renter):
    async def scenario():
        async with a_runtime() as runtime:
            order = ssh_order(await an_image("dropbear"), renter)
            await runtime.deploy(order, ignore)
            await until(lambda: renter.gets_in(order))
            await inside(runtime, order.order_id, "sh", "-c", "kill $(pidof dropbear)")
            await until(lambda: log_says(runtime, order, "it is started again"))
            await until(lambda: renter.gets_in(order))

    asyncio.run(scenario())


async def log_says(runtime: DockerRuntime, order: Assignment, words: str) -> bool:
    return words in await log_of(runtime, order)


@pytest.fixture
def no_pauses(monkeypatch):
    script = recipe.AUTOSSH_SCRIPT.replace("INSTALL_PAUSE_SECONDS=10\n", "INSTALL_PAUSE_SECONDS=0\n")
    assert script != recipe.AUTOSSH_SCRIPT
    monkeypatch.setattr(recipe, "AUTOSSH_SCRIPT", script)


def test_an_image_without_a_server_gets_one_before_its_command_runs(an_image, renter, no_pauses):
    async def scenario():
        async with a_runtime() as runtime:
            order = ssh_order(
                await an_image("installable"), renter, command="[ -x /usr/sbin/dropbear ] && echo installed"
            )
            await runtime.deploy(order, ignore)
            await until(lambda: renter.gets_in(order))
            log = await log_of(runtime, order)
            assert "openclore: installing an SSH server with apt-get; this can take minutes" in log
            assert "this is apt-get install -y --no-install-recommends openssh-server" in log
            assert "openclore: that failed; trying again in 0 s" in log
            await eventually(runtime, order.order_id, "installed\n", "cat", "/.openclore/command.log")
            status, _ = await renter.ssh(order, "cat /usr/sbin/policy-rc.d")
            assert status != 0, "what kept the package from starting its service is gone"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("kind", "password", "sentence"),
    [
        ("nothing", "", "the image has no SSH server, and no package manager to install one with"),
        ("not-root", "", "autossh_entrypoint needs an image that runs as root, this one runs as user 1000"),
        (
            "no-mirror",
            "",
            "no SSH server could be installed with apt-get: E: no mirror answers",
        ),
        (
            "no-chpasswd",
            PASSWORD,
            "the image has no chpasswd to set root's password with; order with an SSH key instead",
        ),
    ],
)
def test_what_an_image_lacks_fails_the_order_with_a_sentence(an_image, no_pauses, kind, password, sentence):
    async def scenario():
        async with a_runtime() as runtime:
            order = ssh_order(await an_image(kind), password=password)
            await runtime.deploy(order, ignore)

            await until(lambda: stopped(runtime, order))
            found = (await runtime.look())[order.order_id].container
            assert (found.state, found.detail) == ("failed", sentence)
            assert f"openclore: {sentence}" in (await log_of(runtime, order)).replace("\r", "")

    asyncio.run(scenario())


def test_an_image_without_a_shell_fails_with_a_sentence(images):
    async def scenario():
        async with a_runtime() as runtime:
            with pytest.raises(
                DeploymentFailed, match="SSH can't be brought into the image: it has no /bin/sh"
            ):
                await runtime.deploy(ssh_order(images.bare), ignore)
            assert await runtime.look() == {}

    asyncio.run(scenario())


@pytest.mark.parametrize(("kind", "state"), [("ends", "exited"), ("rambles", "failed")])
def test_only_a_container_that_left_a_sentence_has_given_up(an_image, kind, state):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(await an_image(kind))
            await runtime.deploy(order, ignore)
            await until(lambda: stopped(runtime, order))
            found = (await runtime.look())[order.order_id].container
            assert found.state == state
            assert len(found.detail) <= recipe.SENTENCE_BYTES_MAX

    asyncio.run(scenario())


async def stopped(runtime: DockerRuntime, order: Assignment) -> bool:
    return (await runtime.look())[order.order_id].container.state in ("exited", "failed")


def test_the_market_hears_why_an_order_failed_and_nothing_of_it_is_left(an_image, tmp_path):
    async def scenario():
        async with FakeMarket() as market:
            order = ssh_order(await an_image("nothing"))
            options = ("--init-token", market.init_token)
            async with an_agent(market.url, tmp_path / "state", *options) as agent:
                await market.want(order)
                await until(lambda: market.state(order.order_id) == "failed")
                assert "no package manager" in market.said(order.order_id).detail
                await until(lambda: "container removed" in agent.log)
                beats = len(market.beats)
                await until(lambda: len(market.beats) > beats)
                assert market.state(order.order_id) == "failed"
                assert agent.log.count("container up") == 1

    asyncio.run(scenario())
