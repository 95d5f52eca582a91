"""The pytest plugin that comes with OpenClore: the fixture `clore_sandbox`.

    @pytest.mark.clore_sandbox(seed=7, servers=20, dialect="live")
    def test_the_bot_survives(clore_sandbox):
        ...

The mark's arguments are those of `openclore.sandbox.Sandbox`; without it there are the defaults.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .sandbox import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "clore_sandbox(**arguments): how the fixture clore_sandbox is set up, as for Sandbox"
    )


@pytest.fixture
def clore_sandbox(request: pytest.FixtureRequest) -> Iterator["Sandbox"]:
    """A market of the test's own: address, keys, clock, faults."""
    from .sandbox import Sandbox

    marker = request.node.get_closest_marker("clore_sandbox")
    with Sandbox(**(marker.kwargs if marker else {})) as sandbox:
        yield sandbox
