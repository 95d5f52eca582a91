"""What every use case works on."""

from dataclasses import dataclass, field

from ..rules.policy import Policy
from ..store.store import Store


@dataclass(frozen=True)
class Market:
    """A market: where it is kept, and how its operator set it."""

    store: Store
    policy: Policy = field(default_factory=Policy)
