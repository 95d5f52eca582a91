"""One round's decision, put together from its parts.

Pure: the same file, observation, memory and `now` give the same plan. `runner.py` writes the memory down
first and carries the actions out afterwards.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from . import fleets
from .actions import AnyAction, Note, Outcome, SetSettings
from .alerts import plan_alerts, trouble, unmatched_alerts
from .file import File
from .memory import Memory, Refusal
from .observation import Failed, Observation
from .pricing import not_made, plan_prices, without
from .servers import merged, together
from .settings import plan_settings

REFUSED_SECONDS = 600
"""How long a server is left alone whose settings were refused."""


class Plan(NamedTuple):
    """What to do in this order, what to remember before it is done, and what to say about the rest.

    `trouble`: by part ("wallets", "wallet eur") why it is not known.
    """

    actions: tuple[AnyAction, ...]
    memory: Memory
    notes: tuple[Note, ...]
    trouble: Mapping[str, Failed]


def make_plan(file: File, seen: Observation, memory: Memory, now: int, notes: tuple[Note, ...] = ()) -> Plan:
    """Everything that a round does.

    Args:
        notes: what is to be told beside what the planners find.
        now: Unix s.
    """
    prices = plan_prices(file, seen, memory.prices, now)
    settings = plan_settings(file, seen, now)
    machines = fleets.plan_fleets(file, seen, memory, now)
    refused = {name: one for name, one in memory.refused.items() if now < one.until}
    sets = merged((*settings.actions, *prices.actions))
    due = tuple(one for one in sets if not (isinstance(one, SetSettings) and one.server in refused))
    notes = (
        *notes,
        *unmatched_alerts(file, seen, now),
        *prices.notes,
        *settings.notes,
        *machines.notes,
        *together(map(_told, refused.items())),
    )
    after = msgspec.structs.replace(
        machines.memory,
        events_after=seen.events_after,
        refused=refused,
        alerts=plan_alerts(file, seen, memory.alerts, notes, now),
        prices=without(prices.memory, memory.prices, refused),
    )
    return Plan((*machines.actions, *due), after, notes, trouble(file, seen, memory.alerts, now))


def done(memory: Memory, outcome: Outcome) -> Memory:
    """The memory after an action."""
    action = outcome.action
    if isinstance(action, SetSettings) and not (outcome.done or outcome.unknown):
        memory = msgspec.structs.replace(memory, prices=not_made(memory.prices, action, outcome.at))
    if isinstance(action, SetSettings) and outcome.refused:
        refusal = Refusal(outcome.at + REFUSED_SECONDS, outcome.detail)
        return msgspec.structs.replace(memory, refused={**memory.refused, action.server: refusal})
    return fleets.done(memory, outcome)


def _told(refused: tuple[str, Refusal]) -> tuple[str, Note]:
    server, refusal = refused
    return server, Note(for_="hosting", text=f"the market does not take the settings: {refusal.why}")
