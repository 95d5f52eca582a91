"""A running market is scraped and its log is read, over real sockets."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from ..processes import a_server, openclore, until
from ..server.scrapes import parsed
from .conftest import AT_ONCE

SECRETS = {"ssh_password": "s3cret-word", "jupyter_token": "s3cret-token", "env": {"TOKEN": "s3cret-value"}}
ORDER = {"renting_server": 1, "type": "on-demand", "currency": "USD-Blockchain", "image": "busybox"}


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_what_was_done_is_in_the_metrics_and_in_the_log_and_no_secret_is(
    tmp_path: Path, quick_dir: Path
) -> None:
    log, data = tmp_path / "market.log", str(quick_dir / "market")
    env = AT_ONCE | {"OPENCLORE_DATA_DIR": data, "OPENCLORE_METRICS_TOKEN": "a-token-for-tests"}
    with a_server(log, "--port", "0", "--log-requests", env=env) as (_, address):
        openclore("admin", "account", "create", "renter@example.org", env=env)
        key = openclore("admin", "key", "create", "renter@example.org", env=env)["key"]
        with httpx2.Client(base_url=address, trust_env=False) as http:
            auth = {"auth": key}

            def wallets(number: int) -> Any:
                return http.get("/v1/wallets", headers=auth | {"X-Request-Id": f"mine-{number}"})

            with ThreadPoolExecutor(8) as pool:
                replies = list(pool.map(wallets, range(24)))
            assert [reply.headers["x-request-id"] for reply in replies] == [f"mine-{n}" for n in range(24)]
            http.post("/v1/create_order", json=ORDER | SECRETS, headers=auth)
            http.get("/v1/wallets", headers={"Authorization": f"Bearer {key}"})
            http.get("/v1/wallets", headers={"auth": key + "x"})
            http.get(f"/v1/wallets?auth={key}", headers={"X-Request-Id": key})
            http.get(f"/v1/{key}")
            http.get(f"/open/v1/orders/{key}", headers=auth)
            found = parsed(http.get("/metrics").text)
            assert http.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403
            scraped = http.get("/metrics", headers={"Authorization": "Bearer a-token-for-tests"})
            assert scraped.status_code == 200
    assert found["openclore_requests_total"] == {
        ("0", "wallets", "200"): 25,
        ("3", "wallets", "401"): 2,
        ("6", "create_order", "200"): 1,
        ("4", "unknown", "404"): 1,
        ("2", "read_order", "400"): 1,
    }
    assert found["process_resident_memory_bytes"][()] > 0
    assert found["openclore_loop_age_seconds"]["market",] < 60
    written = until(lambda: [line for line in entries(log) if line["event"] == "request"])
    assert len(written) == 33
    mine = [line for line in written if line["request_id"].startswith("mine-")]
    assert {line["request_id"] for line in mine} == {f"mine-{n}" for n in range(24)}
    assert all((line["endpoint"], line["code"], line["key"]) == ("wallets", 0, 1) for line in mine)
    for secret in (key, "s3cret", "a-token-for-tests"):
        assert secret not in log.read_text()
        assert secret not in scraped.text
