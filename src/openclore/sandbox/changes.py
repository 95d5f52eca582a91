"""Whether anybody has written to the market since one looked last."""

from ..store.store import Store


class Changes:
    """For one who looks; each has its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mark: int | None = None

    def any(self) -> bool:
        """Whether what was read after the last call may have changed; at first it may. Callable anywhere."""
        before, self._mark = self._mark, self._store.mark()
        return self._mark is None or self._mark != before
