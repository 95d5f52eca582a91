"""The ledger against a model: a dictionary of balances and a set of what was done."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from openclore.api.currencies import Currency
from openclore.store import accounts, ledger
from openclore.store.ledger import IdempotencyConflict, InsufficientFunds, Transfer
from openclore.store.store import Store

NAMES = ["alice", "bob", "carol"]
CURRENCIES = [Currency.USD, Currency.BITCOIN]


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.balances: dict[int, int] = {}
        self.done: dict[str, tuple[int, int, int]] = {}
        with store.writing() as tx:
            ids = [accounts.add(tx, f"{name}@example.org", 0).id for name in NAMES]
            self.wallets = {c: [ledger.wallet(tx, owner, c).id for owner in ids] for c in CURRENCIES}
            self.outside = {c: ledger.outside(tx, c).id for c in CURRENCIES}

    def post(self, debit: int, credit: int, amount: int, key: str) -> None:
        transfer = Transfer(
            debit_id=debit,
            credit_id=credit,
            amount=amount,
            kind="test",
            reference="test",
            idempotency_key=key,
            at=0,
        )
        before = self.done.get(key)
        content = (debit, credit, amount)
        with self.store.writing() as tx:
            try:
                made = ledger.post(tx, transfer)
            except IdempotencyConflict:
                assert before not in (None, content)
                return
            except InsufficientFunds:
                assert before is None
                assert self.balances.get(debit, 0) < amount
                return
        assert made == (before is None)
        if made:
            self.done[key] = content
            self.balances[debit] = self.balances.get(debit, 0) - amount
            self.balances[credit] = self.balances.get(credit, 0) + amount

    @rule(
        who=st.integers(0, 2),
        currency=st.sampled_from(CURRENCIES),
        amount=st.integers(1, 100),
        key=st.integers(0, 30),
    )
    def credit(self, who: int, currency: Currency, amount: int, key: int) -> None:
        self.post(self.outside[currency], self.wallets[currency][who], amount, f"key-{key}")

    @rule(
        payer=st.integers(0, 2),
        step=st.integers(1, 2),
        currency=st.sampled_from(CURRENCIES),
        amount=st.integers(1, 100),
        key=st.integers(0, 30),
    )
    def pay(self, payer: int, step: int, currency: Currency, amount: int, key: int) -> None:
        wallets = self.wallets[currency]
        self.post(wallets[payer], wallets[(payer + step) % 3], amount, f"key-{key}")

    @rule(data=st.data())
    def repeat(self, data: Any) -> None:
        if self.done:
            key = data.draw(st.sampled_from(sorted(self.done)))
            self.post(*self.done[key], key)

    @invariant()
    def balances_are_the_model(self) -> None:
        with self.store.reading() as tx:
            for account in ledger.every(tx):
                assert account.balance == self.balances.get(account.id, 0)
                assert account.kind is ledger.Kind.OUTSIDE or account.balance >= 0
        assert sum(self.balances.values()) == 0


def test_the_ledger_does_what_its_model_does(new_sqlite_store: Callable[[], Store]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: LedgerMachine(new_sqlite_store()),
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None),
    )


def test_the_same_transfer_is_made_once_and_another_under_its_key_not_at_all(store: Store) -> None:
    machine = LedgerMachine(store)
    machine.credit(0, Currency.USD, 10, 1)
    machine.credit(0, Currency.USD, 10, 1)
    machine.credit(0, Currency.USD, 11, 1)
    machine.pay(0, 1, Currency.USD, 11, 2)
    machine.pay(0, 1, Currency.USD, 10, 2)
    machine.balances_are_the_model()
    assert machine.balances[machine.wallets[Currency.USD][1]] == 10


def test_a_transfer_of_nothing_is_refused_by_the_database(store: Store) -> None:
    from sqlalchemy.exc import IntegrityError

    machine = LedgerMachine(store)
    with pytest.raises(IntegrityError):
        machine.post(machine.outside[Currency.USD], machine.wallets[Currency.USD][0], 0, "zero")
