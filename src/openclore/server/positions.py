"""What accounts hold and what runs on them, without asking the database while nothing changes."""

from ..usecases import accounts
from ..usecases.accounts import Position
from ..usecases.market import Market

_KNOWN_MAX = 10_000


class Positions:
    """Positions as of one mark of the store; any change of the market, by whomever, makes them worthless."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._known: tuple[int | None, dict[int, Position]] = None, {}

    def recall(self, account_id: int) -> Position | None:
        """An account's position, if it is known and still holds; waits for nobody."""
        mark, known = self._known
        found = known.get(account_id)
        return found if found is not None and self._market.store.mark() == mark else None

    def look_up(self, account_id: int) -> Position:
        """An account's position. Asks the database."""
        mark = self._market.store.mark()
        position = accounts.position(self._market, account_id)
        if mark is not None:
            if mark != self._known[0] or len(self._known[1]) >= _KNOWN_MAX:
                self._known = mark, {}
            at, known = self._known
            if at == mark:
                known[account_id] = position
        return position
