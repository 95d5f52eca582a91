"""How a server is set up: a TOML file, OPENCLORE_* variables, then what the command line says."""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from ..api.codes import Refusal
from ..api.dialects import Dialect
from ..api.endpoints import CREATE_ORDER, SPACING_SECONDS
from ..api.open.endpoints import OPEN_SPACING_SECONDS
from ..rules.policy import Policy
from ..store.store import database_url

ENVIRONMENT_PREFIX = "OPENCLORE_"
_VALKEY_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")


class SettingsError(Exception):
    """Settings that can't be used; the message names where they stand and what must hold."""


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the live dialect leaves to settings; the defaults are what was recorded, or else a guess.

    Attributes:
        row_delay_seconds: how long after its creation an order appears in `my_orders`.
        linger_seconds: how long an ended order stays in the default list.
        status_member: the extra `status` of `server-already-rented`.
        business_status: HTTP status of code 6 errors not named in `business_statuses`.
    """

    row_delay_seconds: int = 2
    linger_seconds: int = 0
    status_member: str = "error"
    business_status: int = 200
    business_statuses: dict[str, int] = msgspec.field(
        default_factory=lambda: {Refusal.CURRENCY_NOT_ALLOWED: 500}
    )

    def __post_init__(self) -> None:
        if min(self.row_delay_seconds, self.linger_seconds) < 0:
            raise ValueError("live: row_delay_seconds and linger_seconds can't be negative")
        if not all(
            200 <= status <= 599 for status in (self.business_status, *self.business_statuses.values())
        ):
            raise ValueError("live: an HTTP status is 200 to 599")


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a key may call; 0 switches a limit off.

    Attributes:
        spacing_seconds: between two calls of /v1.
        create_order_seconds: between two `create_order`.
        open_spacing_seconds: between two calls of /open/v1.
        from_completion: count from the end of a call instead of its arrival.
        refusals_count: a refused call restarts the wait.
    """

    spacing_seconds: float = SPACING_SECONDS
    create_order_seconds: float = CREATE_ORDER.spacing_seconds
    open_spacing_seconds: float = OPEN_SPACING_SECONDS
    from_completion: bool = False
    refusals_count: bool = False

    def __post_init__(self) -> None:
        if min(self.spacing_seconds, self.create_order_seconds, self.open_spacing_seconds) < 0:
            raise ValueError("pace: seconds can't be negative")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to listen and keep things. `database_url` replaces the SQLite file in `data_dir`. At
    `valkey_url`, the processes that serve one database share the pace of keys and wake each other.

    After a signal to stop, requests under way have `drain_seconds` to be answered. `public_url` is how
    callers reach the market, where that differs from the address they name in their requests. `dialect` is
    spoken to keys that are not pinned to one. `metrics_token` opens /metrics to callers from elsewhere.
    """

    data_dir: str = ""
    database_url: str = ""
    valkey_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    drain_seconds: float = 30.0
    public_url: str = ""
    log_requests: bool = False
    log_format: Literal["auto", "json", "text"] = "auto"
    metrics_token: str = ""
    dialect: Dialect = Dialect.OPEN
    live: Live = Live()
    pace: Pace = Pace()
    policy: Policy = Policy()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port: 0 to 65535, got {self.port}")
        if self.valkey_url and not _is_valkeys(self.valkey_url):
            raise ValueError("valkey_url: must look like redis://host:6379/0, rediss://... or unix:///path")

    @property
    def database(self) -> str:
        """The database's address.

        Raises:
            SettingsError: neither a data directory nor an address is set.
        """
        if self.database_url:
            return self.database_url
        if not self.data_dir:
            raise SettingsError("say where the market is kept: --data-dir DIR or --database-url URL")
        return database_url(Path(self.data_dir).expanduser().resolve())


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Merge the three sources; a later one wins, None in `flags` means not given. A `data_dir` also wins over
    the `database_url` of an earlier source: both say where the market is kept.

    Variables name a setting in capitals, `OPENCLORE_PORT`; of the policy, two underscores go one level
    down: `OPENCLORE_POLICY__FEES__RENTER_PERCENT`.

    Raises:
        SettingsError: an unreadable file, an unknown name, a value out of bounds, or both places in `flags`.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        try:
            merged = tomllib.loads(file.read_text())
        except OSError as error:
            raise SettingsError(f"can't read {file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: {error}") from error
        _convert(merged, f"{file}")
    known = {field.name for field in msgspec.structs.fields(Settings)}
    variables = [
        (variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), value)
        for variable, value in environment.items()
        if variable.startswith(ENVIRONMENT_PREFIX)
    ]
    _forget_database(merged, [path[0] for path, value in variables if value])
    for path, value in variables:
        if path[0] in known:
            _put(merged, path, value)
    given = {name: value for name, value in flags.items() if value is not None}
    if "data_dir" in given and "database_url" in given:
        raise SettingsError("--data-dir and --database-url name two markets: give one of them")
    _forget_database(merged, given)
    merged.update(given)
    return _convert(merged, "settings")


def _forget_database(merged: dict[str, Any], named: Collection[str]) -> None:
    """Where a source names a data directory and no database, the market is there."""
    if "data_dir" in named and "database_url" not in named:
        merged.pop("database_url", None)


def _is_valkeys(address: str) -> bool:
    url = urlsplit(address)
    number = url.path.strip("/")
    return (
        url.scheme in _VALKEY_SCHEMES
        and url.port != 0
        and (url.scheme == "unix" or not number or (number.isascii() and number.isdigit()))
    )


def _put(target: dict[str, Any], path: list[str], value: str) -> None:
    for step in path[:-1]:
        target = target.setdefault(step, {})
        if not isinstance(target, dict):
            name = f"{ENVIRONMENT_PREFIX}{'__'.join(path).upper()}"
            raise SettingsError(f"{name}: {step} is a setting itself and has none below it")
    target[path[-1]] = value


def _convert(values: dict[str, Any], where: str) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {error}") from None
