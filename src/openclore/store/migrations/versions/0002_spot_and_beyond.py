"""spot bids, GigaSPOT, idempotency keys, spend limits, leases, webhooks, statistics"""

import sqlalchemy as sa
from alembic import op

from openclore.api.currencies import Currency
from openclore.store.ledger import chained

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "statistics",
        sa.Column("gpu", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("servers", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("rented", sa.Integer(), nullable=False),
        sa.Column("price_p10", sa.BigInteger(), nullable=True),
        sa.Column("price_p50", sa.BigInteger(), nullable=True),
        sa.Column("price_p90", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gpu", "at", name=op.f("pk_statistics")),
    )
    op.create_index("ix_statistics_at", "statistics", ["at"])
    op.create_table(
        "idempotency",
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_idempotency_account_id")),
        sa.PrimaryKeyConstraint("account_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_webhooks_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhooks_account_id", "webhooks", ["account_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_deliveries_webhook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("webhook_id", "event_id", name=op.f("uq_deliveries_webhook_id_event_id")),
    )
    op.create_index("ix_deliveries_at", "deliveries", ["webhook_id", "at"], unique=False)
    op.create_index(
        "ix_deliveries_next_at",
        "deliveries",
        ["webhook_id", "next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_table(
        "spend_limits",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("spent_before", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_spend_limits_account_id")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_spend_limits_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spend_limits")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_spend_limits_account_id", "spend_limits", ["account_id"], unique=False)
    op.add_column("accounts", sa.Column("poh_stake", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("api_keys", sa.Column("dialect", sa.Text(), nullable=True))
    op.add_column("events", sa.Column("host_id", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE events SET host_id = (SELECT account_id FROM servers WHERE servers.id = events.server_id)"
    )
    op.create_index("ix_events_host_id", "events", ["host_id", "id"], unique=False)
    op.create_index("ix_events_account_id", "events", ["account_id", "id"], unique=False)
    op.create_index("ix_events_server_id", "events", ["server_id", "id"], unique=False)
    op.add_column("orders", sa.Column("kind", sa.Text(), server_default="on-demand", nullable=False))
    op.add_column("orders", sa.Column("key_id", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("began", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("orders", sa.Column("spend_before", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("orders", sa.Column("minutes_before", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("orders", sa.Column("lowered_at", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("original_price_usd", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("spend_max", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("lease_until", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_orders_active_server_id",
        "orders",
        ["server_id"],
        unique=False,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index("ix_orders_key_id", "orders", ["key_id"], unique=False)
    op.create_index(
        "uq_orders_bidder",
        "orders",
        ["server_id", "account_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'ended' AND kind <> 'on-demand'"),
        postgresql_where=sa.text("state <> 'ended' AND kind <> 'on-demand'"),
    )
    op.add_column(
        "ledger_accounts", sa.Column("head", sa.LargeBinary(), server_default=sa.text("''"), nullable=False)
    )
    op.add_column("transfers", sa.Column("order_id", sa.BigInteger(), nullable=True))
    op.add_column("transfers", sa.Column("how", sa.Text(), server_default="", nullable=False))
    for side in ("debit", "credit"):
        op.add_column(
            "transfers", sa.Column(f"{side}_balance", sa.BigInteger(), server_default="0", nullable=False)
        )
        op.add_column(
            "transfers",
            sa.Column(f"{side}_hash", sa.LargeBinary(), server_default=sa.text("''"), nullable=False),
        )
    op.execute(
        "UPDATE transfers SET order_id = CAST(substr(reference, 7) AS BIGINT) WHERE reference LIKE 'order:%'"
    )
    _chain(op.get_bind())
    op.drop_index("ix_transfers_reference", table_name="transfers")
    op.create_index("ix_transfers_order_id", "transfers", ["order_id"], unique=False)
    op.add_column("rates", sa.Column("pegged_usd", sa.BigInteger(), nullable=True))
    op.add_column("servers", sa.Column("gigaspot", sa.Text(), nullable=True))
    op.add_column("servers", sa.Column("background_job", sa.Text(), nullable=True))
    op.add_column(
        "servers", sa.Column("background_updates", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("servers", sa.Column("link", sa.Integer(), server_default="0", nullable=False))
    op.add_column("servers", sa.Column("removed_at", sa.BigInteger(), nullable=True))
    op.drop_index("uq_orders_holder", table_name="orders")
    op.create_index(
        "uq_orders_holder",
        "orders",
        ["server_id"],
        unique=True,
        sqlite_where=sa.text("state NOT IN ('ended', 'waiting')"),
        postgresql_where=sa.text("state NOT IN ('ended', 'waiting')"),
    )


def _chain(connection: sa.Connection) -> None:
    """Hash what moved before there were hashes."""
    rows = connection.execute(sa.text("SELECT id, currency FROM ledger_accounts"))
    currencies = {row.id: Currency(row.currency) for row in rows}
    balances, heads, last = dict.fromkeys(currencies, 0), dict.fromkeys(currencies, b""), 0
    page = sa.text(
        "SELECT id, debit_id, credit_id, amount, kind, reference, at FROM transfers"
        " WHERE id > :last ORDER BY id LIMIT 1000"
    )
    while moved := connection.execute(page, {"last": last}).all():
        hashes = []
        for row in moved:
            for side, change in ((row.debit_id, -row.amount), (row.credit_id, row.amount)):
                balances[side] += change
                heads[side] = chained(
                    heads[side],
                    currency=currencies[side],
                    at=row.at,
                    kind=row.kind,
                    reference=row.reference,
                    amount=change,
                    balance=balances[side],
                    how="",
                )
            debit, credit = row.debit_id, row.credit_id
            hashes.append(
                {
                    "of": row.id,
                    "debit": heads[debit],
                    "credit": heads[credit],
                    "debit_holds": balances[debit],
                    "credit_holds": balances[credit],
                }
            )
        connection.execute(
            sa.text(
                "UPDATE transfers SET debit_hash = :debit, credit_hash = :credit,"
                " debit_balance = :debit_holds, credit_balance = :credit_holds WHERE id = :of"
            ),
            hashes,
        )
        last = moved[-1].id
    for of, head in heads.items():
        connection.execute(
            sa.text("UPDATE ledger_accounts SET head = :head WHERE id = :of"), {"head": head, "of": of}
        )


def downgrade() -> None:
    # The older release knows no waiting bids.
    op.execute(
        "UPDATE orders SET state = 'ended', ended_at = created_at, end_reason = 'cancelled'"
        " WHERE state = 'waiting'"
    )
    op.drop_index("uq_orders_holder", table_name="orders")
    op.create_index(
        "uq_orders_holder",
        "orders",
        ["server_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )

    op.drop_column("servers", "removed_at")
    op.drop_column("servers", "link")
    op.drop_column("servers", "background_updates")
    op.drop_column("servers", "background_job")
    op.drop_column("servers", "gigaspot")
    op.drop_column("rates", "pegged_usd")
    op.drop_index("ix_transfers_order_id", table_name="transfers")
    op.create_index("ix_transfers_reference", "transfers", ["reference"], unique=False)
    for column in ("credit_hash", "debit_hash", "credit_balance", "debit_balance", "how", "order_id"):
        op.drop_column("transfers", column)
    op.drop_column("ledger_accounts", "head")
    op.drop_index(
        "uq_orders_bidder",
        table_name="orders",
        sqlite_where=sa.text("state <> 'ended' AND kind <> 'on-demand'"),
        postgresql_where=sa.text("state <> 'ended' AND kind <> 'on-demand'"),
    )
    op.drop_index("ix_orders_key_id", table_name="orders")
    op.drop_index(
        "ix_orders_active_server_id",
        table_name="orders",
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.drop_column("orders", "lease_until")
    op.drop_column("orders", "spend_max")
    op.drop_column("orders", "original_price_usd")
    op.drop_column("orders", "lowered_at")
    op.drop_column("orders", "minutes_before")
    op.drop_column("orders", "spend_before")
    op.drop_column("orders", "began")
    op.drop_column("orders", "key_id")
    op.drop_column("orders", "kind")
    op.drop_index("ix_events_server_id", table_name="events")
    op.drop_index("ix_events_account_id", table_name="events")
    op.drop_index("ix_events_host_id", table_name="events")
    op.drop_column("events", "host_id")
    op.drop_column("api_keys", "dialect")
    op.drop_column("accounts", "poh_stake")
    op.drop_index("ix_spend_limits_account_id", table_name="spend_limits")
    op.drop_table("spend_limits")
    op.drop_index(
        "ix_deliveries_next_at",
        table_name="deliveries",
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.drop_index("ix_deliveries_at", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index("ix_webhooks_account_id", table_name="webhooks")
    op.drop_table("webhooks")
    op.drop_index("ix_idempotency_at", table_name="idempotency")
    op.drop_table("idempotency")
    op.drop_table("statistics")
    op.drop_table("leases")
