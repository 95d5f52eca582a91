import pytest

from openclore.rules.refused import InvalidInput
from openclore.rules.webhooks import RETRY_SECONDS, Target, is_public, next_attempt_at, target

PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e"]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 -- refused
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "localhost",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_messages_may_go_to_addresses_that_everybody_reaches(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_messages_go_to_no_others(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.example", Target("https", "hooks.example", 443, "/")),
        ("HTTPS://Hooks.Example/Path?q=1", Target("https", "hooks.example", 443, "/Path?q=1")),
        ("http://hooks.example:8080/a%20b", Target("http", "hooks.example", 8080, "/a%20b")),
        ("https://hooks.example?token=x", Target("https", "hooks.example", 443, "/?token=x")),
        ("https://1.1.1.1:443/", Target("https", "1.1.1.1", 443, "/")),
        ("https://[2606:4700:4700::1111]:8443/", Target("https", "2606:4700:4700::1111", 8443, "/")),
    ],
)
def test_an_address_is_taken_apart(url: str, expected: Target) -> None:
    assert target(url, private_allowed=False) == expected


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://hooks.example:443/secret", "hooks.example"),
        ("http://hooks.example:443/secret", "hooks.example:443"),
        ("https://[2606:4700:4700::1111]/secret", "[2606:4700:4700::1111]"),
    ],
)
def test_what_a_log_may_say_of_an_address_ends_before_the_path(url: str, authority: str) -> None:
    parts = target(url, private_allowed=False)
    assert parts.authority == authority
    assert parts.shown == f"{parts.scheme}://{authority}"


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example",
        "ftp://hooks.example/",
        "javascript:alert(1)",
        "//hooks.example/",
        "https://",
        "https:///path",
        "https://user@hooks.example/",
        "https://user:password@hooks.example/",
        "https://hooks.example:0/",
        "https://hooks.example:65536/",
        "https://hooks.example:99999999/",
        "https://hooks.example:/",
        "https://hooks.example:8a/",
        "https://hooks.example:-1/",
        "https://hooks.example/#part",
        "https://hooks example/",
        "https://hooks.example/a b",
        "https://hooks.example/\n",
        "https://hooks.example\\@evil.example/",
        "https://höoks.example/",
        "https://.example/",
        "https://hooks..example/",
        "https://hooks.example./",
        "https://[::1/",
        "https://[1.1.1.1]/",
        "https://[2606:4700:4700::1111]x/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.x]/",
    ],
)
@pytest.mark.parametrize("private_allowed", [False, True])
def test_what_is_no_address_is_refused_by_name(url: str, private_allowed: bool) -> None:
    with pytest.raises(InvalidInput, match=r"^url: "):
        target(url, private_allowed=private_allowed)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://10.0.0.1:8080/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://Hooks.LocalHost/",
    ],
)
def test_private_addresses_are_refused_unless_the_operator_allows_them(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"private .* policy\.webhooks\.allow_private_addresses"):
        target(url, private_allowed=False)
    assert target(url, private_allowed=True).scheme == "http"


def test_a_message_is_tried_nine_times_in_nearly_32_hours() -> None:
    now, times = 0, [0]
    while (next_at := next_attempt_at(len(times), now)) is not None:
        now = next_at
        times.append(now)
    assert len(times) == 9
    assert times[:4] == [0, 5, 65, 365]
    assert times[-1] == sum(RETRY_SECONDS)
    assert 31 * 3_600 < times[-1] < 32 * 3_600
