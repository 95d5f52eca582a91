"""A statement can be computed anew from nothing but itself."""

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from openclore.api.currencies import Currency
from openclore.api.open.statements import ReadStatement, StatementReply
from openclore.api.spot import SetSpotPrice
from openclore.cli.main import app
from openclore.rules.money import to_text
from openclore.rules.refused import InvalidInput
from openclore.rules.statements import line_hash
from openclore.store.store import Store
from openclore.usecases import spot
from openclore.usecases.statements import read_statement, statement_pages

from ..recompute import check, units
from ..world import START, USD, World

HOST, RENTER = "host@example.org", "renter@example.org"


@pytest.fixture
def world(store: Store) -> World:
    """Orders of both kinds, one through its host's silence, a bid at three prices; all that costs is used."""
    world = World(store)
    world.add_server("rack-2")
    world.credit("10")
    world.rent()
    world.jump(125)
    bid = world.rent(2, type="spot", spotprice=1.37).id
    for price in (1.7, 1.69):
        world.jump(4_000)
        world.turn()
        spot.set_spot_price(
            world.market, world.renter, SetSpotPrice(order_id=bid, desired_price=price), world.now
        )
    world.jump(700, beating=False)
    world.turn()
    world.beat()
    world.jump(200)
    world.cancel(1)
    return world


def test_every_line_and_the_balance_follow_from_the_statement_alone(world: World) -> None:
    for account, kinds in ((world.renter, {"credit", "rental", "fees"}), (world.host, {"rental"})):
        read = read_statement(world.market, account, ReadStatement())
        lines = json.loads(msgspec.json.encode(read))["lines"]
        assert {line["kind"] for line in lines} == kinds
        assert len(lines) > 6
        (wallet,) = read.wallets
        assert check(lines) == {USD: (units(wallet.balance), wallet.hash)}
    assert world.difference() is None


def test_the_creation_fee_and_changes_of_price_are_on_the_lines(world: World) -> None:
    lines = read_statement(world.market, world.renter, ReadStatement()).lines
    assert any("creation_fee=0.1 " in line.how for line in lines)
    prices = [line.how.split()[0] for line in lines if line.order_id == 2]
    assert list(dict.fromkeys(prices)) == ["price=1.37", "price=1.7", "price=1.69"]


def test_pages_are_the_statement(world: World) -> None:
    whole = read_statement(world.market, world.renter, ReadStatement())
    page, lines = StatementReply(code=0, more=True), []
    while page.more:
        page = read_statement(world.market, world.renter, ReadStatement(after=page.after, limit=3))
        assert len(page.lines) <= 3
        assert page.wallets == whole.wallets
        lines += page.lines
    assert lines == whole.lines


def test_a_part_of_it_joins_on(world: World) -> None:
    lines = read_statement(world.market, world.renter, ReadStatement()).lines
    middle = lines[4].at
    early = read_statement(world.market, world.renter, ReadStatement(until=middle)).lines
    late = read_statement(world.market, world.renter, ReadStatement(since=middle)).lines
    assert early + late == lines
    assert late[0].previous == early[-1].hash
    assert read_statement(world.market, world.renter, ReadStatement(currency=Currency.BITCOIN)).lines == []
    with pytest.raises(InvalidInput, match="until"):
        read_statement(world.market, world.renter, ReadStatement(since=2, until=1))


def test_who_kept_an_old_hash_sees_a_change_of_what_was_before(world: World) -> None:
    kept = read_statement(world.market, world.renter, ReadStatement()).wallets[0].hash
    world.credit("1")
    assert kept in [line.hash for line in read_statement(world.market, world.renter, ReadStatement()).lines]
    with world.store.writing() as tx:
        tx.exec_driver_sql("UPDATE transfers SET how = how || ' ' WHERE order_id = 1 AND kind = 'fees'")
    forged = read_statement(world.market, world.renter, ReadStatement()).lines
    with pytest.raises(AssertionError):
        check(json.loads(msgspec.json.encode(forged)))


def test_a_statement_is_the_accounts_own(world: World) -> None:
    world.now = START + 90_000
    (renter,) = statement_pages(world.market, RENTER, ReadStatement())
    (host,) = statement_pages(world.market, HOST, ReadStatement())
    assert not {line.hash for line in renter.lines} & {line.hash for line in host.lines}
    with pytest.raises(InvalidInput, match=r"nobody@example\.org"):
        next(statement_pages(world.market, "nobody@example.org", ReadStatement()))


def checked(file: Path, content: str) -> tuple[int, dict[str, Any]]:
    """What `openclore statement --check` says of a file with this content."""
    file.write_text(content)
    done = CliRunner().invoke(app, ["statement", "--check", str(file), "--json"])
    return done.exit_code, json.loads(done.stdout or "{}")


def test_a_saved_statement_is_checked_without_a_market(world: World, tmp_path: Path) -> None:
    read = read_statement(world.market, world.renter, ReadStatement())
    (wallet,) = read.wallets
    whole = msgspec.json.encode(read).decode()
    file = tmp_path / "november.json"
    status, found = checked(file, whole)
    assert (status, found["wrong"], found["lines"]) == (0, None, len(read.lines))
    (seen,) = found["wallets"]
    assert (seen["whole"], seen["balance"], seen["hash"]) == (True, wallet.balance, wallet.hash)
    said = CliRunner().invoke(app, ["statement", "--check", str(file)]).stdout
    assert f"{USD}, from its first line: {wallet.balance} in the end; the last line's hash is" in said
    late = read_statement(world.market, world.renter, ReadStatement(since=read.lines[5].at))
    status, found = checked(file, msgspec.json.encode(late).decode())
    assert (status, found["wallets"][0]["whole"], found["wallets"][0]["hash"]) == (0, False, wallet.hash)


