"""The tables. Times are Unix seconds, amounts are 10⁻⁸ of their currency, secrets are kept as SHA-256."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
    true,
)

REVISION = "0002"
"""The migration that leads to these tables."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives row ids, and never gives one twice, only to INTEGER columns.
Identity = BigInteger().with_variant(Integer(), "sqlite")

accounts = Table(
    "accounts",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    # Null: what the market's policy says.
    Column("orders_max", Integer),
    Column("servers_max", Integer),
    # Proof of Holding, 10⁻⁸ CLORE, as the operator says.
    Column("poh_stake", BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # "open" or "live"; null: what the server speaks.
    Column("dialect", Text),
    UniqueConstraint("account_id", "name"),
    sqlite_autoincrement=True,
)

ledger_accounts = Table(
    "ledger_accounts",
    metadata,
    Column("id", Identity, primary_key=True),
    # "wallet" belongs to an account; "market" (fees) and "outside" (where credits come from) to nobody.
    Column("kind", Text, nullable=False),
    Column("account_id", ForeignKey("accounts.id")),
    Column("currency", Text, nullable=False),
    Column("balance", BigInteger, nullable=False),
    # The first second this wallet can't pay its running orders, and the next at which it needs a look.
    Column("exhausts_at", BigInteger),
    Column("due_at", BigInteger),
    # The hash of its last transfer, which is over all before; empty: it has none.
    Column("head", LargeBinary, nullable=False, server_default=text("''")),
    CheckConstraint("kind = 'outside' OR balance >= 0", name="not_negative"),
    CheckConstraint("(kind = 'wallet') = (account_id IS NOT NULL)", name="wallets_have_owners"),
    Index(
        "uq_ledger_accounts_wallet",
        "account_id",
        "currency",
        unique=True,
        sqlite_where=text("account_id IS NOT NULL"),
        postgresql_where=text("account_id IS NOT NULL"),
    ),
    Index(
        "uq_ledger_accounts_market",
        "kind",
        "currency",
        unique=True,
        sqlite_where=text("account_id IS NULL"),
        postgresql_where=text("account_id IS NULL"),
    ),
    Index("ix_ledger_accounts_due_at", "due_at"),
    sqlite_autoincrement=True,
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("debit_id", ForeignKey("ledger_accounts.id"), nullable=False),
    Column("credit_id", ForeignKey("ledger_accounts.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),
    # The same movement asked for twice is made once.
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    # Null: it is for no order.
    Column("order_id", BigInteger),
    # How the amount was computed, as statements say it; empty: it needs no saying.
    Column("how", Text, nullable=False, server_default=""),
    # What either side held afterwards.
    Column("debit_balance", BigInteger, nullable=False, server_default="0"),
    Column("credit_balance", BigInteger, nullable=False, server_default="0"),
    # SHA-256 over this and, by the hash before, all that moved on that side.
    Column("debit_hash", LargeBinary, nullable=False, server_default=text("''")),
    Column("credit_hash", LargeBinary, nullable=False, server_default=text("''")),
    CheckConstraint("amount > 0", name="positive"),
    CheckConstraint("debit_id <> credit_id", name="between_two"),
    Index("ix_transfers_debit_id", "debit_id"),
    Index("ix_transfers_credit_id", "credit_id"),
    Index("ix_transfers_order_id", "order_id"),
    sqlite_autoincrement=True,
)

servers = Table(
    "servers",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # JSON of rules.servers.Settings.
    Column("settings", Text, nullable=False),
    # Kept readable until the first connection, because the host reads it from my_servers; then gone.
    Column("init_token", Text, unique=True),
    Column("credential_hash", Text, unique=True),
    Column("connected_at", BigInteger),
    Column("online", Boolean, nullable=False),
    Column("seen_until", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("public_address", Text, nullable=False),
    Column("port_low", Integer, nullable=False),
    Column("port_high", Integer, nullable=False),
    Column("last_port", Integer, nullable=False),
    # JSON of api.specs.Specs.
    Column("specs", Text),
    Column("gpu_array", Text, nullable=False),
    Column("cuda_version", Text, nullable=False),
    # JSON of rules.servers.Gigaspot; null: not on GigaSPOT.
    Column("gigaspot", Text),
    # JSON of rules.servers.BackgroundJob; null: none.
    Column("background_job", Text),
    Column("background_updates", Integer, nullable=False, server_default="0"),
    # How often its agent has connected.
    Column("link", Integer, nullable=False, server_default="0"),
    # A removed server stays for its orders, under another name.
    Column("removed_at", BigInteger),
    UniqueConstraint("account_id", "name"),
    Index("ix_servers_online", "online", "seen_until"),
    sqlite_autoincrement=True,
)

uptimes = Table(
    "uptimes",
    metadata,
    Column("server_id", ForeignKey("servers.id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("seconds", Integer, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("host_id", ForeignKey("accounts.id"), nullable=False),
    Column("server_id", ForeignKey("servers.id"), nullable=False),
    Column("currency", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("renter_fee", Integer, nullable=False),
    Column("host_fee", Integer, nullable=False),
    Column("creation_fee", BigInteger, nullable=False),
    Column("creation_grace_seconds", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("mrl_seconds", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("active_seconds", BigInteger, nullable=False),
    Column("active_since", BigInteger),
    Column("paid_host", BigInteger, nullable=False),
    Column("paid_market", BigInteger, nullable=False),
    Column("posted_at", BigInteger, nullable=False),
    Column("deployed", Boolean, nullable=False),
    Column("container_detail", Text, nullable=False),
    Column("ended_at", BigInteger),
    Column("end_reason", Text),
    Column("end_detail", Text, nullable=False),
    Column("public_address", Text, nullable=False),
    # JSON of rules.orders.Deployment.
    Column("deployment", Text, nullable=False),
    # "on-demand", "spot" or "gigaspot".
    Column("kind", Text, nullable=False, server_default="on-demand"),
    # The API key that made it.
    Column("key_id", BigInteger),
    # Whether its first minute has begun; a bid that only ever waited costs nothing.
    Column("began", Boolean, nullable=False, server_default=true()),
    # What the minutes before the last change of price cost, and how many they were.
    Column("spend_before", BigInteger, nullable=False, server_default="0"),
    Column("minutes_before", BigInteger, nullable=False, server_default="0"),
    Column("lowered_at", BigInteger),
    Column("original_price_usd", BigInteger),
    Column("spend_max", BigInteger),
    Column("lease_until", BigInteger),
    CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended_has_a_time"),
    # One order holds a machine; the database is the last to say so.
    Index(
        "uq_orders_holder",
        "server_id",
        unique=True,
        sqlite_where=text("state NOT IN ('ended', 'waiting')"),
        postgresql_where=text("state NOT IN ('ended', 'waiting')"),
    ),
    # One bid per account and server.
    Index(
        "uq_orders_bidder",
        "server_id",
        "account_id",
        unique=True,
        sqlite_where=text("state <> 'ended' AND kind <> 'on-demand'"),
        postgresql_where=text("state <> 'ended' AND kind <> 'on-demand'"),
    ),
    Index(
        "ix_orders_active_server_id",
        "server_id",
        sqlite_where=text("state <> 'ended'"),
        postgresql_where=text("state <> 'ended'"),
    ),
    Index("ix_orders_key_id", "key_id"),
    Index("ix_orders_account_id", "account_id"),
    Index(
        "ix_orders_active_account_id",
        "account_id",
        sqlite_where=text("state <> 'ended'"),
        postgresql_where=text("state <> 'ended'"),
    ),
    sqlite_autoincrement=True,
)

issues = Table(
    "issues",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("order_id", ForeignKey("orders.id"), nullable=False),
    Column("text", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

rates = Table(
    "rates",
    metadata,
    Column("currency", Text, primary_key=True),
    # 10⁻⁸ dollars for one unit of the currency.
    Column("usd", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    # The rate that dollar-pegged prices go by; it follows every ten minutes. Null: not yet.
    Column("pegged_usd", BigInteger),
)

events = Table(
    "events",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("account_id", ForeignKey("accounts.id")),
    Column("server_id", ForeignKey("servers.id")),
    Column("order_id", ForeignKey("orders.id")),
    # Whose server it is; beside the account, the other one who hears of it.
    Column("host_id", BigInteger),
    # JSON object of whatever else is worth telling.
    Column("data", Text, nullable=False),
    Index("ix_events_order_id", "order_id"),
    Index("ix_events_account_id", "account_id", "id"),
    Index("ix_events_host_id", "host_id", "id"),
    Index("ix_events_server_id", "server_id", "id"),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    # SHA-256 over the endpoint and the request.
    Column("request_hash", Text, nullable=False),
    # JSON of the reply.
    Column("reply", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_idempotency_at", "at"),
)

spend_limits = Table(
    "spend_limits",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    # Null: the limit is the whole account's.
    Column("key_id", ForeignKey("api_keys.id")),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    # "total" or "day".
    Column("period", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    # What the orders in its scope had cost at `since`.
    Column("spent_before", BigInteger, nullable=False),
    Index("ix_spend_limits_account_id", "account_id"),
    sqlite_autoincrement=True,
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("url", Text, nullable=False),
    # JSON list; empty: all.
    Column("kinds", Text, nullable=False),
    # Kept readable: signing needs it.
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text),
    Column("previous_secret_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    # The last event that was looked at for this webhook.
    Column("cursor", BigInteger, nullable=False),
    Index("ix_webhooks_account_id", "account_id"),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", BigInteger),
    Column("kind", Text, nullable=False),
    # The message as it is signed.
    Column("body", Text, nullable=False),
    # "waiting", "delivered" or "failed".
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("next_at", BigInteger),
    Column("status", Integer),
    Column("problem", Text),
    UniqueConstraint("webhook_id", "event_id"),
    Index("ix_deliveries_at", "webhook_id", "at"),
    Index(
        "ix_deliveries_next_at",
        "webhook_id",
        "next_at",
        sqlite_where=text("next_at IS NOT NULL"),
        postgresql_where=text("next_at IS NOT NULL"),
    ),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    # Which process has it.
    Column("holder", Text, nullable=False),
    # Rises with every new holder; what a holder writes is refused once there is a higher one.
    Column("token", BigInteger, nullable=False),
    # Unix seconds by the database's clock.
    Column("until", Double, nullable=False),
)

statistics = Table(
    "statistics",
    metadata,
    Column("gpu", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("servers", Integer, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("rented", Integer, nullable=False),
    # 10⁻⁸ dollars per hour and GPU.
    Column("price_p10", BigInteger),
    Column("price_p50", BigInteger),
    Column("price_p90", BigInteger),
    Index("ix_statistics_at", "at"),
)
