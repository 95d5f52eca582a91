"""A request and a reply of every endpoint, as they might be. All names, ids and amounts are invented."""

from typing import Any, NamedTuple

ORDER_ID, SERVER_ID, WEBHOOK_ID, LIMIT_ID = 5551234, 70123, 12, 3
IDS = {"order_id": ORDER_ID, "server_id": SERVER_ID, "webhook_id": WEBHOOK_ID, "limit_id": LIMIT_ID}
"""Of the ids that stand in a path."""

_AT = 1783700000
_SPECS = {
    "cpu": "Example CPU",
    "cpus": "16/32",
    "ram": 62.7,
    "disk": "NVME-X1 456.03GB",
    "disk_speed": 1900,
    "gpu": "2x NVIDIA GeForce RTX 4090",
    "gpuram": 23,
    "net": {"cc": "DE", "up": 640.2, "down": 911.4},
    "backend_version": 21,
}
_OFFER = {
    "id": SERVER_ID,
    "owner": 901,
    "mrl": 168,
    "rented": False,
    "price": {
        "on_demand": {"bitcoin": 0.00003, "CLORE-Blockchain": 400, "USD-Blockchain": 2},
        "spot": {"bitcoin": 0.00002, "CLORE-Blockchain": 250, "USD-Blockchain": 1.2},
        "usd": {"on_demand_btc": 2.0, "on_demand_clore": 2.0, "on_demand_usd": 2.0, "spot": 0},
    },
    "specs": _SPECS,
    "reliability": 0.9971,
    "allowed_coins": ["CLORE-Blockchain", "USD-Blockchain"],
    "rating": {"avg": 4.8, "cnt": 12},
    "gpu_array": [" RTX 4090", " RTX 4090"],
    "cuda_version": "12.8",
}
_ORDER = {
    "id": ORDER_ID,
    "si": SERVER_ID,
    "ct": _AT,
    "mrl": 604800,
    "image": "cloreai/jupyter:ubuntu24.04-v2",
    "currency": "USD-Blockchain",
    "price": 2,
    "creation_fee": 0.1,
    "spend": 0.00138888,
    "mon_container": 2,
    "online": True,
    "pub_cluster": ["n1.xx.hosts.example"],
    "tcp_ports": ["22:31022"],
    "http_port": "8888",
    "http_pub": "ab12cd34ef56g.xx.hosts.example",
}
_CREATE_ORDER = {
    "renting_server": SERVER_ID,
    "type": "on-demand",
    "currency": "USD-Blockchain",
    "image": "cloreai/jupyter:ubuntu24.04-v2",
    "ports": {"22": "tcp", "8888": "http"},
    "ssh_password": "Ex4mplePassw0rd",
    "jupyter_token": "Ex4mpleToken",
    "env": {"MODE": "train"},
    "command": "#!/bin/sh\ntouch /root/started",
    "required_price": 2,
}
_DETAIL = {
    "order": _ORDER | {"state": "running"},
    "charged": 0.00145832,
    "history": [
        {"event_id": 8801, "at": _AT, "kind": "order_created"},
        {"event_id": 8804, "at": _AT + 41, "kind": "order_running"},
    ],
    "lease_until": _AT + 3600,
    "spend_max": 5,
    "key": "trainer",
}
_EVENT = {"id": 8804, "at": _AT + 41, "kind": "order_running", "server_id": SERVER_ID, "order_id": ORDER_ID}
_DELIVERY = {
    "id": "msg_2bq8Xw",
    "event_id": 8804,
    "kind": "order_running",
    "state": "delivered",
    "attempts": 1,
    "at": _AT + 41,
    "status": 204,
}
_WEBHOOK = {
    "id": WEBHOOK_ID,
    "url": "https://hooks.example.org/clore",
    "kinds": ["order_running", "order_ended"],
    "created_at": _AT,
}
_LIMIT = {
    "id": LIMIT_ID,
    "currency": "USD-Blockchain",
    "amount": 10,
    "period": "day",
    "spent": 1.37,
    "since": 1783641600,
    "key": "trainer",
}
_STATEMENT_LINE: dict[str, Any] = {
    "id": 4711,
    "at": _AT,
    "currency": "USD-Blockchain",
    "kind": "rental",
    "amount": "-0.08",
    "balance": "9.8",
    "reference": f"order:{ORDER_ID}",
    "how": "price=2.4 minutes=0..60 spend_before=0 host_fee=20% paid_before=0",
    "previous": "0b5e5b0d2c1a8f6f4d3b7a90e1c2d3f405162738495a6b7c8d9eafb0c1d2e3f4",
    "hash": "0d341194fb429087bb3d345709262ccb53edec44585349d8472bbeaa2cb80851",
    "order_id": ORDER_ID,
}
_FIGURES = {
    "gpu": "NVIDIA GeForce RTX 4090",
    "servers": 212,
    "gpus": 640,
    "rented": 131,
    "rented_share": 0.6179,
    "price_p10": 0.031,
    "price_p50": 0.044,
    "price_p90": 0.079,
}
_SETTINGS = {
    "autoprice": {"CLORE-Blockchain": "usd", "bitcoin": False},
    "usd_pricing": {"CLORE-Blockchain": {"on_demand": 2, "spot": 1.2}},
}
_PRICES = {"bitcoin": 0.00003, "CLORE-Blockchain": 400, "USD-Blockchain": 2}
_FLOORS = {"bitcoin": 0.00002, "CLORE-Blockchain": 250, "USD-Blockchain": 1.2}
_DONE = {"code": 0}


