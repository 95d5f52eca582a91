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

OPEN_HTTP_STATUS: dict[Code, int] = {**HTTP_STATUS, Code.BUSINESS: 409}
"""Under /open/v1."""


MEANINGS: dict[Code, tuple[str, str]] = {
    Code.OK: ("It is done.", ""),
    Code.DATABASE_ERROR: (
        "The market failed inside. What a write has done is unknown.",
        "Look before trying again: after `create_order` in `my_orders`, since the order may exist.",
    ),
    Code.INVALID_INPUT: (
        "The request is wrong as it stands; `error` names the member.",
        "Change the request. Trying again as it is will not help.",
    ),
    Code.INVALID_TOKEN: ("The API key is missing, unknown or revoked.", "Give a valid key."),
    Code.INVALID_ENDPOINT: (
        "There is no such endpoint, or no such object.",
        "Check the address and the ids.",
    ),
    Code.RATE_EXCEEDED: (
        "The key was used too often. Nothing was done.",
        "Wait as many seconds as the header `Retry-After` says, then send it again.",
    ),
    Code.BUSINESS: ("The market refused, for the reason in `error`.", "See the list of refusals."),
}
"""What a code means, and what to do then."""


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
    WEBHOOK_LIMIT_REACHED = "webhook_limit_reached"


REFUSAL_MEANINGS: dict[Refusal, tuple[str, str]] = {
    Refusal.SERVER_DONT_EXIST: ("There is no server with this id.", "Choose another server."),
    Refusal.SERVER_OFFLINE: ("The server is not connected.", "Choose another server."),
    Refusal.SERVER_ALREADY_RENTED: (
        "The server is rented on demand, perhaps by you.",
        "Look in `my_orders`, or choose another server.",
    ),
    Refusal.NOT_ENOUGH_BALANCE: (
        "The wallet of this currency does not hold enough.",
        "Top it up, or pay in another currency.",
    ),
    Refusal.CANT_RENT_FROM_YOURSELF: ("The server is your own.", "Choose another server."),
    Refusal.TOO_LOW_PRICE: (
        "The bid is under the host's floor.",
        "Bid at least `min_price`, per day in the order's currency. Floors of hosts who price in dollars move"
        " every ten minutes.",
    ),
    Refusal.YOU_ALREADY_HAVE_SPOT_ORDER: (
        "You have a spot order on this server already; an account may have one.",
        "Change its price with `set_spot_price`.",
    ),
    Refusal.CURRENCY_NOT_ALLOWED: (
        "The host does not accept this currency.",
        "Pay in one of the server's `allowed_coins`.",
    ),
    Refusal.MACHINE_IS_ON_GIGASPOT: (
        "The machine is rented out through GigaSPOT only.",
        "Bid with `create_gigaspot_orders`.",
    ),
    Refusal.PRICE_NOT_MATCHING: (
        "The price is not the required one any more.",
        "Read `marketplace` again and decide anew.",
    ),
    Refusal.REACHED_ORDER_LIMIT: ("You have too many orders at once.", "Cancel one first."),
    Refusal.REACHED_ORDER_LIMIT_PER_DAY: (
        "You made too many orders today.",
        "Try again tomorrow; `limit` is how many a day may have.",
    ),
    Refusal.WAIT: ("The market is too busy just now. Nothing was done.", "Try again in a second."),
    Refusal.COMPUTE_NOT_AVAILABLE: ("The machine is not available now.", "Choose another server."),
    Refusal.YOU_DONT_OWN_THIS_ORDER: ("There is no such order of yours.", "Check the id in `my_orders`."),
    Refusal.ORDER_NOT_ACTIVE: ("The order is over.", "There is nothing left to do."),
    Refusal.ISSUE_DESCRIPTION_TOO_LONG: ("`issue` is longer than 2,048 characters.", "Shorten it."),
    Refusal.ORDER_DONT_EXIST: ("There is no such spot order of yours.", "Check the id in `my_orders`."),
    Refusal.AMOUNT_TOO_LOW: (
        "The price is under the host's floor.",
        "Read the floor in `spot_marketplace` and stay above it.",
    ),
    Refusal.CAN_LOWER_EVERY_600_SECONDS: (
        "A bid can be lowered once in 600 s.",
        "Wait `time_to_lowering` seconds. Raising is always possible.",
    ),
    Refusal.EXCEEDED_MAX_STEP: (
        "The bid was lowered too far at once.",
        "Lower it by at most `max_step`, per day in the order's currency.",
    ),
    Refusal.SERVER_DONT_EXIST_BY_NAME: (
        "None of your servers has this name.",
        "Check the name in `my_servers`.",
    ),
    Refusal.NOT_ALL_PARAMETERS_PRESENT: (
        "A mandatory member is missing; settings are replaced as a whole.",
        "Read `server_config`, change it, send all of it.",
    ),
    Refusal.INVALID_MRL: ("The longest rental is out of bounds.", "Give `mrl` in hours, 6 to 3,000."),
    Refusal.INVALID_INPUT: ("A setting can't be so.", "Change what `message` names."),
    Refusal.SPEND_LIMIT_REACHED: (
        "A spend limit of the order, its key or the account would be exceeded.",
        "Raise the limit, or wait for the next day where it is one per day.",
    ),
    Refusal.SERVER_IN_USE: ("The server is listed or rented.", "Hide it and wait until its order is over."),
    Refusal.WEBHOOK_LIMIT_REACHED: ("The account has too many webhooks.", "Remove one first."),
}
"""What a refusal means, and what to do then."""


def explained(error: str) -> str:
    """The sentences for a refusal's name; a name that this version does not know as it is."""
    return " ".join(REFUSAL_MEANINGS[Refusal(error)]) if error in REFUSAL_MEANINGS else error


DOCKERHUB_REFUSAL_PREFIX = "dockerhub-"
"""`create_order` errors that begin so mean that the registry refused the credentials."""

DOCKERHUB_AUTH_INVALID = f"{DOCKERHUB_REFUSAL_PREFIX}auth-invalid"
"""Ours: the credentials can't be any."""
