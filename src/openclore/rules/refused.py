"""How a rule or a use case says no. Each becomes one reply at the door."""

from ..api.codes import Refusal


class Refused(Exception):
    """A business error, code 6: `refusal` is the exact wire value, `facts` the extra members of the reply."""

    def __init__(self, refusal: Refusal | str, **facts: float | str) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.facts = facts


class InvalidInput(Exception):
    """Code 2. The message names the member, what must hold, and what was given."""


class NotFound(Exception):
    """Code 4: under /open/v1, the object that the path names is not there, or not the caller's."""
