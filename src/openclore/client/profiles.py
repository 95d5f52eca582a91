"""Named addresses with their keys, and which address and key a client uses.

The file is `config.toml` in `$XDG_CONFIG_HOME/openclore` (`~/.config/openclore`):

    default = "local"

    [profiles.local]
    base_url = "http://127.0.0.1:8080/v1"
    key = "..."

Address and key are looked for on their own, each in this order: argument; the profile named by an argument;
`CLORE_BASE_URL` and `CLORE_API_KEY`; the profile named by `OPENCLORE_PROFILE`; the default profile. A
profile's key is only ever sent to that profile's address.
"""

import contextlib
import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .errors import SetupError

DEFAULT_BASE_URL = "https://api.clore.ai/v1"


@dataclass(frozen=True, slots=True)
class Profile:
    """An address and, maybe, the key to use there."""

    base_url: str = DEFAULT_BASE_URL
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Profiles:
    """What the file says. `exposed`: other users of this machine can read it."""

    named: Mapping[str, Profile] = field(default_factory=dict)
    default: str | None = None
    exposed: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """Where to call and as whom. `profile` is the one that was used, if any.

    `withheld` says whose key was not used because it belongs to another address. `base_url_from` and
    `key_from` say where they were found: "argument", "CLORE_BASE_URL", "CLORE_API_KEY", "profile ada", or
    "default" and "nowhere".
    """

    base_url: str
    key: str | None = field(repr=False)
    profile: str | None = None
    withheld: str = ""
    warning: str | None = None
    base_url_from: str = "default"
    key_from: str = "nowhere"


def config_path() -> Path:
    """Where the profiles are."""
    root = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path("~/.config").expanduser()
    return base / "openclore" / "config.toml"


def access(key: str | None = None, base_url: str | None = None, profile: str | None = None) -> Access:
    """The address and the key for these arguments, see above.

    Raises:
        SetupError: no such profile, an unreadable file, an address or a key that can't be one.
    """
    path = config_path()
    profiles = read_profiles(path)
    name = profile or os.environ.get("OPENCLORE_PROFILE") or profiles.default
    chosen = _named(profiles, name, path) if name else None
    theirs = chosen or Profile()
    environment = {} if profile else os.environ
    url_from, found_url = _first(
        ("argument", base_url),
        ("CLORE_BASE_URL", environment.get("CLORE_BASE_URL")),
        (f"profile {name}" if chosen else "default", theirs.base_url),
    )
    at_theirs = same_address(found_url, theirs.base_url)
    key_from, found_key = _first(
        ("argument", key),
        ("CLORE_API_KEY", environment.get("CLORE_API_KEY")),
        (f"profile {name}", theirs.key if at_theirs else None),
    )
    used = bool(profile) or (at_theirs and key_from not in ("argument", "CLORE_API_KEY"))
    warning = (
        f"{path} can be read by other users of this machine; run: chmod 600 {path}"
        if profiles.exposed and used and found_key
        else None
    )
    withheld = ""
    if chosen and chosen.key and not found_key and not same_address(found_url, chosen.base_url):
        withheld = f"the key of profile {name} belongs to {chosen.base_url} and is not sent to {found_url}"
    return Access(
        base_url=_usable_url(found_url),
        key=_usable_key(found_key),
        profile=name if used else None,
        withheld=withheld,
        warning=warning,
        base_url_from=url_from,
        key_from=key_from,
    )


def _first(*places: tuple[str, str | None]) -> tuple[str, str]:
    """Where something is said first, and what; "nowhere" and nothing if it is not."""
    return next(((place, said) for place, said in places if said), ("nowhere", ""))


def checked(profile: Profile) -> Profile:
    """The profile as it will be used.

    Raises:
        SetupError: an address or a key that can't be one.
    """
    return Profile(_usable_url(profile.base_url), _usable_key(profile.key))


def same_address(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


def _named(profiles: Profiles, name: str, path: Path) -> Profile:
    if name in profiles.named:
        return profiles.named[name]
    known = ", ".join(sorted(profiles.named)) or "none"
    raise SetupError(
        f"There is no profile {name!r} in {path} (known: {known}). Make it with: openclore profile set {name}"
    )


def _usable_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise SetupError(f"The address must look like {DEFAULT_BASE_URL}, not {url!r}.")
    if parts.username is not None or parts.password is not None:
        raise SetupError("The address can't hold a user or a password; the API key is all a market asks for.")
    return url.rstrip("/")


def _usable_key(key: str | None) -> str | None:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key or len(key) > 1_024:
        raise SetupError("The API key must be one word of ASCII letters, digits and punctuation.")
    return key or None


# The file -------------------------------------------------------------------------------------------


def read_profiles(path: Path) -> Profiles:
    """What the file says; nothing if there is none.

    Raises:
        SetupError: it is there but can't be read or understood.
    """
    try:
        with path.open("rb") as file:
            exposed = bool(stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077)
            content = tomllib.load(file)
    except FileNotFoundError:
        return Profiles()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise SetupError(f"{path} can't be read: {reason}") from problem
    tables = content.get("profiles", {})
    default = content.get("default")
    if not isinstance(tables, dict) or not (default is None or isinstance(default, str)):
        raise SetupError(f'{path}: expected default = "NAME" and tables [profiles.NAME]')
    return Profiles({name: _profile(name, table, path) for name, table in tables.items()}, default, exposed)


def _profile(name: str, table: object, path: Path) -> Profile:
    members = table if isinstance(table, dict) else {}
    base_url, key = members.get("base_url", DEFAULT_BASE_URL), members.get("key")
    unknown = not isinstance(table, dict) or set(members) - {"base_url", "key"}
    if unknown or not isinstance(base_url, str) or not isinstance(key, str | None):
        raise SetupError(f"{path}: profile {name!r} has base_url and key, both text, and nothing else")
    return Profile(base_url, key)


def write_profiles(path: Path, profiles: Profiles) -> None:
    """Replace the file, readable by its owner only. Comments in it are lost.

    Raises:
        SetupError: it can't be written.
    """
    lines = [f"default = {_toml(profiles.default)}", ""] if profiles.default else []
    for name, profile in profiles.named.items():
        lines += [f"[profiles.{_toml(name)}]", f"base_url = {_toml(profile.base_url)}"]
        lines += [f"key = {_toml(profile.key)}"] if profile.key else []
        lines.append("")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, "\n".join(lines).encode())
    except OSError as problem:
        raise SetupError(f"{path} can't be written: {problem.strerror}") from problem


def replace_file(path: Path, content: bytes) -> None:
    """Write a file at once or not at all, mode 0600."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 -- mkstemp gives a descriptor
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _toml(text: str) -> str:
    """A TOML basic string; JSON escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)
