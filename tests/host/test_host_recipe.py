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


def test_the_command_arrives_executable_and_with_unix_line_ends():
    with tarfile.open(fileobj=io.BytesIO(recipe.command_archive("#!/bin/bash\r\necho ü\r\n"))) as tar:
        assert tar.getnames() == [".openclore", ".openclore/command"]
        file = tar.getmember(".openclore/command")
        assert file.mode == 0o755
        content = tar.extractfile(file)
        assert content
        assert content.read().decode() == "#!/bin/bash\necho ü\n"


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


def test_long_messages_are_cut():
    assert len(sentences.start_failure("x" * 5_000).sentence) < 400


@pytest.mark.parametrize("image", ["ubuntu", "a/b:1", "reg.example:5000/a/b@sha256:00", "A"])
def test_ordinary_image_names_are_allowed(image):
    assert recipe.is_image_name(image)


@pytest.mark.parametrize("image", ["", "a/../b", "a/./b", "a//b", "a/", "/a", "a?b", "a b", "a#b", "a%2e"])
def test_image_names_that_could_climb_are_not(image):
    assert not recipe.is_image_name(image)
