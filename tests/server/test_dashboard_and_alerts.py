"""What deploy/ brings for Prometheus and Grafana asks only for metrics that there are."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openclore.server.settings import Settings
from openclore.store.store import Store

from .conftest import a_door
from .scrapes import Samples, scrape

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PROMETHEUS_OWN = {"up"}


def asked_for() -> Iterator[tuple[str, str]]:
    """Where something is asked for, and the expression."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.fixture
def found(new_sqlite_store: Callable[[], Store]) -> Samples:
    with a_door(new_sqlite_store(), Settings(metrics_token="for tests")) as door:
        door.world.credit("10")
        door.call("wallets")
        door.world.rent()
        door.service.catch_up()
        return scrape(door.http, "for tests")


def test_every_metric_that_is_named_exists(found: Samples) -> None:
    for where, expression in asked_for():
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)', " ", expression)
        named = set(re.findall(r"\b(?:[a-z]+_[a-z_]+|up)\b", bare)) - {"histogram_quantile", "max_over_time"}
        assert named, where
        assert named - PROMETHEUS_OWN - set(found) == set(), where


def test_values_that_are_asked_for_exist(found: Samples) -> None:
    """State "online", loop "market" and the like; codes come and go."""
    for where, expression in asked_for():
        for name, matchers in re.findall(r"\b(openclore_\w+)\{([^}]*)\}", expression):
            for label, value in re.findall(r'(\w+)="([^"$]+)"', matchers):
                known = {part for labels in found[name] for part in labels}
                assert label == "code" or value in known, f"{where}: {label}={value}"


def test_every_metric_of_ours_is_documented(found: Samples) -> None:
    page = (DEPLOY.parent / "docs" / "operating.md").read_text()
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in found if name.startswith("openclore_")}
    assert [name for name in sorted(ours) if f"`{name}`" not in page] == []


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))


def test_brackets_are_closed() -> None:
    for where, expression in asked_for():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), where


def test_every_panel_has_its_own_place() -> None:
    taken: set[tuple[int, int]] = set()
    ids: list[Any] = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
