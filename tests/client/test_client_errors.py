"""Which error comes of which answer."""

import inspect
import pickle

import httpx2
import pytest

from openclore.api.codes import Refusal
from openclore.client import _wire, errors

from .fakes import KEY, reply

PAGE = b"<html><head><title>Access denied</title></head><body>error code: 1010</body></html>"

ANSWERS = [
    (reply({"code": 1}, 500), errors.ServiceError, 1),
    (reply({"code": 1, "error": "database"}, 200), errors.ServiceError, 1),
    (reply({"code": 2}, 400), errors.InputError, 2),
    (reply({"code": 3}, 401), errors.SignInError, 3),
    (reply({"code": 3}, 200), errors.SignInError, 3),
    (reply({"code": 4}, 404), errors.NotFoundError, 4),
    (reply({"code": 5}, 429), errors.RateError, 5),
    (reply({"code": 5}, 200), errors.RateError, 5),
    (reply({"code": "5"}, 200), errors.RateError, 5),
    (reply({"code": 6, "error": "server-already-rented", "status": "x"}, 200), errors.UnavailableError, 6),
    (reply({"error": "currency-not-allowed", "code": 6}, 500), errors.InputError, 6),
    (reply({"error": "currency-not-allowed", "code": 6}, 503), errors.InputError, 6),
    (reply({"error": "too_low_price", "min_price": 1.25, "code": 6}), errors.PriceError, 6),
    (reply({"error": "wait", "code": 6}), errors.WaitError, 6),
    (reply({"error": "not_enough_balance", "code": 6}), errors.BalanceError, 6),
    (reply({"error": "dockerhub-login-failed", "code": 6}), errors.InputError, 6),
    (reply({"error": "Server-Offline", "code": 6}), errors.RefusedError, 6),
    (reply({"error": "brand-new", "code": 6}), errors.RefusedError, 6),
    (reply({"code": 6}), errors.RefusedError, 6),
    (reply({"code": 17, "error": "?"}), errors.RefusedError, 17),
    (reply({"error": "server-offline"}, 500), errors.UnavailableError, None),
    (reply(PAGE, 403), errors.BlockedError, None),
    (reply(PAGE, 502), errors.ServiceError, None),
    (reply(PAGE, 500), errors.ServiceError, None),
    (reply(PAGE, 429), errors.RateError, None),
    (reply(PAGE, 401), errors.SignInError, None),
    (reply(PAGE, 404), errors.ReplyError, None),
    (reply(PAGE, 200), errors.ReplyError, None),
    (reply(b"", 200), errors.ReplyError, None),
    (reply(b"", 301), errors.ReplyError, None),
    (reply(b"\xff\xfe{", 200), errors.ReplyError, None),
    (reply([1, 2], 200), errors.ReplyError, None),
    (reply({"wallets": []}, 200), errors.ReplyError, None),
    (reply({"code": None}, 200), errors.ReplyError, None),
    (reply({"code": True}, 200), errors.ReplyError, None),
    (reply(b"[" * 100_000, 200), errors.ReplyError, None),
]


@pytest.mark.parametrize(("answer", "kind", "code"), ANSWERS)
def test_an_answer_becomes_the_error_that_says_what_to_do(connect, answer, kind, code):
    clore, _ = connect(answer, attempts=1)
    with pytest.raises(errors.CloreError) as caught:
        clore.wallets()
    error = caught.value
    assert type(error) is kind
    assert (error.endpoint, error.status, error.code) == ("wallets", answer.status_code, code)


@pytest.mark.parametrize(
    "body",
    [
        b'{"code": 0, "error": null, "wallets": [{"name": "x"}]}',
        b'{"code": "0", "wallets": [{"name": "x"}]}',
        b'{"code": 0.0, "wallets": [{"name": "x"}]}',
        b'\xef\xbb\xbf{"code": 0, "wallets": [{"name": "x"}]}',
        b'{"code": 0, "wallets": [{"name": "x", "deposit": "\xff\xfe"}]}',
        b'{"code": 0, "wallets": [{"name": "x", "balance": NaN}]}',
        b'{"code": 0, "wallets": [{"name": "x", "balance": 1e999}, 17, null]}',
        b'{"code": 0, "wallets": {"name": "y"}}',
    ],
)
def test_a_success_is_a_success_however_it_is_written(connect, body):
    clore, _ = connect(reply(body, 500), attempts=1)
    assert [w.name for w in clore.wallets()] in (["x"], [])


