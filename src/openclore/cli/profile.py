"""openclore profile: named addresses with their keys."""

import dataclasses
import sys
from typing import Annotated

import typer

from . import options
from .errors import guarded
from .output import Column, interactive, say, show_json, show_table

profile = typer.Typer(no_args_is_help=True, help="Keep addresses and keys by name.")


@profile.command("set")
@guarded
def set_profile(
    name: Annotated[str, typer.Argument(help="Name of the profile.")],
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Address of the market.")] = None,
    key: Annotated[
        bool, typer.Option("--key/--no-key", help="Ask for the API key, or read it from stdin.")
    ] = True,
    default: Annotated[bool, typer.Option("--default", help="Use it where none is named.")] = False,
    json: options.Json = False,
) -> None:
    """Write a profile.

    The key is asked for, or read from the first line of stdin; it never stands in the command.
    """
    from openclore.client import profiles

    path = profiles.config_path()
    known = profiles.read_profiles(path)
    old = known.named.get(name, profiles.Profile())
    url = base_url or old.base_url
    given = _read_key(name) if key else None
    kept = old.key if profiles.same_address(url, old.base_url) else None
    new = profiles.checked(profiles.Profile(url, given or kept))
    chosen = name if default or not known.default else known.default
    profiles.write_profiles(
        path, dataclasses.replace(known, named={**known.named, name: new}, default=chosen)
    )
    if json:
        show_json(
            {"name": name, "base_url": new.base_url, "has_key": bool(new.key), "default": chosen == name}
        )
        return
    say(f"Profile {name} ({new.base_url}, {'with' if new.key else 'without'} a key) is in {path}.")
    if chosen == name:
        say("It is used where no other is named.")


def _read_key(name: str) -> str:
    from openclore.client.errors import SetupError

    if interactive():
        return str(
            typer.prompt(f"API key for {name}", hide_input=True, default="", show_default=False, err=True)
        )
    line = sys.stdin.readline().strip()
    if not line:
        raise SetupError("No API key came on stdin; --no-key makes a profile without one.")
    return line


@profile.command("list")
@guarded
def list_profiles(json: options.Json = False) -> None:
    """Show the profiles, without their keys."""
    from openclore.client import profiles

    path = profiles.config_path()
    known = profiles.read_profiles(path)
    if known.exposed and any(p.key for p in known.named.values()):
        say(f"Warning: {path} can be read by other users of this machine; run: chmod 600 {path}")
    found = [
        {"name": name, "base_url": p.base_url, "has_key": bool(p.key), "default": name == known.default}
        for name, p in known.named.items()
    ]
    if json:
        show_json(found)
        return
    rows = [(p["name"], p["base_url"], _yes(p["has_key"]), _yes(p["default"])) for p in found]
    columns = [Column("NAME"), Column("ADDRESS"), Column("KEY"), Column("DEFAULT")]
    show_table(columns, rows, empty="There are no profiles. Make one with: openclore profile set NAME")


def _yes(value: object) -> str:
    return "yes" if value else "-"
