"""A person's own words for alerts: names in braces; what is wrong is said before they are needed."""

import msgspec
import pytest

from openclore.autopilot.file import Alert, File, Messages
from openclore.autopilot.reading import FileError, read
from openclore.autopilot.templates import COMMON, NAMES, Figure, check_template, filled


def test_every_kind_of_alert_has_its_names():
    kinds = {kind.__struct_config__.tag for kind in Alert.__args__}
    assert kinds < set(NAMES)


@pytest.mark.parametrize("kind", NAMES)
def test_all_names_of_a_kind_may_be_used(kind):
    check_template(kind, " ".join(f"{{{name}}}" for name in (*COMMON, *NAMES[kind])))


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("wallet_below", "{amout}", "{amout} is no name, did you mean 'amount'?; there is: alert, subject"),
        (
            "wallet_blow",
            "x",
            "'wallet_blow' is no kind of message, did you mean 'wallet_below'?; there is:",
        ),
        ("wallet_below", "{}", "{} is no name"),
        ("wallet_below", "{0}", "{0} is no name"),
        ("wallet_below", "{wallet.__class__}", "is no name"),
        ("wallet_below", "{wallet[0]}", "is no name"),
        ("wallet_below", "{amount:{below2}}", "can't be filled in: 'below2'"),
        ("wallet_below", "{amount", "a brace of the text itself is written twice"),
        ("wallet_below", "50 } off", "a brace of the text itself is written twice"),
        ("wallet_below", "{wallet:.2f}", "can't be filled in: Unknown format code 'f'"),
        ("outbid", "{hours}", "{hours} is no name"),
    ],
)
def test_what_is_wrong_with_a_template_is_said(kind, text, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_template(kind, text)
    assert said in str(caught.value)


def test_figures_are_written_as_people_write_them_unless_told_otherwise():
    names = {"amount": Figure(0.0000312), "many": Figure(1e16)}
    text = filled("{amount} {amount:.6f} {many} {{}}", names, "")
    assert text == "0.0000312 0.000031 10000000000000000 {}"


def test_a_template_that_cannot_be_filled_in_gives_way_to_the_usual_text():
    assert filled("{nonsense}", {}, "usual") == filled(None, {}, "usual") == "usual"
    assert filled("{a[b]}", {"a": "x"}, "usual") == "usual"


def test_a_file_with_a_wrong_template_or_mark_is_refused_with_the_line():
    text = """notify = ["json://localhost"]

[messages.templates]
outbid = "{ordr} lost"

[alerts.cash]
when = "wallet_below"
wallet = "usd"
below = 5
back_above = 4
"""
    with pytest.raises(FileError) as caught:
        read(text)
    assert [str(problem) for problem in caught.value.problems] == [
        "line 4: messages.templates.outbid: {ordr} is no name, did you mean 'order'?; there is: alert,"
        " subject, title, text, order, server, image, price, currency",
        "line 10: alerts.cash.back_above: must not be less than below (5)",
    ]
    assert msgspec.structs.asdict(Messages())["templates"] == File().messages.templates == {}
