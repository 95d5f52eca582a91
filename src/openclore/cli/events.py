"""openclore events: what happened to the account, its orders and its servers."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from openclore.api.open.events import Event
from openclore.api.open.orders import OrderStep

from . import options
from .errors import guarded
from .output import Column, clean, json_text, local_time, show_json, show_table

if TYPE_CHECKING:
    from openclore.client import Clore

PAGE = 1_000
Kinds = Annotated[
    list[str] | None, typer.Option(metavar="KIND", help="Only this kind, such as order_ended; repeatable.")
]
EVENT_COLUMNS = [Column("TIME"), Column("EVENT"), Column("WHAT", rank=2, folds=True)]
COLUMNS = [
    Column("EVENT ID", rank=3, justify="right"),
    *EVENT_COLUMNS[:2],
    Column("ORDER", rank=1, justify="right"),
    Column("SERVER", rank=1, justify="right"),
    EVENT_COLUMNS[2],
]


@guarded
def events(
    after: Annotated[
        int | None, typer.Option(min=0, metavar="ID", help="Only what happened after this event.")
    ] = None,
    kind: Kinds = None,
    order: Annotated[int | None, typer.Option(min=1, metavar="ID", help="Only about this order.")] = None,
    server: Annotated[int | None, typer.Option(min=1, metavar="ID", help="Only about this server.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on: print events as they happen, one per line.")
    ] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show what happened to your account, orders and servers. Only OpenClore's markets can.

    With --follow it goes on until Ctrl-C, through lost connections, without missing or repeating one.
    """
    kinds = kind or []
    with options.client(profile, base_url) as clore:
        if follow:
            for event in clore.stream_events(after, kinds):
                if order in (None, event.order_id) and server in (None, event.server_id):
                    typer.echo(_line(event, as_json=json))
            return
        found = list(_all(clore, after or 0, kinds=kinds, order_id=order, server_id=server))
    if json:
        show_json(found)
    else:
        show_table(COLUMNS, map(_row, found), empty="Nothing happened.")


def _all(clore: "Clore", after: int, **filters: Any) -> Iterable[Event]:
    while True:
        page = clore.events(after, limit=PAGE, **filters)
        yield from page.events
        if not page.more:
            return
        after = page.after


def _line(event: Event, *, as_json: bool) -> str:
    if as_json:
        return " ".join(json_text(msgspec.to_builtins(event)).split())
    time, kind, what = event_row(event)
    about = [f"order {event.order_id}"] if event.order_id else []
    about += [f"server {event.server_id}"] if event.server_id else []
    return clean("  ".join(filter(None, [time, kind, " ".join(about), what])))


def _row(event: Event) -> list[object]:
    time, kind, what = event_row(event)
    return [event.id, time, kind, event.order_id or "-", event.server_id or "-", what]


def event_row(event: Event | OrderStep) -> tuple[str, str, str]:
    """When, what kind, and what else is known of it."""
    what = ", ".join(f"{name} {value}" for name, value in event.data.items() if value not in (None, ""))
    return local_time(event.at), event.kind, what or "-"
