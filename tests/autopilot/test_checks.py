"""What makes no sense in a file is told by `check`, with the member and in a line that can be read."""

import pytest

from openclore.autopilot.reading import FileError, read

FLEET = '[fleets.a]\nimage = "x"\nprice_per_hour_max = 1\n'
GROUP = '[pricing.a]\nservers = ["r"]\nfloor = 1\n'
ALERT = 'notify = ["json://127.0.0.1/"]\n[alerts.a]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            FLEET + 'machines = 1\ncurrency = "doge"',
            "line 5: fleets.a.currency: doge is no currency of the market; there are bitcoin,"
            " CLORE-Blockchain, USD-Blockchain",
        ),
        (FLEET + "machines = 100_000_000_000", "line 4: fleets.a.machines: must be 1000 at most"),
        (
            ALERT + 'when = "price_above"\ngpu = ""\nlevel = 1',
            "line 4: alerts.a.gpu: is empty; name a part of the model, such as 4090",
        ),
        (
            ALERT + 'when = "event"\nkinds = []',
            'line 4: alerts.a.kinds: names none; such as ["order_ended"]',
        ),
        (
            ALERT + 'when = "server_offline"\nservers = []',
            'line 4: alerts.a.servers: name at least one pattern, such as "rig-*"',
        ),
    ],
)
def test_what_can_not_be_is_told(text: str, said: str) -> None:
    with pytest.raises(FileError) as caught:
        read(text, {})
    assert [str(problem) for problem in caught.value.problems] == [said]


@pytest.mark.parametrize(
    "text",
    [
        '[settings.a]\nservers = ["r"]\non_demand = { usd = 1e308 }',
        GROUP + 'strategy = "fixed"\nprice = 1e308\nceiling = 5',
        GROUP + 'strategy = "occupancy"\nceiling = 1e300\npower_watts = 1e308\npower_price_per_kwh = 1',
        FLEET.replace("= 1", "= 1e308") + "machines = 1\nbudget = { total = 1 }",
        ALERT + 'when = "wallet_below"\nwallet = "usd"\nbelow = 1e308\nback_above = 1',
    ],
)
def test_no_line_is_longer_for_a_number_that_is_none(text: str) -> None:
    with pytest.raises(FileError) as caught:
        read(text, {})
    assert all(len(str(problem)) < 160 for problem in caught.value.problems)
