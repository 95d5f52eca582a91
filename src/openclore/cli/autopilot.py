"""openclore autopilot: what a file wants, kept so."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .backtest import backtest
from .errors import guarded
from .output import (
    Column,
    clean,
    local_time,
    log_json,
    log_text,
    price,
    say,
    show_facts,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from openclore.autopilot.file import File
    from openclore.autopilot.memory import Machine, Memory
    from openclore.autopilot.plan import Plan
    from openclore.autopilot.remember import Done, Known
    from openclore.client import Clore

autopilot = typer.Typer(
    no_args_is_help=True,
    help="Alerts, prices, settings and fleets that keep themselves, as a TOML file says.",
)

autopilot.command()(backtest)

FilePath = Annotated[Path, typer.Argument(metavar="FILE", help="What is wanted, as TOML.")]
MemoryPath = Annotated[
    Path | None,
    typer.Option(
        "--memory",
        metavar="PATH",
        help="Where to remember. (default: in $XDG_STATE_HOME/openclore/autopilot, by file, market and key)",
    ),
]

LOG_ROWS = 10
MACHINES = [
    Column("FLEET", flexible=True),
    Column("ORDER", justify="right"),
    Column("SERVER", justify="right", rank=1),
    Column("TYPE", rank=2),
    Column("$/HOUR", justify="right"),
    Column("SPENT $", justify="right", rank=3),
    Column("STATE"),
]


@autopilot.command()
@guarded
def check(file: FilePath, json: options.Json = False) -> None:
    """See whether a file can be followed, and whether those to be told can be reached. Changes nothing.

    Ends with 2 if the file is wrong, and with 1 if somebody can't be reached now: the file can be followed
    all the same, and what they should hear waits for them.
    """
    from openclore.autopilot.notify import examined
    from openclore.autopilot.reading import FileError, Problem, load

    problems: list[Problem] = []
    unreachable: list[str] = []
    wanted: File | None = None
    try:
        wanted = load(file)
    except FileError as error:
        problems = error.problems
    else:
        unusable, unreachable = examined(wanted)
        problems = [Problem(None, "notify", text) for text in unusable]
    if json:
        told = [problem._asdict() for problem in problems]
        show_json({"file": str(file), "problems": told, "unreachable": unreachable})
    else:
        for problem in problems:
            say(f"{file}: {problem}")
        if wanted is not None and not problems:
            say(f"{file} is in order: {_contents(wanted)}.")
        for text in unreachable:
            say(f"Now {text}. Messages wait until it can be.")
    if problems or unreachable:
        raise typer.Exit(2 if problems else 1)


@autopilot.command()
@guarded
def plan(
    file: FilePath,
    memory: MemoryPath = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Print what a round would do now, and why. Changes nothing; ends with 1 if something can't be read."""
    from openclore.autopilot.memory import Memory
    from openclore.autopilot.observe import Observer
    from openclore.autopilot.probes import Prober
    from openclore.autopilot.reading import load
    from openclore.autopilot.remember import glance
    from openclore.autopilot.runner import look_and_plan

    wanted = load(file)
    say(f"Looking at {options.whence(profile, base_url)} ...")
    with options.client(profile, base_url) as clore:
        path, market = _place(clore, file, memory)
        found = glance(path, market)
        before = found.memory if found else Memory(name="plan")
        _, made = look_and_plan(wanted, Observer(clore, Prober(), time.time), before, time.time)
    failed = {part: problem.reason for part, problem in made.trouble.items()}
    if json:
        show_json(
            {"actions": made.actions, "notes": made.notes, "failed": failed, "messages": _news(made, before)}
        )
    else:
        _show_plan(made, _news(made, before) if wanted.notify else [], failed)
    if failed:
        raise typer.Exit(1)


