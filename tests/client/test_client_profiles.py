"""Which address and key a client uses."""

import stat

import pytest

from openclore.client import Clore, SetupError
from openclore.client.profiles import (
    DEFAULT_BASE_URL,
    Profile,
    Profiles,
    access,
    config_path,
    read_profiles,
    write_profiles,
)

LOCAL = Profile("http://127.0.0.1:8080/v1", "local-key")
LIVE = Profile(DEFAULT_BASE_URL, "live-key")


@pytest.fixture
def profiles() -> None:
    write_profiles(config_path(), Profiles({"local": LOCAL, "live": LIVE}, "local"))


def used(**arguments: str) -> tuple[str, str | None]:
    found = access(**arguments)
    return found.base_url, found.key


def test_without_anything_it_is_the_public_service_without_a_key():
    assert used() == (DEFAULT_BASE_URL, None)


def test_the_default_profile_is_used_where_nothing_else_is_said(profiles):
    assert used() == (LOCAL.base_url, "local-key")


def test_the_environment_beats_the_default_profile(profiles, monkeypatch):
    monkeypatch.setenv("CLORE_API_KEY", "from-environment")
    assert used() == (LOCAL.base_url, "from-environment")
    monkeypatch.setenv("OPENCLORE_PROFILE", "live")
    assert used() == (LIVE.base_url, "from-environment")
    monkeypatch.setenv("CLORE_BASE_URL", "http://other.test/v1/")
    assert used() == ("http://other.test/v1", "from-environment")


def test_a_profile_named_by_argument_beats_the_environment(profiles, monkeypatch):
    monkeypatch.setenv("CLORE_API_KEY", "from-environment")
    monkeypatch.setenv("CLORE_BASE_URL", "http://other.test/v1")
    assert used(profile="live") == (LIVE.base_url, "live-key")


def test_arguments_beat_everything(profiles):
    assert used(profile="live", key="mine") == (LIVE.base_url, "mine")
    assert used(key="mine", base_url="http://other.test") == ("http://other.test", "mine")


def test_it_is_known_where_address_and_key_were_found(profiles, monkeypatch):
    def places(**arguments: str) -> tuple[str, str]:
        found = access(**arguments)
        return found.base_url_from, found.key_from

    assert places() == ("profile local", "profile local")
    assert places(profile="live", key="mine") == ("profile live", "argument")
    monkeypatch.setenv("CLORE_BASE_URL", "http://other.test/v1")
    assert places() == ("CLORE_BASE_URL", "nowhere")
    monkeypatch.setenv("CLORE_API_KEY", "from-environment")
    assert places(base_url="http://third.test") == ("argument", "CLORE_API_KEY")


def test_the_key_of_a_profile_goes_to_its_address_only(profiles, monkeypatch):
    assert used(base_url="http://other.test/v1") == ("http://other.test/v1", None)
    assert used(profile="live", base_url="http://other.test/v1") == ("http://other.test/v1", None)
    assert used(profile="local", base_url="http://127.0.0.1:8080/v1/")[1] == "local-key"
    monkeypatch.setenv("CLORE_BASE_URL", "http://other.test/v1")
    assert used() == ("http://other.test/v1", None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "market",
        "ftp://x/v1",
        "http://",
        "http://x/v1?key=1",
        "http:///v1",
        "http://[::1/v1",
        "http://x:99999/v1",
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url):
    if url:
        with pytest.raises(SetupError, match="must look like"):
            Clore("k", base_url=url)


def test_an_address_holds_no_password_and_the_refusal_does_not_repeat_it():
    with pytest.raises(SetupError, match="user or a password") as caught:
        Clore("k", base_url="http://user:s3cret@x/v1")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "x" * 2_000, "nul\0"])
def test_a_key_that_cannot_be_one_is_refused_without_telling_it(key):
    with pytest.raises(SetupError) as caught:
        Clore(key)
    assert key not in str(caught.value)


def test_space_around_a_key_is_no_part_of_it():
    assert access(" k \n").key == "k"


def test_an_unknown_profile_is_named_with_those_there_are(profiles):
    with pytest.raises(SetupError, match=r"'nowhere'.*known: live, local"):
        Clore(profile="nowhere")


def test_the_file_is_private_and_reads_as_written(tmp_path):
    path = tmp_path / "deep" / "config.toml"
    odd = Profiles({'a "b" \\ .ü': Profile("http://x/v1", 'k"\\'), "none": Profile()}, 'a "b" \\ .ü')
    write_profiles(path, odd)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_profiles(path) == odd


def test_a_file_others_can_read_is_warned_about(profiles):
    config_path().chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600"):
        Clore().close()
    Clore("other-key").close()  # its keys are not used: no warning


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("default = ", "can't be read"),
        ("default = 3", "expected default"),
        ("profiles = 3", "expected default"),
        ("[profiles]\nlocal = 3", "'local' has base_url and key"),
        ("[profiles.local]\nkey = 3", "'local' has base_url and key"),
        ("[profiles.local]\napi_key = 'x'", "'local' has base_url and key"),
        ("\xff", "can't be read"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_path(content, words):
    config_path().parent.mkdir(parents=True)
    config_path().write_bytes(content.encode("latin-1"))
    with pytest.raises(SetupError, match=words) as caught:
        Clore()
    assert str(config_path()) in str(caught.value)


def test_neither_client_nor_access_shows_its_key(profiles):
    with Clore() as clore:
        assert "local-key" not in f"{clore!r} {access()!r} {LOCAL!r}"
