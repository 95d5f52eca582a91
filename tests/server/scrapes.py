"""Reading /metrics as Prometheus does."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, dict[tuple[str, ...], float]]


def parsed(text: str) -> Samples:
    """Name to the values by label values, in the order of the labels' names."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            samples.setdefault(sample.name, {})[labels] = sample.value
    return samples


def scrape(http: Any, token: str) -> Samples:
    reply = http.get("/metrics", headers={"authorization": f"Bearer {token}"})
    assert reply.status_code == 200, reply.text
    return parsed(reply.text)