@autopilot.command()
@guarded
def run(
    file: FilePath,
    memory: MemoryPath = None,
    once: Annotated[
        bool, typer.Option("--once", help="One round; for cron. Ends with 1 if something could not be read.")
    ] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.JsonLines = False,
) -> None:
    """Keep things as a file wants them, until Ctrl-C or SIGTERM.

    Edits of the file are followed from the next round on; one that can't be followed is told, and the last
    good one stays. What was asked for is remembered before it is done: after a crash, start it again.
    """
    from openclore.autopilot.notify import Postman
    from openclore.autopilot.probes import Prober
    from openclore.autopilot.reading import Source
    from openclore.autopilot.remember import Keeper, glance
    from openclore.autopilot.runner import Runner

    source = Source(file)
    log = log_json if json else log_text
    with options.client(profile, base_url, attempts=2) as clore:
        path, market = _place(clore, file, memory)
        if clore.key_digest and not path.exists():
            clore.wallets()  # a wrong key or address is an error here, and a message to people later on
        with Keeper(path, market) as keeper:
            runner = Runner(clore, source, keeper, prober=Prober(), postman=Postman(log), tell=log)
            if once:
                runner.once()
                looked = glance(path, market)
                raise typer.Exit(1 if looked and looked.known and looked.known.problems else 0)
            log(f"Following {file} at {clore.base_url}: {_contents(source.file)}; Ctrl-C ends it.")
            with ended_by_signals(runner.interrupt):
                runner.run()
    log("Ended; everything is written down.")


@autopilot.command()
@guarded
def status(
    file: FilePath,
    memory: MemoryPath = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show what is remembered: the last round, machines, money spent, the last actions. Asks no market."""
    from openclore.autopilot.remember import glance
    from openclore.autopilot.words import sentence
    from openclore.client import SetupError

    if not file.exists():
        raise SetupError(f"There is no file {file}.")
    with options.client(profile, base_url) as clore:
        path, market = _place(clore, file, memory)
    found = glance(path, market, LOG_ROWS)
    if json:
        show_json({"memory": found.memory, "known": found.known, "log": found.log} if found else {})
        return
    if found is None:
        say(f"Nothing is remembered of {file} at {market[0]} with this key: openclore autopilot run {file}")
        return
    _show_known(found.known, found.memory)
    _show_alerts(found.memory)
    _show_fleets(found.memory, found.known)
    waiting = len(found.memory.alerts.gathering) + len(found.memory.alerts.outbox)
    if waiting:
        say(f"{waiting} message(s) wait to be delivered.")
    for line in found.log:
        _print(f"{local_time(line.at)} {line.action.for_}: {sentence(line.action)}{_outcome(line)}")
        _print(line.action.reason, "    ")
    if not found.log:
        say("No action was needed yet." if found.known else "No round has ended yet.")


@autopilot.command("test")
@guarded
def send_test(file: FilePath, json: options.Json = False) -> None:
    """Send one message to everybody who would be told."""
    from openclore.autopilot.notify import try_all
    from openclore.autopilot.reading import load

    told = try_all(load(file))
    if json:
        show_json([{"target": label, "told": not why_not, "problem": why_not} for label, why_not in told])
    else:
        for label, why_not in told:
            say(f"{label}: {f'could not be told: {why_not}' if why_not else 'told'}")
    if any(why_not for _, why_not in told):
        raise typer.Exit(1)


@autopilot.command("import")
@guarded
def import_(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Print a file that wants your servers as they are now; with --json as the member "toml"."""
    from openclore.autopilot.settings import as_toml

    with options.client(profile, base_url) as clore:
        names = [server.name for server in clore.my_servers() if server.name]
        configs = [clore.server_config(name) for name in names]
    if not configs:
        say("You have no servers; openclore server add NAME registers one.")
    text = as_toml(configs)
    if json:
        show_json({"servers": names, "toml": text})
    else:
        sys.stdout.write(text)


# Shared ---------------------------------------------------------------------------------------------


def _place(clore: "Clore", file: Path, memory: Path | None) -> tuple[Path, tuple[str, str]]:
    """Where a file's memory is, and what it is about."""
    from openclore.autopilot.remember import default_path

    market = (clore.base_url, clore.key_digest)
    return memory or default_path(file, *market), market


def _contents(file: "File") -> str:
    counts = [
        (len(file.alerts), "alert", "alerts"),
        (len(file.pricing), "pricing group", "pricing groups"),
        (len(file.settings), "group of settings", "groups of settings"),
        (len(file.fleets), "fleet", "fleets"),
    ]
    return ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n) or "it wants nothing"