@pytest.mark.parametrize(
    ("member", "value", "named"),
    [
        ("amount", "-0.5", "amount"),
        ("amount", "much", "amount and balance"),
        ("balance", "900", "balance"),
        ("how", "price=2", "how"),
        ("previous", "00", "previous"),
        ("reference", "order:3", "reference"),
        ("order_id", 777, "reference"),
        ("id", 1, "id"),
        ("kind", "credit", "reference"),
        ("kind", "gift", "kind"),
        ("how", "", "how"),
        ("at", 5, "hash"),
        ("hash", "00", "hash"),
    ],
)
def test_the_first_wrong_line_of_a_saved_statement_is_named(
    world: World, tmp_path: Path, member: str, value: object, named: str
) -> None:
    read = json.loads(msgspec.json.encode(read_statement(world.market, world.renter, ReadStatement())))
    later = [line for line in read["lines"] if line["how"]][4]
    later[member] = value
    status, found = checked(tmp_path / "forged.json", json.dumps(read))
    assert (status, found["wrong"]["id"], found["wrong"]["member"]) == (1, later["id"], named)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"kind": "fees", "reference": "order:1", "order_id": 1, "how": ""}, "how"),
        ({"kind": "whatever", "reference": "account:1", "how": ""}, "kind"),
        ({"kind": "credit", "reference": "account:1", "how": ""}, "amount"),
        ({"kind": "credit", "reference": "account:1", "how": "because"}, "how"),
        ({"kind": "credit", "reference": "order:1", "how": ""}, "reference"),
        ({"kind": "credit", "reference": "account:1", "order_id": 1, "how": ""}, "order_id"),
    ],
)
def test_a_line_that_takes_money_without_a_reason_is_named_though_its_hash_is_right(
    world: World, tmp_path: Path, more: dict[str, Any], named: str
) -> None:
    read = json.loads(msgspec.json.encode(read_statement(world.market, world.renter, ReadStatement())))
    last = read["lines"][-1]
    line = {
        **last,
        "id": last["id"] + 1,
        "amount": "-0.1",
        "previous": last["hash"],
        "order_id": None,
        **more,
    }
    line["balance"] = to_text(units(last["balance"]) - units("0.1"))
    hashed = ("currency", "at", "kind", "reference", "amount", "balance", "how")
    line["hash"] = line_hash(line["previous"], **{name: line[name] for name in hashed}).hex()
    read["lines"].append(line)
    status, found = checked(tmp_path / "forged.json", json.dumps(read))
    assert (status, found["wrong"]["id"], found["wrong"]["member"]) == (1, line["id"], named)


def test_what_a_saved_statement_tells_of_a_wallet_must_follow_from_its_lines(
    world: World, tmp_path: Path
) -> None:
    read = json.loads(msgspec.json.encode(read_statement(world.market, world.renter, ReadStatement())))
    (wallet,) = read["wallets"]
    balance, wallet["balance"] = wallet["balance"], "99999"
    status, found = checked(tmp_path / "rich.json", json.dumps(read))
    assert (status, found["wrong"]["expected"], found["wrong"]["found"]) == (1, balance, "99999")
    read["lines"].pop()
    file = tmp_path / "shorter.json"
    assert checked(file, json.dumps(read))[0] == 0
    said = CliRunner().invoke(app, ["statement", "--check", str(file)]).stdout
    assert "The wallet went on from there, to 99999: that is not in the file." in said


def test_a_line_that_was_taken_out_is_missed(world: World, tmp_path: Path) -> None:
    read = json.loads(msgspec.json.encode(read_statement(world.market, world.renter, ReadStatement())))
    del read["lines"][2]
    status, found = checked(tmp_path / "shorter.json", json.dumps(read))
    assert (status, found["wrong"]["id"]) == (1, read["lines"][2]["id"])


def test_a_file_that_is_no_statement_is_refused(tmp_path: Path) -> None:
    for content in ("", "{}", "id,at\n1,2\n", "{", "\x00"):
        assert checked(tmp_path / "other", content) == (2, {}), content


def test_the_operators_csv_and_json_say_the_same(world: World, tmp_path: Path) -> None:
    url = world.store.engine.url.render_as_string(hide_password=False)

    def printed(*words: str) -> str:
        command = ["admin", "statement", RENTER, "--database-url", url, *words]
        done = CliRunner().invoke(app, command, env={"COLUMNS": "200"}, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    rows = list(csv.DictReader(printed("--csv").splitlines()))
    assert checked(tmp_path / "renter.csv", printed("--csv"))[0] == 0
    read = json.loads(printed("--json"))
    (wallet,) = read["wallets"]
    assert check(rows) == check(read["lines"]) == {USD: (units(wallet["balance"]), wallet["hash"])}
    assert "price=1.37" in printed()
    assert len(printed("--csv", "--to", "2027-01-15T08:00:00").splitlines()) == 1
    assert len(printed("--csv", "--from", str(START), "--to", str(START + 1)).splitlines()) == 4
    assert json.loads(printed("--json", "--currency", "btc"))["lines"] == []
