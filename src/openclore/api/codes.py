"""What a reply says about itself: body codes, their HTTP statuses, and the names of business errors."""

from enum import IntEnum, StrEnum


class Code(IntEnum):
    """The `code` member of every reply."""

    OK = 0
    DATABASE_ERROR = 1
    INVALID_INPUT = 2
    INVALID_TOKEN = 3
    INVALID_ENDPOINT = 4
    RATE_EXCEEDED = 5
    BUSINESS = 6


HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.DATABASE_ERROR: 500,
    Code.INVALID_INPUT: 400,
    Code.INVALID_TOKEN: 401,
    Code.INVALID_ENDPOINT: 404,
    Code.RATE_EXCEEDED: 429,
    Code.BUSINESS: 200,
}
"""The documented mapping. For code 6 the documentation says "varies"; the open dialect answers 200."""


class Refusal(StrEnum):
    """The `error` member of a code 6 reply: exact wire values, hyphens and underscores as they are."""

    # create_order
    SERVER_DONT_EXIST = "server-dont-exist"
    SERVER_OFFLINE = "server-offline"
    SERVER_ALREADY_RENTED = "server-already-rented"
    NOT_ENOUGH_BALANCE = "not_enough_balance"
    CANT_RENT_FROM_YOURSELF = "cant_rent_from_yourself"
    TOO_LOW_PRICE = "too_low_price"
    YOU_ALREADY_HAVE_SPOT_ORDER = "you_already_have_spot_order"
    CURRENCY_NOT_ALLOWED = "currency-not-allowed"
    MACHINE_IS_ON_GIGASPOT = "machine-is-on-gigaspot"
    PRICE_NOT_MATCHING = "price_not_matching"
    REACHED_ORDER_LIMIT = "reached_order_limit"
    REACHED_ORDER_LIMIT_PER_DAY = "reached_order_limit_per_day"
    WAIT = "wait"
    COMPUTE_NOT_AVAILABLE = "compute-not-available"
    # cancel_order
    YOU_DONT_OWN_THIS_ORDER = "you_dont_own_this_order"
    ORDER_NOT_ACTIVE = "order_not_active"
    ISSUE_DESCRIPTION_TOO_LONG = "issue_description_too_long"
    # set_spot_price
    ORDER_DONT_EXIST = "order_dont_exist"
    AMOUNT_TOO_LOW = "amount_too_low"
    CAN_LOWER_EVERY_600_SECONDS = "can_lower_every_600_seconds"
    EXCEEDED_MAX_STEP = "exceeded_max_step"
    # server_config, set_server_settings
    SERVER_DONT_EXIST_BY_NAME = "server_dont_exist"
    NOT_ALL_PARAMETERS_PRESENT = "not_all_parameters_present"
    INVALID_MRL = "invalid_mrl"
    INVALID_INPUT = "invalid_input"
    # OpenClore's own
    SPEND_LIMIT_REACHED = "spend_limit_reached"
    SERVER_IN_USE = "server_in_use"


DOCKERHUB_REFUSAL_PREFIX = "dockerhub-"
"""`create_order` errors that begin so mean that the registry refused the credentials."""
