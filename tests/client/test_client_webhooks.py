"""Receivers of webhooks tell the market's messages from anybody else's."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from openclore.client import SignatureError, verify_webhook

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = json.dumps({"type": "order_ended", "timestamp": "2026-07-10T12:00:00Z", "data": {"order_id": 5}})


def headers(body: str = BODY, secret: str = SECRET, ago: timedelta = timedelta()) -> dict[str, str]:
    at = datetime.now(UTC) - ago
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": f"v1,bm9uc2Vuc2U= {Webhook(secret).sign('msg_1', at, body)}",
    }


def test_a_message_of_the_market_is_read():
    message = verify_webhook(headers(), BODY.encode(), SECRET)
    assert (message.id, message.kind, message.timestamp, message.data) == (
        "msg_1",
        "order_ended",
        "2026-07-10T12:00:00Z",
        {"order_id": 5},
    )


OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    ("given", "body", "secret"),
    [
        (headers(), BODY.replace("5", "6"), SECRET),
        (headers(), BODY, OTHER),
        (headers(secret=OTHER), BODY, SECRET),
        (headers(ago=timedelta(minutes=6)), BODY, SECRET),
        ({}, BODY, SECRET),
        ({**headers(), "Webhook-Signature": "nonsense"}, BODY, SECRET),
        ({**headers(), "Webhook-Signature": "v1,ä"}, BODY, SECRET),
        ({**headers(), "Webhook-Timestamp": "soon"}, BODY, SECRET),
        (headers("[]"), "[]", SECRET),
        (headers("nonsense"), "nonsense", SECRET),
        (headers(), b"\xff\xfe", SECRET),
    ],
)
def test_anything_else_is_not_the_markets(given, body, secret):
    with pytest.raises(SignatureError, match="not the market's"):
        verify_webhook(given, body, secret)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ä", "a"])
def test_a_secret_that_is_none_never_lets_a_message_pass(secret):
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(headers(), BODY, secret)


@given(st.dictionaries(st.sampled_from(list(headers())), st.text()), st.binary() | st.text())
def test_whatever_comes_it_is_only_ever_refused(given, body):
    with pytest.raises(SignatureError):
        verify_webhook(given, body, SECRET)
