"""The pytest plugin, from a test file of somebody else."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]


def test_a_test_takes_the_fixture_and_says_how_it_is_set_up(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import urllib.request

        import pytest

        def test_there_is_a_market(clore_sandbox):
            with urllib.request.urlopen(clore_sandbox.base_url + "/marketplace") as reply:
                assert reply.status == 200
            assert clore_sandbox.keys["renter"]
            assert clore_sandbox.faults.waiting == []

        @pytest.mark.clore_sandbox(seed=9, servers=5, dialect="live")
        def test_of_another_kind(clore_sandbox):
            assert clore_sandbox.servers == 5
            before = clore_sandbox.clock.now
            assert clore_sandbox.clock.turn(hours=1) == before + 3600
        """
    )
    result = pytester.runpytest_subprocess("-q", "--strict-markers", "-W", "error", "-p", "no:schemathesis")
    result.assert_outcomes(passed=2)


def test_a_run_that_needs_no_sandbox_loads_nothing_of_it() -> None:
    code = (
        "import sys, openclore.sandbox.plugin\n"
        "print([name for name in sys.modules if name.startswith('openclore.')])\n"
        "print([name for name in ('litestar', 'sqlalchemy', 'granian', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['openclore.sandbox', 'openclore.sandbox.plugin']", "[]"]
