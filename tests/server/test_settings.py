from pathlib import Path

import pytest

from openclore.server.settings import Settings, SettingsError, load


def test_a_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "market.toml"
    file.write_text(
        'data_dir = "/file"\nport = 1\nhost = "::1"\n[policy.fees]\nrenter_percent = 3\n'
        "[policy.fees.creation]\nbitcoin = 0.001\n"
    )
    environment = {"OPENCLORE_PORT": "2", "OPENCLORE_POLICY__ORDERS_MAX": "5", "OPENCLORE_INIT_TOKEN": "x"}
    loaded = load(file, environment, {"port": None, "data_dir": "/flag"})
    assert (loaded.port, loaded.data_dir, loaded.host) == (2, "/flag", "::1")
    assert (loaded.policy.orders_max, loaded.policy.fees.renter_percent) == (5, 3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("port = 99999", "port"),
        ("prot = 1", "prot"),
        ("port = 1 2", "line 1"),
        ("[policy.fees]\nrenter_percent = -1", "percentage"),
        ("[policy]\norders_max = 0", "orders_max"),
        ("[policy.fees.creation]\ndogecoin = 1", "dogecoin"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_reason(
    tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "market.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=complaint) as error:
        load(file, {}, {})
    assert "market.toml" in str(error.value)


def test_a_missing_file_is_said_so() -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        load(Path("/nowhere.toml"), {}, {})


def test_the_market_must_be_kept_somewhere() -> None:
    with pytest.raises(SettingsError, match="--data-dir"):
        _ = Settings().database


@pytest.mark.parametrize(
    ("text", "environment", "flags", "place"),
    [
        ("", {"DATABASE_URL": "sqlite:///b"}, {"data_dir": "/a"}, "sqlite:////a/openclore.db"),
        ("", {"DATABASE_URL": "sqlite:///b", "DATA_DIR": "/a"}, {}, "sqlite:///b"),
        ("", {"DATABASE_URL": "", "DATA_DIR": "/a"}, {}, "sqlite:////a/openclore.db"),
        ("", {"DATA_DIR": "/a"}, {"database_url": "sqlite:///b"}, "sqlite:///b"),
        ("database_url = 'sqlite:///b'", {"DATA_DIR": "/a"}, {}, "sqlite:////a/openclore.db"),
        ("database_url = 'sqlite:///b'", {}, {"data_dir": "/a"}, "sqlite:////a/openclore.db"),
        ("database_url = 'sqlite:///b'\ndata_dir = '/a'", {}, {}, "sqlite:///b"),
        ("data_dir = '/a'", {"DATABASE_URL": "sqlite:///b"}, {}, "sqlite:///b"),
    ],
)
def test_the_last_source_that_says_where_the_market_is_wins(
    tmp_path: Path, text: str, environment: dict[str, str], flags: dict[str, str], place: str
) -> None:
    file = tmp_path / "market.toml"
    file.write_text(text)
    variables = {f"OPENCLORE_{name}": value for name, value in environment.items()}
    assert load(file, variables, flags).database == place


def test_nobody_can_name_two_markets_at_once() -> None:
    with pytest.raises(SettingsError, match="give one of them"):
        load(None, {}, {"data_dir": "/a", "database_url": "sqlite:///b"})
