"""Recomputing all money: books that were cooked with the market's own tools, so that every hash is right."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select, text, update

from openclore.api.spot import SetSpotPrice
from openclore.rules import billing, statements
from openclore.rules.orders import EndReason, Order
from openclore.store import events, ledger, orders
from openclore.store.store import Store
from openclore.store.tables import ledger_accounts, transfers
from openclore.usecases import accounts, spot
from openclore.usecases.verify import Difference, verify

from ..world import START, USD, World

ENDED, OUTBID, RUNNING = 1, 2, 3


@pytest.fixture
def world(store: Store) -> World:
    """An order that is over, a repriced bid that was outbid, and the bid that has its machine now."""
    world = World(store)
    server = world.add_server("rack-2")
    rival = accounts.create_account(world.market, "rival@example.org", world.now).id
    world.credit("100")
    world.credit("50", "rival@example.org")
    world.rent()
    world.rent(server, type="spot", spotprice=1.5)
    world.jump(700)
    spot.set_spot_price(
        world.market, world.renter, SetSpotPrice(order_id=OUTBID, desired_price=1.9), world.now
    )
    world.jump(700)
    world.rent(server, rival, type="spot", spotprice=2.5)
    world.jump(500)
    world.cancel(ENDED)
    world.jump(3_700)
    world.turn()
    assert world.difference() is None
    return world


def order(world: World, order_id: int) -> Order:
    with world.store.reading() as tx:
        found = orders.by_id(tx, order_id)
    assert found is not None
    return found


def charge(world: World, order: Order, at: int, **changes: Any) -> None:
    """Post all that an order would cost at `at` if it were as the changes say, and keep it so."""
    order = msgspec.structs.replace(order, **changes)
    with world.store.writing() as tx:
        host, market = ledger.wallet(tx, order.host_id, USD), ledger.market(tx, USD)
        paid = {}
        for kind, receiver in ((statements.RENTAL, host), (statements.FEES, market)):
            basis = statements.basis(order, at, kind)
            amount = statements.amount(kind, basis)
            paid[kind] = basis.paid_before + amount
            if amount:
                transfer = ledger.Transfer(
                    debit_id=ledger.wallet(tx, order.account_id, USD).id,
                    credit_id=receiver.id,
                    amount=amount,
                    kind=kind,
                    reference=f"order:{order.id}",
                    idempotency_key=f"order:{order.id}:{kind}:{paid[kind]}",
                    at=at,
                    order_id=order.id,
                    how=statements.text(kind, basis),
                )
                ledger.post(tx, transfer)
        kept = msgspec.structs.replace(
            order,
            paid_host=paid[statements.RENTAL],
            paid_market=paid[statements.FEES],
            posted_at=max(order.posted_at, at),
        )
        orders.save(tx, [kept])


def keep(world: World, order_id: int, **changes: Any) -> None:
    changed = msgspec.structs.replace(order(world, order_id), **changes)
    with world.store.writing() as tx:
        orders.save(tx, [changed])


def tell(world: World, kind: events.Kind, at: int, order_id: int, **data: Any) -> None:
    with world.store.writing() as tx:
        events.append(tx, kind, at, order_id=order_id, server_id=order(world, order_id).server_id, **data)


def move(world: World, debit: int, credit: int, kind: str, reference: str) -> None:
    transfer = ledger.Transfer(
        debit_id=debit,
        credit_id=credit,
        amount=1_000,
        kind=kind,
        reference=reference,
        idempotency_key="forged",
        at=world.now,
    )
    with world.store.writing() as tx:
        ledger.post(tx, transfer)


def found(world: World) -> Difference:
    difference = verify(world.market).difference
    assert difference is not None
    return difference


# Orders ---------------------------------------------------------------------------------------------


def test_a_bid_that_is_charged_for_waiting_is_named(world: World) -> None:
    outbid = order(world, OUTBID)
    charge(world, outbid, world.now, active_seconds=outbid.active_seconds + 58 * 60)
    difference = found(world)
    assert difference.order_id == OUTBID
    assert difference.what == "for how many seconds its meter ran, by the event log"
    assert (difference.expected, difference.found) == ("1400", "4880")


def test_an_order_that_is_charged_after_its_end_is_named(world: World) -> None:
    ended = order(world, ENDED)
    assert ended.ended_at is not None
    charge(world, ended, ended.ended_at + 60_000, active_seconds=ended.active_seconds + 60_000)
    assert found(world).what == "for how many seconds its meter ran, by the event log"


def test_an_order_that_says_it_was_charged_after_its_end_is_named(world: World) -> None:
    charge(world, order(world, ENDED), world.now)
    difference = found(world)
    assert difference.what == "up to when it is charged, by the event log"
    assert (difference.order_id, difference.expected) == (ENDED, str(START + 1_900))


def test_past_minutes_that_cost_more_than_their_price_are_named(world: World) -> None:
    outbid = order(world, OUTBID)
    charge(world, outbid, world.now, spend_before=outbid.spend_before + 10**8)
    difference = found(world)
    assert difference.what == "what the minutes before its last change of price cost, by the event log"
    assert (difference.expected, difference.found) == ("0.0125", "1.0125")


def test_past_minutes_that_are_too_many_are_named(world: World) -> None:
    keep(world, OUTBID, minutes_before=100)
    assert found(world).what == "its minutes before its last change of price, by the event log"


def test_an_earlier_price_at_which_a_later_minute_was_charged_is_named(world: World) -> None:
    """The order itself is as it should be: the transfer alone is wrong."""
    running = order(world, RUNNING)
    world.now += 600
    charge(world, running, world.now, spend_before=5, minutes_before=1)
    keep(world, RUNNING, spend_before=0, minutes_before=0)
    difference = found(world)
    assert difference.what.startswith("the price in the transfer (rental")
    assert difference.expected == "2.5 after 0 minutes for 0"
    assert difference.found == "2.5 after 1 minutes for 0.00000005"


def test_an_order_that_ended_without_its_last_hours_charged_is_named(world: World) -> None:
    running = order(world, RUNNING)
    assert running.active_since is not None
    seconds = running.posted_at - running.active_since
    charged = billing.ended(running, running.posted_at, EndReason.CANCELLED)
    ended_at = world.now + 80_000
    with world.store.writing() as tx:
        orders.save(tx, [msgspec.structs.replace(charged, ended_at=ended_at)])
    tell(world, events.Kind.ORDER_ENDED, ended_at, RUNNING, reason="cancelled")
    difference = found(world)
    assert difference.what == "for how many seconds its meter ran, by the event log"
    assert (difference.expected, difference.found) == (str(seconds + 80_000), str(seconds))


def test_a_meter_that_was_stopped_for_nothing_is_named(world: World) -> None:
    running = order(world, RUNNING)
    assert running.active_since is not None
    keep(world, RUNNING, active_since=None, active_seconds=running.posted_at - running.active_since)
    assert found(world).what == "since when its meter runs, by the event log"


def test_a_host_that_is_paid_for_its_silence_is_named(world: World) -> None:
    running = order(world, RUNNING)
    since = world.now
    world.jump(600, beating=False)
    world.turn()
    world.beat()
    silent = order(world, RUNNING)
    assert silent.active_seconds < world.now - since + running.active_seconds + 3_700
    assert world.difference() is None
    charge(world, silent, world.now, active_seconds=silent.active_seconds + 600)
    assert found(world).what == "for how many seconds its meter ran, by the event log"


def test_an_order_that_is_charged_for_days_to_come_is_named(world: World) -> None:
    running = order(world, RUNNING)
    charge(world, running, world.now + 2 * 86_400, mrl_seconds=10 * 86_400)
    keep(world, RUNNING, mrl_seconds=running.mrl_seconds)
    assert found(world).what == "up to when it is charged, by the event log"


def test_a_transfer_that_counts_minutes_to_come_is_named(world: World) -> None:
    running = order(world, RUNNING)
    assert running.active_since is not None
    charge(world, running, world.now + 60, active_since=running.active_since - 1_200)
    keep(world, RUNNING, active_since=running.active_since)
    difference = found(world)
    assert difference.what.startswith("minutes in the transfer (rental")
    assert int(difference.found) - int(difference.expected) == 20


def test_a_creation_fee_that_is_charged_before_its_time_is_named(world: World) -> None:
    made = order(world, world.rent().id)
    charge(world, made, world.now, creation_grace_seconds=0)
    keep(world, made.id, creation_grace_seconds=made.creation_grace_seconds)
    difference = found(world)
    assert difference.what.startswith("creation_fee in the transfer (fees")
    assert (difference.order_id, difference.expected) == (made.id, "0")


# The event log --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "order_id", "what"),
    [
        ("DELETE FROM events WHERE kind = 'order_ended'", ENDED, "how it ended"),
        ("DELETE FROM events WHERE kind = 'order_created' AND order_id = 2", OUTBID, "how it began"),
        ("UPDATE events SET at = at + 60 WHERE kind = 'order_ended'", ENDED, "when it ended"),
        ("UPDATE events SET at = at - 60 WHERE kind = 'order_created'", ENDED, "when it was made"),
        ("UPDATE orders SET created_at = created_at - 86400", ENDED, "when it was made"),
        ("UPDATE orders SET end_reason = 'failed' WHERE id = 1", ENDED, "why it ended"),
        ("UPDATE orders SET kind = 'gigaspot' WHERE id = 2", OUTBID, "its kind"),
        ("UPDATE orders SET account_id = 3 WHERE id = 1", ENDED, "its renter, host and server"),
        ("UPDATE orders SET host_id = 3 WHERE id = 1", ENDED, "its renter, host and server"),
        ("UPDATE orders SET server_id = 2 WHERE id = 1", ENDED, "its renter, host and server"),
        ("UPDATE orders SET began = false WHERE id = 2", OUTBID, "whether its meter ever ran"),
        ("UPDATE orders SET state = 'waiting' WHERE id = 3", RUNNING, "its state"),
        ("DELETE FROM events WHERE kind = 'order_outbid'", OUTBID, "its state"),
        ("DELETE FROM events WHERE kind = 'order_repriced'", OUTBID, "its price per day"),
        (
            "UPDATE events SET data = '{}' WHERE kind = 'order_repriced'",
            OUTBID,
            "what order_repriced (event ",
        ),
        ("UPDATE events SET data = '{}' WHERE kind = 'order_ended'", ENDED, "what order_ended (event "),
        (
            "UPDATE events SET order_id = 1 WHERE kind = 'order_won'",
            ENDED,
            "its state before order_won (event ",
        ),
        (
            "UPDATE events SET kind = 'server_offline', data = '{\"seen_until\":0}' WHERE kind = 'order_won'",
            OUTBID,
            "its state before order_outbid (event ",
        ),
        (
            "UPDATE events SET data = '{\"charged_until\":1800090000}' WHERE kind = 'order_outbid'",
            OUTBID,
            "up to when the order was charged at order_outbid (event ",
        ),
    ],
)
def test_an_order_that_is_not_what_the_log_made_of_it_is_named(
    world: World, statement: str, order_id: int, what: str
) -> None:
    with world.store.writing() as tx:
        tx.execute(text(statement.replace(":", "\\:")))
    difference = found(world)
    assert difference.order_id == order_id
    assert difference.what.startswith(what)


def test_an_order_that_ended_twice_is_named(world: World) -> None:
    tell(world, events.Kind.ORDER_ENDED, world.now, ENDED, reason="cancelled")
    difference = found(world)
    assert (difference.what, difference.expected, difference.found) == (
        "how it ended",
        "1 order_ended",
        "2 order_ended",
    )


def test_an_order_that_goes_on_after_its_end_is_named(world: World) -> None:
    tell(world, events.Kind.ORDER_ENDED, world.now, RUNNING, reason="cancelled")
    difference = found(world)
    assert (difference.order_id, difference.what, difference.expected) == (
        RUNNING,
        "how it ended",
        "no order_ended",
    )


def test_a_log_of_before_is_believed_as_far_as_it_goes(world: World) -> None:
    """Databases of earlier commits do not say where silence stopped a meter."""
    world.jump(10)
    world.turn()
    world.jump(600, beating=False)
    world.turn()
    world.beat()
    world.jump(600)
    world.turn()
    with world.store.writing() as tx:
        tx.execute(text("UPDATE events SET data = replace(data, 'charged_until', 'unknown')"))
    assert world.difference() is None
    charge(world, order(world, RUNNING), world.now, active_seconds=90_000)
    assert found(world).what == "for how many seconds its meter ran, by the event log"


# Transfers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("debit", "credit", "kind", "reference"),
    [
        ("renter", "rival", "credit", "account:{rival}"),
        ("market", "rival", "gift", "whatever"),
        ("market", "rival", "credit", "account:{rival}"),
        ("outside", "rival", "credit", "account:{renter}"),
        ("outside", "rival", "gift", "account:{rival}"),
        ("outside", "market", "credit", "account:{rival}"),
        ("renter", "outside", "credit", "account:{renter}"),
        ("renter", "market", "fees", "order:1"),
    ],
)
def test_what_is_for_no_order_must_be_a_credit_from_outside_to_whom_it_names(
    world: World, debit: str, credit: str, kind: str, reference: str
) -> None:
    with world.store.writing() as tx:
        rival = accounts.account_named(tx, "rival@example.org").id
        ids = {
            "renter": ledger.wallet(tx, world.renter, USD).id,
            "rival": ledger.wallet(tx, rival, USD).id,
            "market": ledger.market(tx, USD).id,
            "outside": ledger.outside(tx, USD).id,
        }
        newest = tx.execute(text("SELECT max(id) FROM transfers")).scalar_one()
    move(world, ids[debit], ids[credit], kind, reference.format(rival=rival, renter=world.renter))
    difference = found(world)
    assert difference.what == f"what the transfer ({kind}) is for"
    assert difference.transfer_id == newest + 1


def test_a_transfer_that_names_another_order_than_it_is_for_is_named(world: World) -> None:
    with world.store.writing() as tx:
        tx.execute(text("UPDATE transfers SET reference = 'order:3' WHERE order_id = 2 AND kind = 'rental'"))
        _chain_anew(tx)
    assert found(world).what == "what the transfer (rental) is for"


def _chain_anew(tx: Connection) -> None:
    """Hash all transfers once more, as they are now."""
    heads = {account.id: b"" for account in ledger.every(tx)}
    for row in tx.execute(select(transfers).order_by(transfers.c.id)).all():
        hashes = {}
        for side, sign in (("debit", -1), ("credit", 1)):
            account_id = getattr(row, f"{side}_id")
            heads[account_id] = hashes[f"{side}_hash"] = ledger.chained(
                heads[account_id],
                currency=USD,
                at=row.at,
                kind=row.kind,
                reference=row.reference,
                amount=sign * row.amount,
                balance=getattr(row, f"{side}_balance"),
                how=row.how,
            )
        tx.execute(update(transfers).where(transfers.c.id == row.id).values(**hashes))
    for account_id, head in heads.items():
        tx.execute(update(ledger_accounts).where(ledger_accounts.c.id == account_id).values(head=head))
