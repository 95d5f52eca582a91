"""openclore webhook: have events sent to an address."""

from typing import Annotated

import typer

from openclore.api.open.webhooks import Delivery, Webhook

from . import options
from .errors import guarded
from .events import Kinds
from .output import Column, local_time, say, show_facts, show_json, show_table

webhook = typer.Typer(
    no_args_is_help=True,
    help="Have events sent to an address, signed (Standard Webhooks). Only OpenClore's markets can.",
)

COLUMNS = [Column("ID", justify="right"), Column("URL"), Column("KINDS", rank=1, flexible=True)]
DELIVERIES = [
    Column("TIME"),
    Column("EVENT"),
    Column("STATE"),
    Column("TRIES", rank=1, justify="right"),
    Column("HTTP", rank=2, justify="right"),
    Column("PROBLEM", rank=3, flexible=True),
]
Id = Annotated[int, typer.Argument(min=1, metavar="ID", help="From openclore webhook list.")]


@webhook.command("add")
@guarded
def add(
    url: Annotated[str, typer.Argument(help="Where to send events, https://...")],
    kind: Kinds = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Send what happens from now on to an address. Prints the secret that signs the messages, once."""
    with options.client(profile, base_url) as clore:
        made = clore.add_webhook(url, kind or [])
    _show_secret(made, as_json=json)


@webhook.command("list")
@guarded
def list_webhooks(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Show your webhooks."""
    with options.client(profile, base_url) as clore:
        found = clore.webhooks()
    if json:
        show_json(found)
        return
    rows = [(hook.id, hook.url, _kinds(hook)) for hook in found]
    show_table(COLUMNS, rows, empty="You have no webhooks.")


@webhook.command("show")
@guarded
def show(
    webhook_id: Id,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show a webhook and what became of its last messages."""
    with options.client(profile, base_url) as clore:
        found = clore.webhook(webhook_id)
    if json:
        show_json(found)
        return
    show_facts([("Webhook", found.id), ("URL", found.url), ("Kinds", _kinds(found))])
    show_table(DELIVERIES, map(_row, found.deliveries or ()), empty="Nothing was sent yet.")


@webhook.command("test")
@guarded
def send_test(
    webhook_id: Id,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Send a test message now, and say what became of it."""
    with options.client(profile, base_url) as clore:
        delivery = clore.test_webhook(webhook_id)
    if json:
        show_json(delivery)
    elif delivery.state == "delivered":
        say(f"Delivered: the receiver answered HTTP {delivery.status}.")
    else:
        say(f"Not delivered: {delivery.problem or f'HTTP {delivery.status}'}")
    if delivery.state != "delivered":
        raise typer.Exit(1)


@webhook.command("rotate")
@guarded
def rotate(
    webhook_id: Id,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Make a new secret; for a day, messages are signed with the old one too."""
    with options.client(profile, base_url) as clore:
        changed = clore.rotate_webhook(webhook_id)
    _show_secret(changed, as_json=json)


@webhook.command("remove")
@guarded
def remove(
    webhook_id: Id,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Send nothing more."""
    with options.client(profile, base_url) as clore:
        clore.remove_webhook(webhook_id)
    say(f"Webhook {webhook_id} is removed.")
    if json:
        show_json({"removed": webhook_id})


def _show_secret(made: Webhook, *, as_json: bool) -> None:
    if as_json:
        show_json(made)
        return
    say("Keep this secret: it is not shown again.")
    show_facts([("Webhook", made.id), ("URL", made.url), ("Secret", made.secret)])


def _kinds(hook: Webhook) -> str:
    return ", ".join(hook.kinds) or "all"


def _row(delivery: Delivery) -> list[object]:
    return [
        local_time(delivery.at),
        delivery.kind,
        delivery.state,
        delivery.attempts,
        delivery.status if delivery.status is not None else "-",
        delivery.problem or "-",
    ]