def test_every_refusal_the_contract_names_has_a_class_of_its_own():
    for refusal in Refusal:
        assert refusal in _wire._REFUSALS, refusal


def test_a_refusal_says_what_is_so_and_what_to_do(connect):
    clore, _ = connect(reply({"error": "server-offline", "code": 6}))
    with pytest.raises(errors.UnavailableError) as caught:
        clore.wallets()
    said = "wallets: the server is not connected (server-offline, code 6). Choose another server."
    assert str(caught.value) == said


def test_facts_to_act_on_are_reachable(connect):
    body = {"error": "can_lower_every_600_seconds", "time_to_lowering": 431, "fresh": [1], "code": 6}
    clore, _ = connect(reply(body))
    with pytest.raises(errors.WaitError, match="in 431 s") as caught:
        clore.set_spot_price(1, 2)
    assert caught.value.time_to_lowering == caught.value.retry_after_seconds == 431
    assert caught.value.extra["fresh"] == [1]
    clore, _ = connect(reply({"error": "exceeded_max_step", "max_step": 0.000001, "code": 6}))
    with pytest.raises(errors.PriceError, match=r"at most 0\.000001 a day") as price:
        clore.set_spot_price(1, 2)
    assert price.value.max_step == 0.000001


def test_a_complaint_in_words_is_the_message_and_names_the_field(connect):
    clore, _ = connect(reply({"code": 2, "error": "type: this market has no spot orders"}, 400))
    with pytest.raises(errors.InputError) as caught:
        clore.wallets()
    assert str(caught.value) == "wallets: type: this market has no spot orders (code 2)."
    assert caught.value.field == "type"


def test_the_key_is_in_no_error(connect):
    for body in ({"error": f"bad {KEY}", "message": KEY, "code": 6}, f"<p>{KEY}</p>".encode()):
        clore, _ = connect(reply(body, 400))
        with pytest.raises(errors.CloreError) as caught:
            clore.wallets()
        assert KEY not in f"{caught.value} {caught.value.__dict__} {clore!r}"


def test_a_page_is_quoted_without_markup_or_control_characters(connect):
    clore, _ = connect(reply(b"\x1b[31m<b>go away</b>\n\n" + b"x" * 500, 403))
    with pytest.raises(errors.BlockedError) as caught:
        clore.wallets()
    assert "\x1b" not in str(caught.value)
    assert "<b>" not in str(caught.value)
    assert len(str(caught.value)) < 300


FOREIGN = [
    kind
    for kind in vars(httpx2).values()
    if inspect.isclass(kind)
    and issubclass(kind, httpx2.HTTPError | httpx2.StreamError | httpx2.InvalidURL)
    and kind is not httpx2.HTTPStatusError  # raised by raise_for_status() alone
]


def foreign(kind: type[Exception]) -> Exception:
    no_argument = issubclass(kind, httpx2.StreamError) and kind is not httpx2.StreamError
    return kind() if no_argument else kind("it broke")


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
def test_every_error_of_the_http_library_is_translated_with_its_cause(connect, kind):
    clore, _ = connect(foreign(kind), attempts=1)
    with pytest.raises((errors.NetworkError, errors.ReplyError)) as caught:
        clore.wallets()
    assert isinstance(caught.value.__cause__, kind)
    assert "http://market.test" in str(caught.value)


def test_what_was_never_sent_is_not_ambiguous():
    for kind, ambiguous in [
        (httpx2.ConnectError, False),
        (httpx2.ConnectTimeout, False),
        (httpx2.PoolTimeout, False),
        (httpx2.ReadTimeout, True),
        (httpx2.WriteError, True),
        (httpx2.RemoteProtocolError, True),
    ]:
        from openclore.client.transport import translated

        assert translated(kind("x"), "create_order", "http://x").ambiguous is ambiguous


def test_errors_survive_pickling():
    error = errors.PriceError("too low", code=6, error="too_low_price", extra={"min_price": 1.5})
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(copy), copy.min_price, copy.error) == ("too low", 1.5, "too_low_price")


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.CloreError):
            assert f"{name} " in drawn or f"{name}\n" in drawn, name


def test_a_market_that_fails_is_quoted_if_it_says_why(connect):
    words = "the market's database can't be reached: nothing was done, try again later"
    clore, _ = connect(reply({"code": 1, "error": words}, 500), attempts=1)
    with pytest.raises(errors.ServiceError, match=words):
        clore.wallets()
