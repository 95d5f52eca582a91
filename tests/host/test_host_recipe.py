"""What is asked of the engine, and what is made of its messages; no engine needed."""

import io
import tarfile

import pytest
from host_fakes import an_order
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.hostlink import PortMap
from openclore.host import recipe, sentences
from openclore.host.recipe import GIB, Machine, Owner

OWNER = Owner("https://market.example", 7)


def config(order=None, machine=None, **changes):
    settings = {"network": "n", "bind_address": "0.0.0.0", "private_image": False, **changes}  # noqa: S104
    return recipe.container_config(
        order or an_order(), OWNER, machine or Machine(64 * GIB, 16, False), **settings
    )


def test_gpus_are_handed_over_where_the_machine_has_some():
    with_gpus = config(machine=Machine(64 * GIB, 16, has_gpus=True))
    assert with_gpus["HostConfig"]["DeviceRequests"] == [{"Count": -1, "Capabilities": [["gpu"]]}]
    assert config()["HostConfig"]["DeviceRequests"] == []


def test_ports_are_published_where_they_should_listen():
    order = an_order(ports=[PortMap(container=22, public=30_001), PortMap(container=22, public=30_002)])
    made = config(order, bind_address="127.0.0.1")
    assert made["HostConfig"]["PortBindings"] == {
        "22/tcp": [
            {"HostIp": "127.0.0.1", "HostPort": "30001"},
            {"HostIp": "127.0.0.1", "HostPort": "30002"},
        ]
    }
    assert made["ExposedPorts"] == {"22/tcp": {}}


def test_labels_name_the_order_the_server_and_the_market():
    order = an_order()
    assert config(order)["Labels"] == {
        "openclore.order": str(order.order_id),
        "openclore.server": "7",
        "openclore.market": "https://market.example",
    }


@given(st.integers(1, 4_096 * GIB))
def test_the_system_keeps_some_memory_and_the_order_gets_at_least_half(memory_bytes):
    limit = recipe.memory_limit_bytes(memory_bytes)
    assert memory_bytes / 2 <= limit <= memory_bytes
    assert memory_bytes - limit <= recipe.MEMORY_RESERVE_BYTES_MAX


@pytest.mark.parametrize(("memory_gib", "reserve_gib"), [(1, 0.5), (8, 0.5), (40, 2), (512, 4)])
def test_the_reserve_is_a_twentieth_within_bounds(memory_gib, reserve_gib):
    assert recipe.memory_limit_bytes(memory_gib * GIB) == (memory_gib - reserve_gib) * GIB


