"""Writing a market down as if it had been there for months: hosts, machines, wallets, rates, keys."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_letters, digits

from sqlalchemy import Connection, select, text

from ..api.currencies import Currency
from ..rules import money
from ..rules.servers import DAY_SECONDS, RELIABILITY_DAYS, Server
from ..store import accounts, events, ledger, rates, servers
from ..store.tables import accounts as accounts_table
from ..store.tables import ledger_accounts, uptimes
from ..usecases.market import Market
from ..usecases.secrets import hashed
from .machines import Machine

RENTER, HOST = "renter@example.org", "host@example.org"
RENTER_MONEY: Mapping[str, float] = {
    Currency.USD: 10_000.0,
    Currency.BITCOIN: 1.0,
    Currency.CLORE: 1_000_000.0,
}
RIVAL_MONEY_USD = 3_000.0
SERVERS_PER_RIVAL = 2
RIVALS_MIN = 6
HOST_SERVERS = 4
"""About how many servers the host whose key is handed out has."""
FIRST_ORDER_ID = 5_550_001
PORTS_PER_SERVER = 5
"""As many as an order may have."""
_KEY_LENGTH = 32


@dataclass(frozen=True)
class Founded:
    """Account ids, and API keys by "renter" and "host"."""

    renter: int
    host: int
    rivals: list[int]
    keys: dict[str, str]


def found(
    market: Market,
    machines: Sequence[Machine],
    usd: Mapping[Currency, float],
    seed: int,
    now: int,
    first_port: int,
    money_of_renter: Mapping[str, float] = RENTER_MONEY,
    host: int | None = None,
    money_of_host: Mapping[str, float] | None = None,
) -> Founded:
    """Write everything but the orders. Each machine gets ports of its own on 127.0.0.1, from `first_port`.

    The host whose key is handed out is the owner `host`, or one of those with a few machines.
    """
    dice = Random(f"{seed}/founding")
    with market.store.writing() as tx:
        tx.execute(text("INSERT INTO sqlite_sequence VALUES ('orders', :last)"), {"last": FIRST_ORDER_ID - 1})
        host = _nearest_to(HOST_SERVERS, machines) if host is None else host
        _add_hosts(tx, machines, host, now)
        servers.put(tx, _servers(machines, now, first_port))
        _add_uptimes(tx, machines, now)
        for currency, rate in usd.items():
            if currency is not Currency.USD:
                rates.put(tx, currency, money.from_wire(round(rate, 8)), now)
        renter = accounts.add(tx, RENTER, now).id
        rivals = _add_rivals(tx, max(RIVALS_MIN, len(machines) // SERVERS_PER_RIVAL), now)
        for currency in Currency:
            amounts = dict.fromkeys(rivals, money.from_wire(round(RIVAL_MONEY_USD / usd[currency], 8)))
            amounts[renter] = money.from_wire(money_of_renter.get(currency, 0.0))
            if money_of_host is not None:
                amounts[host] = money.from_wire(money_of_host.get(currency, 0.0))
            _fund(tx, currency, amounts, now)
        keys = {}
        for who, account_id in (("renter", renter), ("host", host)):
            keys[who] = "".join(dice.choices(ascii_letters + digits, k=_KEY_LENGTH))
            accounts.add_key(tx, account_id, "sandbox", hashed(keys[who]), now)
    return Founded(renter, host, rivals, keys)


def _nearest_to(count: int, machines: Sequence[Machine]) -> int:
    """The owner who has about so many machines."""
    owned = Counter(machine.owner for machine in machines)
    return min(owned, key=lambda owner: (abs(owned[owner] - count), owner))


def _add_hosts(tx: Connection, machines: Sequence[Machine], host: int, now: int) -> None:
    tx.execute(
        accounts_table.insert(),
        [
            {"id": owner, "email": HOST if owner == host else f"host-{owner}@example.org", "created_at": now}
            for owner in sorted({machine.owner for machine in machines} | {host})
        ],
    )


def _servers(machines: Sequence[Machine], now: int, first_port: int) -> list[Server]:
    return [
        Server(
            id=machine.id,
            account_id=machine.owner,
            name=machine.name or f"rack-{number}",
            created_at=now - machine.days * DAY_SECONDS,
            settings=machine.settings,
            connected_at=now - machine.days * DAY_SECONDS,
            online=True,
            seen_until=now,
            public_address="127.0.0.1",
            port_low=first_port + number * PORTS_PER_SERVER,
            port_high=first_port + (number + 1) * PORTS_PER_SERVER - 1,
            specs=machine.specs,
            gpu_array=machine.gpu_array,
            cuda_version=machine.cuda_version,
            gigaspot=machine.gigaspot,
        )
        for number, machine in enumerate(machines)
    ]


def _add_uptimes(tx: Connection, machines: Sequence[Machine], now: int) -> None:
    """The days that a machine's reliability is made of."""
    today = now // DAY_SECONDS
    days = range(today - RELIABILITY_DAYS + 1, today + 1)
    tx.execute(
        uptimes.insert(),
        [
            {
                "server_id": machine.id,
                "day": day,
                "seconds": int(min(DAY_SECONDS, now - day * DAY_SECONDS) * machine.reliability),
            }
            for machine in machines
            for day in days
        ],
    )


def _add_rivals(tx: Connection, count: int, now: int) -> list[int]:
    emails = [f"rival-{number + 1}@example.org" for number in range(count)]
    tx.execute(accounts_table.insert(), [{"email": email, "created_at": now} for email in emails])
    known = tx.execute(select(accounts_table.c.id).where(accounts_table.c.email.in_(emails)))
    return sorted(known.scalars())


def _fund(tx: Connection, currency: Currency, amounts: Mapping[int, int], now: int) -> None:
    """Fill wallets, account id to amount, all at once."""
    outside = ledger.outside(tx, currency)
    tx.execute(
        ledger_accounts.insert().values(kind=ledger.Kind.WALLET, currency=currency, balance=0, head=b""),
        [{"account_id": account_id} for account_id in amounts],
    )
    opened = select(ledger_accounts.c.id, ledger_accounts.c.account_id).where(
        ledger_accounts.c.kind == ledger.Kind.WALLET, ledger_accounts.c.currency == currency
    )
    filled = [
        wallet
        for wallet in tx.execute(opened.order_by(ledger_accounts.c.id)).all()
        if amounts.get(wallet.account_id)
    ]
    ledger.post_new(
        tx,
        [
            ledger.Transfer(
                debit_id=outside.id,
                credit_id=wallet.id,
                amount=amounts[wallet.account_id],
                kind="credit",
                reference=f"account:{wallet.account_id}",
                idempotency_key=f"founding:{wallet.id}",
                at=now,
            )
            for wallet in filled
        ],
    )
    for wallet in filled:
        events.append(
            tx,
            events.Kind.WALLET_CREDITED,
            now,
            account_id=wallet.account_id,
            currency=currency,
            amount=money.to_text(amounts[wallet.account_id]),
        )
