"""The OpenAPI documents and the reference page."""

import argparse
import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
import schemathesis

from openclore.api.codes import Refusal
from openclore.api.endpoints import ENDPOINTS, Endpoint
from openclore.api.examples import EXAMPLES
from openclore.api.open.endpoints import OPEN_ENDPOINTS, STREAM_EVENTS
from openclore.server import openapi, reference
from openclore.usecases import accounts

from .conftest import Door

EVERY = (*ENDPOINTS, *OPEN_ENDPOINTS)
DOCUMENTS = {"/openapi/v1.json": ENDPOINTS, "/openapi/open-v1.json": OPEN_ENDPOINTS}


def read(door: Door, path: str) -> Any:
    return json.loads(door.http.get(path).content)


# The documents --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_document_is_valid_openapi(door: Door, path: str) -> None:
    document = read(door, path)
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()
    for target in re.findall(r'"#(/[^"]+)"', json.dumps(document)):
        found = document
        for step in target.strip("/").split("/"):
            found = found[step]


@pytest.mark.parametrize(("path", "endpoints"), DOCUMENTS.items())
def test_a_document_has_every_endpoint_with_all_that_may_come_back(
    door: Door, path: str, endpoints: tuple[Endpoint[Any, Any], ...]
) -> None:
    paths = read(door, path)["paths"]
    assert {(e.path, m.lower()) for e in endpoints for m in e.methods} == {
        (path, method) for path, methods in paths.items() for method in methods
    }
    for endpoint in endpoints:
        for method in endpoint.methods:
            operation = paths[endpoint.path][method.lower()]
            assert {"200", "400", "401", "404", "429", "500"} <= set(operation["responses"])
            header = {"$ref": "#/components/parameters/IdempotencyKey"}
            assert (header in operation.get("parameters", [])) == endpoint.writes


def test_a_refusal_has_the_status_of_its_api(door: Door) -> None:
    v1, ours = (read(door, path)["paths"] for path in DOCUMENTS)
    assert "409" not in v1["/create_order"]["post"]["responses"]
    assert "too_low_price" in json.dumps(v1["/create_order"]["post"]["responses"]["200"])
    assert "too_low_price" in json.dumps(ours["/orders"]["post"]["responses"]["409"])


def test_a_get_with_a_body_is_described_by_its_query(door: Door) -> None:
    methods = read(door, "/openapi/v1.json")["paths"]["/server_config"]
    assert [p["name"] for p in methods["get"]["parameters"]] == ["server_name"]
    assert "JSON body" in methods["get"]["description"]
    assert "requestBody" not in methods["get"]
    assert "requestBody" in methods["post"]


def test_bounds_descriptions_and_examples_come_along(door: Door) -> None:
    parameters = read(door, "/openapi/open-v1.json")["paths"]["/offers"]["get"]["parameters"]
    limit, gpu = (next(p for p in parameters if p["name"] == name) for name in ("limit", "gpu"))
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    assert "part of the model's name" in gpu["description"]
    assert gpu["example"] == "4090"


def test_every_refusal_is_sent_by_some_endpoint() -> None:
    assert {refusal for endpoint in EVERY for refusal in endpoint.may_refuse} == set(Refusal)


@pytest.mark.parametrize("endpoint", EVERY, ids=lambda e: e.name)
def test_examples_are_what_the_types_say(endpoint: Endpoint[Any, Any]) -> None:
    request, reply = EXAMPLES[endpoint.name]
    assert (request is None) == (endpoint.carries == "nothing")
    if request is not None:
        msgspec.convert(request, endpoint.request)
    if reply is not None:
        msgspec.convert(reply, endpoint.reply)


def test_other_origins_may_read_the_documents(door: Door) -> None:
    assert door.http.get("/openapi/v1.json").headers["access-control-allow-origin"] == "*"


def test_documents_are_written_without_python() -> None:
    assert "\\\\Z" not in json.dumps([openapi.v1(), openapi.open_v1()])


# The page -------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Ids, links and tags of a page, and the tags that were left open."""

    EMPTY = {"meta"}
    IMPLIED = {"th", "td", "tr"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes.update(given)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        if tag not in self.EMPTY | self.IMPLIED:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.IMPLIED:
            assert self.open.pop() == tag, self.getpos()


def test_the_page_shows_every_endpoint_and_refusal_under_an_anchor(door: Door) -> None:
    page = Page(door.http.get("/reference").text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {e.name for e in EVERY} | set(Refusal) <= set(page.ids)
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)


def test_the_page_needs_nothing_but_itself(door: Door) -> None:
    page = Page(door.http.get("/reference").text)
    assert not {"script", "link", "img", "iframe", "form"} & page.tags
    assert not {"style", "src"} & page.attributes
    assert {link for link in page.links if not link.startswith("#")} == set(DOCUMENTS)


def test_browsers_are_told_to_run_nothing(door: Door) -> None:
    reply = door.http.get("/reference")
    style = re.findall(r"<style>(.*)</style>", reply.text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in reply.headers["content-security-policy"]
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-type"] == "text/html; charset=utf-8"


def test_command_lines_name_the_address_the_reader_came_by(door: Door) -> None:
    text = door.http.get("/reference", headers={"host": "gpu.example.org:8080"}).text
    assert "curl http://gpu.example.org:8080/v1/marketplace" in text
    assert "market.invalid" not in text


@pytest.mark.parametrize("endpoint", [e for e in EVERY if e is not STREAM_EVENTS], ids=lambda e: e.name)
def test_command_lines_are_understood(door: Door, endpoint: Endpoint[Any, Any]) -> None:
    """What they name does not exist here, and that is all that is wrong with them."""
    accounts.create_key(door.world.market, "host@example.org", "trainer", door.world.now)
    curl = argparse.ArgumentParser()
    curl.add_argument("address")
    curl.add_argument("-G", action="store_true")
    curl.add_argument("-X", default="")
    curl.add_argument("-H", action="append", default=[])
    curl.add_argument("-d", action="append", default=[])
    line = reference.view(endpoint).curl.replace("\\\n", "").replace("$CLORE_API_KEY", door.keys["host"])
    given = curl.parse_args(shlex.split(line)[1:])
    data = "&".join(given.d)
    reply = door.http.request(
        given.X or ("POST" if data and not given.G else "GET"),
        given.address.removeprefix("market.invalid") + (f"?{data}" if given.G else ""),
        content=None if given.G else data,
        headers=dict(header.split(": ") for header in given.H),
    )
    assert reply.json()["code"] in (0, 4, 6), reply.text
    assert "no such endpoint" not in reply.text


@pytest.mark.parametrize("host", ['"><script>x</script>', "a b", "[", "<", "x" * 5_000, "é"])
def test_a_strange_host_header_does_no_harm(door: Door, host: str) -> None:
    reply = door.http.get("/reference", headers={"host": host.encode()})
    assert reply.status_code in (200, 400)
    assert "script" not in Page(reply.text).tags


def test_the_front_door_leads_to_the_page(door: Door) -> None:
    reply = door.http.get("/", follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (302, "/reference")
