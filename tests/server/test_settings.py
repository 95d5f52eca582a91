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
