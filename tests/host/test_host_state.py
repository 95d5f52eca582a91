"""What is kept across restarts, and from whom."""

import stat

import pytest
from host_fakes import an_order

from openclore.host.runtime import HostError
from openclore.host.state import Identity, LastWord, State

IDENTITY = Identity(market="https://m.example", server_id=7, server_name="attic", credential="secret")


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "deep" / "state")
    yield state
    state.close()


def test_a_fresh_directory_holds_nothing(state):
    assert state.identity() is None
    assert (state.last_word(), state.gpus_before(), state.private_images()) == (LastWord(), {}, {})


def test_what_is_saved_comes_back(state):
    order = an_order(env={"SSH_PASSWORD": "x"}, registry_auth="u:t")
    word = LastWord(orders=[order], clock_ahead_seconds=-10_800.5)
    state.save_identity(IDENTITY)
    state.save_last_word(word)
    before = {"GPU-1": {"pl": 300_000, "core_lock": None}}
    state.save_gpus_before(before)
    state.save_private_images({7: "example/private:1"})
    assert state.gpus_before() == before
    assert state.private_images() == {7: "example/private:1"}
    assert state.identity() == IDENTITY
    assert state.last_word() == word


def test_secrets_are_for_their_owner_alone(state):
    state.directory.chmod(0o755)
    state.close()
    again = State(state.directory)
    again.save_identity(IDENTITY)
    again.save_last_word(LastWord(orders=[an_order()]))
    assert stat.S_IMODE(again.directory.stat().st_mode) == 0o700
    for path in again.directory.iterdir():
        if path.suffix == ".json":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again.close()


def test_only_one_agent_holds_a_directory(state):
    with pytest.raises(HostError, match="another agent is using"):
        State(state.directory)


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"the state directory .*/file/state can't be used"):
        State(tmp_path / "file" / "state")


def test_a_spoilt_credential_is_an_error_and_spoilt_notes_are_forgotten(state):
    (state.directory / "identity.json").write_text("{")
    (state.directory / "assignments.json").write_text('{"orders": [{"order_id": 0}]}')
    (state.directory / "gpus.json").write_text("[]")
    (state.directory / "images.json").write_text('{"x": 1}')
    with pytest.raises(HostError, match=r"identity\.json can't be read"):
        state.identity()
    assert (state.last_word(), state.gpus_before(), state.private_images()) == (LastWord(), {}, {})


def test_assignments_that_cannot_be_saved_stop_nothing(state, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openclore.host.state.os.fsync", full)
    state.save_last_word(LastWord(orders=[an_order()]))
    assert "No space left" in capsys.readouterr().out
    with pytest.raises(HostError, match="No space left"):
        state.save_identity(IDENTITY)
    assert state.identity() is None
