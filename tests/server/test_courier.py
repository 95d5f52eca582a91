import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openclore.rules.policy import Webhooks
from openclore.server import courier as courier_module
from openclore.server.courier import Courier
from openclore.store.webhooks import Delivery
from openclore.usecases.webhooks import Message, Outcome

from ..receivers import Receiver, a_receiver

CERTIFICATE = """
[req]
distinguished_name = name
x509_extensions = ours
prompt = no
[name]
CN = hooks.example
[ours]
subjectAltName = DNS:hooks.example
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
extendedKeyUsage = serverAuth
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as receiver:
        yield receiver


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of hooks.example, signed by itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    (tmp_path / "config").write_text(CERTIFICATE)
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -config config"
    subprocess.run(
        [openssl, *words.split(), "-keyout", "both", "-out", "certificate"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    both = tmp_path / "both"
    both.write_text(both.read_text() + (tmp_path / "certificate").read_text())
    return both


def message(url: str) -> Message:
    delivery = Delivery(id="msg_1", webhook_id=1, event_id=1, kind="test", body='{"type":"test"}', at=0)
    return Message(delivery=delivery, url=url, headers={"webhook-id": "msg_1"})


def deliver(
    url: str,
    *addresses: str,
    private_allowed: bool = True,
    timeout_seconds: float = 20.0,
) -> Outcome:
    """What becomes of a message whose host has these addresses."""

    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    settings = Webhooks(allow_private_addresses=private_allowed)
    courier = Courier(settings, resolve if addresses else None)
    return asyncio.run(courier.deliver(message(url), timeout_seconds))


def test_a_message_goes_to_the_address_the_name_had(receiver: Receiver) -> None:
    url = receiver.url("ok", host="hooks.example") + "?token=abc"
    assert deliver(url, "127.0.0.1") == Outcome(204, None)
    (got,) = receiver.messages
    assert (got.path, got.body) == ("/ok?token=abc", '{"type":"test"}')
    assert got.headers["host"] == f"hooks.example:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "msg_1"


def test_names_are_looked_up(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deliver(receiver.url("ok", host="localhost")) == Outcome(204, None)

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(courier_module.socket, "getaddrinfo", unknown)
    missing = deliver("https://no-such-host.invalid/")
    assert missing == Outcome(None, "the host's name can't be resolved")


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["10.1.2.3"]],
)
def test_nothing_goes_to_a_host_with_a_private_address(receiver: Receiver, addresses: list[str]) -> None:
    outcome = deliver(receiver.url("ok", host="hooks.example"), *addresses, private_allowed=False)
    assert outcome.status is None
    assert "private" in (outcome.problem or "")
    assert receiver.messages == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0"])
def test_however_a_private_address_is_written_nothing_goes_there(receiver: Receiver, host: str) -> None:
    outcome = deliver(receiver.url("ok", host=host), private_allowed=False)
    assert "private" in (outcome.problem or "")
    assert receiver.messages == []


def test_a_dead_address_leaves_the_next_one_a_chance(receiver: Receiver) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.2", receiver.port))
        url = receiver.url("ok", host="hooks.example")
        assert deliver(url, "127.0.0.2", "127.0.0.1") == Outcome(204, None)
        assert "can't connect" in (deliver(url, "127.0.0.2").problem or "")


@pytest.mark.parametrize(
    ("manner", "expected"),
    [
        ("ok", Outcome(204, None)),
        ("fail", Outcome(503, "the receiver answered with status 503")),
        ("gone", Outcome(410, "the receiver answered with status 410")),
        ("redirect", Outcome(302, "the receiver answered with status 302")),
        ("garbage", Outcome(None, "the answer is not HTTP")),
        ("hang", Outcome(None, "no answer within 1 s")),
        ("drip", Outcome(None, "no answer within 1 s")),
        ("endless", Outcome(200, None)),
        ("chatty", Outcome(200, None)),
    ],
)
def test_whatever_a_receiver_does_an_attempt_ends_in_time(
    receiver: Receiver, manner: str, expected: Outcome
) -> None:
    seconds = 1.0 if "no answer" in (expected.problem or "") else 20.0
    started = time.monotonic()
    assert deliver(receiver.url(manner), timeout_seconds=seconds) == expected
    assert time.monotonic() - started < 10
    assert len(receiver.messages) == 1


def test_a_receiver_that_hangs_up_is_told_of(receiver: Receiver) -> None:
    outcome = deliver(receiver.url("hang_up"))
    assert outcome.status is None
    assert outcome.problem in ("the connection broke", "the answer is not HTTP")


def test_a_name_whose_servers_hang_ends_in_time(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    def hang(*_: object, **__: object) -> None:
        receiver.released.wait(20)

    monkeypatch.setattr(courier_module.socket, "getaddrinfo", hang)
    outcome = deliver("https://hooks.example/", timeout_seconds=0.2)
    receiver.released.set()
    assert outcome == Outcome(None, "no answer within 0.2 s")


def test_certificates_are_checked_for_the_name_not_the_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with a_receiver(certificate) as receiver:
        url = receiver.url("ok", host="hooks.example", scheme="https")
        assert deliver(url, "127.0.0.1") == Outcome(204, None)
        other = deliver(receiver.url("ok", host="other.example", scheme="https"), "127.0.0.1")
        assert "not valid for 'other.example'" in (other.problem or "")
        assert len(receiver.messages) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with a_receiver(certificate) as receiver:
        outcome = deliver(receiver.url("ok", host="hooks.example", scheme="https"), "127.0.0.1")
        assert "CERTIFICATE_VERIFY_FAILED" in (outcome.problem or "")
        assert receiver.messages == []


def test_proxies_of_the_environment_are_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert deliver(receiver.url("ok")) == Outcome(204, None)


@pytest.mark.parametrize("path", ["secret-token", "fail?key=secret-token"])
def test_what_went_wrong_is_told_without_path_and_query(
    receiver: Receiver, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError(receiver.url(path))

    assert "secret" not in (deliver(receiver.url(path), timeout_seconds=1).problem or "")
    monkeypatch.setattr(courier_module.httpx2, "Request", broken)
    assert deliver(receiver.url(path)).problem == "it can't be sent (ValueError)"
