"""A file is understood, or all that is wrong with it is said with line and field."""

from pathlib import Path

import pytest

from openclore.autopilot.file import Fixed, Hours, WalletBelow
from openclore.autopilot.reading import FileError, load, read

FLEET = """
[fleets.train]
image = "ubuntu:24.04"
machines = 2
price_per_hour_max = 0.5
"""


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(FileError) as caught:
        read(text, environ or {})
    return [str(problem) for problem in caught.value.problems]


def test_five_lines_watch_a_balance():
    file = read(
        'notify = ["json://localhost:8000"]\n'
        "[alerts.balance]\n"
        'when = "wallet_below"\n'
        'wallet = "clore"\n'
        "below = 100\n",
        {},
    )
    assert file.alerts == {"balance": WalletBelow(wallet="CLORE-Blockchain", below=100.0)}


def test_an_empty_file_wants_nothing():
    file = read("", {})
    assert (file.alerts, file.pricing, file.settings, file.fleets) == ({}, {}, {}, {})


def test_a_group_is_of_the_strategy_it_names():
    file = read('[pricing.a]\nstrategy = "fixed"\nservers = ["*"]\nfloor = 1\nceiling = 3\nprice = 2\n', {})
    assert isinstance(file.pricing["a"], Fixed)


def test_lengths_of_time_are_read_as_people_write_them():
    assert read('every = "1m30s"\nstale_after = "5m"', {}).every == 90


def test_a_doubled_dollar_is_one_and_no_variable():
    text = FLEET + 'command = "echo $${HOME} ${WORD} $HOME"\n'
    assert read(text, {"WORD": "$${x}"}).fleets["train"].command == "echo ${HOME} $${x} $HOME"


def test_what_is_old_follows_the_rounds_unless_it_is_said():
    assert read('every = "10m"', {}).stale_after == 1_200
    assert read('every = "1m"', {}).stale_after == 300


def test_variables_come_from_the_environment():
    file = read('notify = ["json://${USER_NAME}:${WORD}@host"]', {"USER_NAME": "a", "WORD": "b"})
    assert file.notify == ("json://a:b@host",)


def test_a_missing_variable_is_named_with_its_line():
    assert problems('\nnotify = ["json://${NOPE}"]') == [
        "line 2: notify: the environment has no variable NOPE"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evry = '1m'", "line 1: evry: there is no such member; did you mean every?"),
        ("every = '1x'", "line 1: every: '1x' is no duration; write it like 30s, 10m"),
        ("[budget]\nper_day = nan", "line 2: budget.per_day: must be a finite number"),
        ("[alerts]\nwallet = 3", "line 2: alerts.wallet: [alerts] needs a name: is not a table"),
        ("\n[alerts.a]\n\nwhen = 'walet_below'", "line 4: alerts.a.when: must be one of event, "),
        ("[alerts.a]\nwallet = 'usd'", "line 1: alerts.a.when: is required: one of event, "),
        ("[alerts.a]\nwhen = 'wallet_below'\nwallet = 'usd'", "line 1: alerts.a.below: is required"),
        (FLEET + "budget = {per_huor = 3}", "line 6: fleets.train.budget.per_huor: there is no such member;"),
        (FLEET + "[fleets.train.budget]\nper_dya = 1", "line 7: fleets.train.budget.per_dya: there is no"),
        (
            FLEET + "ready = [{kind='tpc', port=1}]",
            "line 6: fleets.train.ready.kind: must be one of command,",
        ),
        (
            FLEET + "order_type = 'cheapst'",
            "line 6: fleets.train.order_type: must be one of cheapest, on-demand, spot; did",
        ),
        (FLEET + "ports = {'22' = 'udp'}", "line 6: fleets.train.ports: must be one of http, tcp"),
        (
            "[settings.a]\nservers = ['*']\ndrift = 'mend'",
            "line 3: settings.a.drift: must be one of repair, report",
        ),
        ("pricing = 3", "line 1: pricing: must be tables with names, such as [pricing.example]"),
        ("a = ", "line 1: Invalid value, which is not TOML"),
        ("every = 99999999999", "line 1: every: must not be longer than a year"),
        ("# \u2028\nevry = 1", "line 2: evry: there is no such member; did you mean every?"),
        ("x = " + "9" * 5_000, "line 1: "),
        ("x = " + "[" * 5_000, "line 1: too deep, which is not TOML"),
        ("every = '5m'\nstale_after = '1m'", "line 2: stale_after: must not be shorter than every (5m)"),
        ("[messages]\ntimezone = 'Mars/Base'", "line 2: messages.timezone: is no timezone; write it like"),
        ("[budget]\nper_day = 0", "line 2: budget.per_day: must be above 0"),
        (
            "[alerts.a]\nwhen = 'outbid'",
            "line 1: alerts: nobody would hear of them: name addresses in notify",
        ),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(text: str, said: str):
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(said)


def test_everything_wrong_is_said_at_once_in_the_order_of_lines():
    found = problems("evry = '1m'\n[alerts.a]\nwhen = 'outbit'\n[fleets.b]\nimge = 'x'\n")
    assert [text.partition(":")[0] for text in found] == ["line 1", "line 3", "line 5"]


def test_no_message_repeats_what_may_be_secret():
    found = problems('notify = "json://user:secret@host"\n[fleets.a]\nenv = {KEY = ["secret"]}\n')
    assert "secret" not in "".join(found)


def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfevery = '7s'\r\n")
    assert load(path).every == 7


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(FileError, match="can't be read: No such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("22:00-07:00", ["2026-11-22T23:30", "2026-11-23T06:59"], ["2026-11-23T07:00", "2026-11-22T21:59"]),
        ("Mon-Fri 08:00-20:00", ["2026-11-23T08:00"], ["2026-11-22T12:00", "2026-11-23T20:00"]),
        ("Sat,Sun 00:00-24:00", ["2026-11-22T23:59"], ["2026-11-23T00:00"]),
        ("Sun 22:00-02:00", ["2026-11-23T01:00", "2026-11-22T22:00"], ["2026-11-22T01:00"]),
    ],
)
def test_hours_of_the_week_cover_what_they_say(hours: str, inside: list[str], outside: list[str]):
    from datetime import datetime

    covers = {at: Hours(hours).covers(datetime.fromisoformat(at)) for at in inside + outside}
    assert covers == {at: at in inside for at in inside + outside}


@pytest.mark.parametrize("text", ["25:00-26:00", "Foo 10:00-12:00", "10-12", "10:61-12:00", ""])
def test_other_texts_are_no_hours(text: str):
    with pytest.raises(ValueError, match="write"):
        Hours(text)
