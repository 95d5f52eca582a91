"""The peer of /wallets: FastAPI, async SQLAlchemy, aiosqlite and uvicorn doing the same work.

`fastapi_wallets.py PORT FILE`, with an interpreter of its own that has these and nothing of ours. FILE is the
market's database. For every request it looks up the key, reads the wallets and the orders that run, and
takes off what these have accrued; as ours does, it remembers the key.
"""

import hashlib
import sys
import time
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import BigInteger, Text, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

MINUTES_PER_DAY, SCALE = 1_440, 10**8
CURRENCIES = ("bitcoin", "CLORE-Blockchain", "USD-Blockchain")


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger, str: Text}


class Key(Base):
    __tablename__ = "api_keys"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    key_hash: Mapped[str]
    revoked_at: Mapped[int | None]


class LedgerAccount(Base):
    __tablename__ = "ledger_accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int | None]
    currency: Mapped[str]
    balance: Mapped[int]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    currency: Mapped[str]
    state: Mapped[str]
    price: Mapped[int]
    renter_fee: Mapped[int]
    host_fee: Mapped[int]
    creation_fee: Mapped[int]
    creation_grace_seconds: Mapped[int]
    created_at: Mapped[int]
    mrl_seconds: Mapped[int]
    active_seconds: Mapped[int]
    active_since: Mapped[int | None]
    began: Mapped[bool]
    spend_before: Mapped[int]
    minutes_before: Mapped[int]
    paid_host: Mapped[int]
    paid_market: Mapped[int]


class Wallet(BaseModel):
    name: str
    deposit: str
    balance: float
    withdrawal_fee: float


class Wallets(BaseModel):
    code: int
    wallets: list[Wallet]


app = FastAPI()
sessions: Any = None
known: dict[str, int] = {}


@app.get("/v1/wallets")
async def wallets(auth: str = Header()) -> Wallets:
    now = int(time.time())
    async with sessions() as session:
        digest = hashlib.sha256(auth.encode()).hexdigest()
        account_id = known.get(digest)
        if account_id is None:
            wanted = select(Key.account_id).where(Key.key_hash == digest, Key.revoked_at.is_(None))
            account_id = (await session.execute(wanted)).scalar_one_or_none()
            if account_id is None:
                raise HTTPException(401)
            known[digest] = account_id
        found = await session.execute(select(LedgerAccount).where(LedgerAccount.account_id == account_id))
        held = {wallet.currency: wallet.balance for wallet in found.scalars()}
        found = await session.execute(
            select(Order).where(Order.account_id == account_id, Order.state != "ended")
        )
        running = list(found.scalars())
    return Wallets(
        code=0,
        wallets=[
            Wallet(
                name=name, deposit="", balance=_left(held.get(name, 0), name, running, now), withdrawal_fee=0
            )
            for name in CURRENCIES
        ],
    )


def _left(balance: int, currency: str, running: list[Order], now: int) -> float:
    owed = sum(_outstanding(order, now) for order in running if order.currency == currency)
    return max(0, balance - owed) / SCALE


def _outstanding(order: Order, now: int) -> int:
    if not order.began:
        return 0
    seconds = order.active_seconds
    if order.active_since is not None:
        seconds += max(0, min(now, order.created_at + order.mrl_seconds - 1) - order.active_since)
    minutes = max(0, seconds // 60 + 1 - order.minutes_before)
    spend = order.spend_before + order.price * minutes // MINUTES_PER_DAY
    to_host = spend - spend * order.host_fee // 10_000
    charge = spend + spend * order.renter_fee // 10_000
    if seconds >= order.creation_grace_seconds:
        charge += order.creation_fee
    return max(0, to_host - order.paid_host) + max(0, charge - to_host - order.paid_market)


if __name__ == "__main__":
    engine = create_async_engine(f"sqlite+aiosqlite:///{sys.argv[2]}")
    sessions = async_sessionmaker(engine)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