def unpacked(archive: bytes) -> dict[str, tuple[int, str]]:
    """Name to mode and content."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: (member.mode, tar.extractfile(member)) for member in tar.getmembers()}
        return {name: (mode, file.read().decode() if file else "") for name, (mode, file) in files.items()}


def test_the_command_arrives_executable_and_with_unix_line_ends():
    files = unpacked(recipe.our_files(an_order(command="#!/bin/bash\r\necho ü\r\n")))
    assert files == {
        ".openclore": (0o777, ""),
        ".openclore/command": (0o755, "#!/bin/bash\necho ü\n"),
    }
    assert recipe.our_files(an_order()) == b""


def test_autossh_takes_the_place_of_the_images_entry_point():
    order = an_order(autossh=True)
    assert (config(order)["Entrypoint"], config(order)["Cmd"]) == (["/bin/sh", "/.openclore/autossh"], [])
    assert "Entrypoint" not in config()
    files = unpacked(recipe.our_files(order))
    assert list(files) == [".openclore", ".openclore/autossh", ".openclore/run-command"]
    assert files[".openclore/autossh"][1] == recipe.AUTOSSH_SCRIPT


def test_the_script_and_the_agent_agree_on_how_a_failure_is_told():
    assert f"exit {recipe.AUTOSSH_FAILED_STATUS}\n" in recipe.AUTOSSH_SCRIPT
    assert f"> {recipe.AUTOSSH_FAILURE_PATH}\n" in recipe.AUTOSSH_SCRIPT


def an_archive(content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        file = tarfile.TarInfo("failure")
        file.size, file.type = len(content), kind
        tar.addfile(file, io.BytesIO(content))
    return archive.getvalue()


@pytest.mark.parametrize(
    ("archive", "sentence"),
    [
        (an_archive(b"the image has no SSH server\n"), "the image has no SSH server"),
        (an_archive(b"a\x00b\x1b[31m\n\nc\xff"), "a b [31m c\ufffd"),
        (an_archive(b"x" * 100_000)[:8_192], "x" * 1_024),
        (an_archive(b"", kind=tarfile.DIRTYPE), ""),
        (an_archive(b"", kind=tarfile.SYMTYPE), ""),
        (b"", ""),
        (b"garbage" * 1_000, ""),
    ],
)
def test_whatever_a_container_leaves_as_its_last_word_is_one_plain_line(archive, sentence):
    assert recipe.sentence_in(archive) == sentence


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("user/private:1", {"username": "me", "password": "a:b"}),
        ("library", {"username": "me", "password": "a:b"}),
        ("reg.example/x:1", {"username": "me", "password": "a:b", "serveraddress": "reg.example"}),
        ("localhost/x", {"username": "me", "password": "a:b", "serveraddress": "localhost"}),
        ("reg:5000/x", {"username": "me", "password": "a:b", "serveraddress": "reg:5000"}),
    ],
)
def test_credentials_go_to_the_registry_that_the_image_names(image, expected):
    assert recipe.registry_credentials(image, "me:a:b") == expected


@pytest.mark.parametrize(
    ("message", "with_credentials", "sentence", "final"),
    [
        (
            "manifest for x:1 not found: manifest unknown",
            False,
            "image 'x:1' was not found locally nor in its registry",
            True,
        ),
        (
            "unauthorized: incorrect username or password",
            True,
            "the registry refused the credentials for image 'x:1'",
            True,
        ),
        (
            "denied: requested access to the resource is denied",
            True,
            "the registry refused the credentials for image 'x:1'",
            True,
        ),
        ("no basic auth credentials", False, "the registry wants credentials for image 'x:1'", True),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            False,
            "image 'x:1' was not found locally nor in its registry, or it needs credentials",
            True,
        ),
        (
            "no matching manifest for linux/arm64 in the manifest list",
            False,
            "image 'x:1' does not exist for this machine's processor",
            True,
        ),
        (
            "write /var/tmp/x: no space left on device",
            False,
            "the machine has too little disk space for image 'x:1'",
            True,
        ),
        ("invalid reference format", False, "'x:1' is not a valid image name", True),
        (
            "dial tcp: lookup a.example: no such host",
            False,
            "image 'x:1' was not found locally and could not be pulled: "
            "dial tcp: lookup a.example: no such host",
            False,
        ),
        (
            "toomanyrequests: slow down",
            True,
            "image 'x:1' was not found locally and could not be pulled: toomanyrequests: slow down",
            False,
        ),
    ],
)
def test_pull_failures_become_sentences(message, with_credentials, sentence, final):
    assert sentences.pull_failure("x:1", message, with_credentials) == sentences.Verdict(sentence, final)


@pytest.mark.parametrize(
    ("message", "sentence", "final"),
    [
        (
            "driver failed programming external connectivity on endpoint x (9f3c0a): "
            "Bind for 0.0.0.0:30001 failed: port is already allocated",
            "port 30001 is in use on the machine",
            False,
        ),
        (
            "driver failed programming external connectivity on endpoint x (9f3c0a): "
            "Error starting userland proxy: listen tcp4 127.0.0.1:30002: bind: address already in use",
            "port 30002 is in use on the machine",
            False,
        ),
        (
            "failed to bind host port for 0.0.0.0:30003:172.17.0.2:80/tcp: address already in use",
            "port 30003 is in use on the machine",
            False,
        ),
        ("address already in use", "a port is in use on the machine", False),
        (
            'could not select device driver "" with capabilities: [[gpu]]',
            "the machine could not give the container its GPUs: "
            'could not select device driver "" with capabilities: [[gpu]]',
            True,
        ),
        (
            'OCI runtime create failed: exec: "nope": executable file not found in $PATH',
            "the image's command could not be started: "
            'OCI runtime create failed: exec: "nope": executable file not found in $PATH',
            True,
        ),
        ("something new", "the container could not be started: something new", False),
    ],
)
def test_start_failures_become_sentences(message, sentence, final):
    assert sentences.start_failure(message) == sentences.Verdict(sentence, final)


def test_ssh_needs_a_shell_in_the_image():
    message = (
        'runc create failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file'
    )
    verdict = sentences.start_failure(message, autossh=True)
    assert verdict == sentences.Verdict("SSH can't be brought into the image: it has no /bin/sh", final=True)
    assert "SSH" not in sentences.start_failure(message).sentence


def test_long_messages_are_cut():
    assert len(sentences.start_failure("x" * 5_000).sentence) < 400


@pytest.mark.parametrize("image", ["ubuntu", "a/b:1", "reg.example:5000/a/b@sha256:00", "A"])
def test_ordinary_image_names_are_allowed(image):
    assert recipe.is_image_name(image)


@pytest.mark.parametrize("image", ["", "a/../b", "a/./b", "a//b", "a/", "/a", "a?b", "a b", "a#b", "a%2e"])
def test_image_names_that_could_climb_are_not(image):
    assert not recipe.is_image_name(image)