class Example(NamedTuple):
    """`request` is None where there is nothing to send."""

    request: Any
    reply: Any


EXAMPLES: dict[str, Example] = {
    "wallets": Example(
        None,
        {
            "wallets": [
                {
                    "name": "bitcoin",
                    "deposit": "bc1qexampleexample",
                    "balance": 0.0004,
                    "withdrawal_fee": 0.0001,
                },
                {"name": "USD-Blockchain", "deposit": "0xExample", "balance": 37.35},
            ],
            "code": 0,
        },
    ),
    "marketplace": Example(None, {"servers": [_OFFER], "my_servers": [], "code": 0}),
    "my_orders": Example({"return_completed": True}, {"orders": [_ORDER], "limit": 32, "code": 0}),
    "create_order": Example(
        _CREATE_ORDER,
        {"code": 0, "order": {name: _ORDER[name] for name in ("id", "si", "ct", "price", "currency")}},
    ),
    "cancel_order": Example({"id": ORDER_ID, "issue": "the GPU fell off the bus"}, _DONE),
    "spot_marketplace": Example(
        {"market": SERVER_ID},
        {
            "market": {
                "offers": [
                    {
                        "offer_id": 5550001,
                        "bid": 300,
                        "active": True,
                        "my": False,
                        "currency": "CLORE-Blockchain",
                    },
                    {
                        "offer_id": 5550002,
                        "bid": 1.3,
                        "active": False,
                        "my": True,
                        "currency": "USD-Blockchain",
                    },
                ],
                "server": {"min_pricing": _FLOORS, "mrl": 168, "online": True, "visibility": "public"},
                "currency_rates_in_usd": {"bitcoin": 65000, "CLORE-Blockchain": 0.005, "USD-Blockchain": 1},
            },
            "exists": True,
            "code": 0,
        },
    ),
    "set_spot_price": Example({"order_id": 5550002, "desired_price": 1.6}, _DONE),
    "my_servers": Example(
        None,
        {
            "servers": [
                {
                    "id": SERVER_ID,
                    "name": "rack-a2",
                    "connected": True,
                    "online": True,
                    "visibility": "public",
                    "pricing": _PRICES,
                    "min_spot_pricing": _FLOORS,
                    "allowed_currencies": ["CLORE-Blockchain", "USD-Blockchain"],
                    "specs": {"gpu": "2x NVIDIA GeForce RTX 4090"},
                }
            ],
            "limit": 16,
            "code": 0,
        },
    ),
    "server_config": Example(
        {"server_name": "rack-a2"},
        {
            "config": {
                "name": "rack-a2",
                "id": SERVER_ID,
                "connected": True,
                "online": True,
                "initialized": True,
                "visibility": "public",
                "pricing": _PRICES,
                "spot_pricing": _FLOORS,
                "mrl": 168,
                "rental_status": 0,
                "allowed_coins": ["CLORE-Blockchain", "USD-Blockchain"],
            }
            | _SETTINGS,
            "creation_completed": True,
            "code": 0,
        },
    ),
    "set_server_settings": Example(
        {
            "name": "rack-a2",
            "availability": True,
            "mrl": 168,
            "bitcoin_on_demand": 0.00003,
            "bitcoin_spot": 0.00002,
            "CLORE-Blockchain_on_demand": 400,
            "CLORE-Blockchain_spot": 250,
            "USD-Blockchain_on_demand": 2,
            "USD-Blockchain_spot": 1.2,
            "enabled-bitcoin": False,
            "enabled-CLORE-Blockchain": True,
            "enabled-USD-Blockchain": True,
        }
        | _SETTINGS,
        _DONE,
    ),
    "renter_fees": Example(
        None,
        {
            "renter_fees": {
                "on_demand": {"base": {"bitcoin": 5, "CLORE-Blockchain": 5, "USD-Blockchain": 5}},
                "spot": {"base": {"bitcoin": 1.25, "CLORE-Blockchain": 1.25, "USD-Blockchain": 1.25}},
            },
            "creation_fees": {"on_demand": {"USD-Blockchain": 0.1}, "spot": {"USD-Blockchain": 0.1}},
            "poh_config": {"max_reduction_percent": 50, "max_poh_amount": 2000000},
            "poh_balance": 0,
            "code": 0,
        },
    ),
    "poh_balance": Example(
        None,
        {"items": [], "balance": {"total": 0, "free_amount": 0, "reward_amount": 0}, "count": 0, "code": 0},
    ),
    "get_gigaspot": Example(
        None,
        {
            "my_user_id": 902,
            "v1_snapshot_url": "https://market.example.org/gigaspot/v1_6b1f0c9d2a7e4835_1783700000.json",
            "clore_price": 0.005,
            "code": 0,
        },
    ),
    "create_gigaspot_orders": Example(
        [
            {
                "renting_server": SERVER_ID,
                "image": "a3f9c4d7e5b088d8a0bff880",
                "price": 120.5,
                "currency": "CLORE-Blockchain",
                "oc": [{"pl": 300, "mem_lock": 810}, {"pl": 300}],
            }
        ],
        {
            "status": "ok",
            "failed_to_oc_servers": [],
            "failed_to_rent_servers": [],
            "too_low_bids_servers": [],
            "code": 0,
        },
    ),
    "edit_gigaspot_orders": Example(
        [{"order_id": ORDER_ID, "price": 130}],
        {
            "success_to_update_ids": [ORDER_ID],
            "failed_to_update_ids": [],
            "too_low_bid_ids": [],
            "code": 0,
        },
    ),
    "cancel_orders": Example({"order_ids": [ORDER_ID, 5551235]}, {"failed_to_cancel": [5551235], "code": 0}),
    "search_offers": Example(
        {"gpu": "4090", "gpu_count": 2, "price_per_hour_max": 0.1, "sort": "price", "limit": 20},
        {
            "offers": [{"offer": _OFFER, "price_per_hour": 0.0833, "price_currency": "usd"}],
            "total": 1,
            "code": 0,
        },
    ),
    "place_order": Example(
        _CREATE_ORDER | {"spend_max": 5, "lease_seconds": 3600}, {"order": _DETAIL, "code": 0}
    ),
    "read_order": Example(None, {"order": _DETAIL, "code": 0}),
    "renew_lease": Example({"lease_seconds": 3600}, {"order": _DETAIL, "code": 0}),
    "add_server": Example(
        {"name": "rack-a3"},
        {
            "server_id": 70124,
            "name": "rack-a3",
            "init_token": "EXAMPLEtoken000000000000000000000000000000000000",
            "code": 0,
        },
    ),
    "remove_server": Example(None, _DONE),
    "set_gigaspot": Example({"min_bid": 100, "energy_price": 0.21}, _DONE),
    "set_background_job": Example(
        {"image": "example/miner:2", "command": "miner --worker $WORKER", "env": {"WORKER": "rack-a3"}}, _DONE
    ),
    "read_events": Example(
        {"after": 0, "kinds": "order_running,order_ended"},
        {"events": [_EVENT], "after": 8804, "more": False, "code": 0},
    ),
    "stream_events": Example({"after": 0, "kinds": "order_running,order_ended"}, None),
    "add_webhook": Example(
        {"url": "https://hooks.example.org/clore", "kinds": ["order_running", "order_ended"]},
        {"webhook": _WEBHOOK | {"secret": "whsec_RXhhbXBsZUV4YW1wbGVFeGFtcGxl"}, "code": 0},
    ),
    "list_webhooks": Example(None, {"webhooks": [_WEBHOOK], "code": 0}),
    "read_webhook": Example(None, {"webhook": _WEBHOOK | {"deliveries": [_DELIVERY]}, "code": 0}),
    "remove_webhook": Example(None, _DONE),
    "rotate_webhook": Example(
        None,
        {
            "webhook": _WEBHOOK
            | {"secret": "whsec_QW5vdGhlckV4YW1wbGVTZWNyZXQh", "previous_secret_until": _AT + 86400},
            "code": 0,
        },
    ),
    "test_webhook": Example(None, {"delivery": _DELIVERY | {"event_id": None, "kind": "test"}, "code": 0}),
    "list_spend_limits": Example(None, {"limits": [_LIMIT], "code": 0}),
    "set_spend_limit": Example(
        {"currency": "USD-Blockchain", "amount": 10, "period": "day", "key": "trainer"},
        {"limit": _LIMIT | {"spent": 0}, "code": 0},
    ),
    "remove_spend_limit": Example(None, _DONE),
    "read_statement": Example(
        {"currency": "USD-Blockchain", "since": _AT},
        {
            "lines": [_STATEMENT_LINE],
            "wallets": [
                {"currency": "USD-Blockchain", "balance": "9.8", "hash": _STATEMENT_LINE["hash"]},
            ],
            "after": 4711,
            "more": False,
            "code": 0,
        },
    ),
    "read_statistics": Example({"gpu": "4090"}, {"models": [_FIGURES], "code": 0}),
    "read_history": Example(
        {"gpu": "NVIDIA GeForce RTX 4090", "since": 1783641600, "limit": 24},
        {"history": [_FIGURES | {"at": 1783697400}], "code": 0},
    ),
}
EVENT_STREAM = """id: 8804
event: order_running
data: {"id":8804,"at":1783700041,"kind":"order_running","server_id":70123,"order_id":5551234}

"""
"""What `stream_events` sends."""