def _show_plan(made: "Plan", titles: list[str], failed: dict[str, str]) -> None:
    from openclore.autopilot.actions import not_about
    from openclore.autopilot.words import sentence

    for action in made.actions:
        _print(f"{action.for_}: {sentence(action)}")
        _print(action.reason, "    ")
    acted = {name for action in made.actions for name in action.for_.split(", ")}
    for note in not_about(made.notes, failed.values()):
        if not (note.drift and note.for_ in acted):  # the action says it
            _print(f"{note.for_}: {note.text}")
    for title in titles:
        _print(f"Would tell: {title}")
    for text in _unread(failed):
        say(text)
    if not made.actions and not failed:
        say("Nothing can be done now." if made.notes else "Nothing to do.")


def _unread(failed: dict[str, str]) -> Iterator[str]:
    """What can't be read, as a sentence for each reason."""
    for reason in dict.fromkeys(failed.values()):
        parts = ", ".join(part for part in failed if failed[part] == reason)
        yield f"Can't read {parts}: {reason}"


def _news(made: "Plan", before: "Memory") -> list[str]:
    """Titles of the messages that this round adds."""
    after = made.memory.alerts
    messages = [*after.gathering, *(message for parcel in after.outbox for message in parcel.messages)]
    return [message.title for message in messages if message.id >= before.alerts.next_id]


def _show_alerts(memory: "Memory") -> None:
    """What holds now."""
    for key, subjects in memory.alerts.standings.items():
        kind, _, name = key.partition(" ")
        for subject, standing in subjects.items():
            told = (
                "told"
                if standing.said
                else "as it was at the first look"
                if standing.found
                else "not told yet"
            )
            _print(f"alerts.{name}: {kind} of {subject} since {local_time(standing.since)}, {told}")


def _show_fleets(memory: "Memory", known: "Known | None") -> None:
    from openclore.autopilot.memory import Spent

    rows: list[tuple[object, ...]] = []
    for name, fleet in sorted(memory.fleets.items()):
        for machine in fleet.machines.values():
            state = _state(machine)
            rows.append(
                (
                    name,
                    machine.order_id,
                    machine.server_id,
                    machine.type,
                    price(machine.usd_per_hour, "usd"),
                    price(machine.spent.total, "usd"),
                    state,
                )
            )
        rows += [
            (name, "?", i.order.server_id, i.order.type, price(i.order.usd_per_hour, "usd"), "-", "asked for")
            for i in fleet.intents.values()
        ]
    if rows:
        show_table(MACHINES, rows, empty="")
    looked_at = known.at if known else 0
    present = Spent(looked_at // 3_600, 0.0, looked_at // 86_400)
    now = int(time.time())
    hour = "this hour" if present.hour == now // 3_600 else "in the hour of the last round"
    day = "today" if present.day == now // 86_400 else "on the day of the last round"
    for name, fleet in sorted(memory.fleets.items()):
        spent = fleet.spent + present
        excluded = f"; {len(fleet.excluded)} servers left alone for now" if fleet.excluded else ""
        say(
            f"{name}: {price(spent.in_hour, 'usd')} $ {hour}, {price(spent.in_day, 'usd')} $ {day} (UTC),"
            f" {price(spent.total, 'usd')} $ in all{excluded}."
        )


def _state(machine: "Machine") -> str:
    if machine.cancelling_since:
        return "ending"
    if machine.offline_since:
        return "offline"
    if machine.waiting_since:
        return "outbid"
    return "ready" if machine.ready_at else "starting"


def _show_known(known: "Known | None", memory: "Memory") -> None:
    from openclore.autopilot.actions import not_about

    if known is None:
        return
    show_facts(
        [
            ("Last round", local_time(known.at)),
            ("Alerts checked", ", ".join(key.partition(" ")[2] for key in sorted(memory.alerts.seen))),
            *((f"Wallet {name}", price(value, name)) for name, value in known.wallets.items()),
            ("Offers seen", known.offers),
            ("Own servers", known.servers),
            ("Own orders", known.orders),
        ]
    )
    for text in _unread(known.problems):
        _print(text)
    for note in not_about(known.notes, known.problems.values()):
        _print(f"{note.for_}: {note.text}")


def _outcome(line: "Done") -> str:
    if line.done:
        return ""
    return f": {'unclear whether it was done' if line.unknown else 'not done'}: {line.detail}"


def _print(text: str, indent: str = "") -> None:
    sys.stdout.write(f"{indent}{clean(text)}\n")


@contextmanager
def ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C let what is under way end; a second Ctrl-C does not wait for it."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(sys.stderr.fileno(), b"Stopping; what is under way ends first. Ctrl-C: at once.\n")
        stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
