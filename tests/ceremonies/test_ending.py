"""A session that is over ends its process, whoever noticed it first, and leaves no question without an answer."""

import logging
import socket
import threading
from uuid import uuid4

import orjson
import pytest

from ceremonies.process.server import converse_until_over
from ceremonies.process.sessions import Sessions
from keys.keyholder import wire
from tests.ceremonies.conftest import SCRIPT, Clock, OneKey


@pytest.fixture
def ended():
    """A session over its time, which somebody who asked how it stands has noticed, and both ends of its channel."""
    clock, ceremony = Clock(), uuid4()
    sessions = Sessions(OneKey(), idle_seconds=60, clock=clock)
    nonce = sessions.begin(ceremony, SCRIPT, practice=False).nonce
    clock.now += 61
    assert sessions.find(ceremony) is None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(60)
    with ours, theirs:
        yield sessions, ceremony, nonce, ours, theirs


def _asked(channel, operation):
    """Pass a connection on with the head of a question, as the doorkeeper does; returns the asker's end."""
    asker, passed = socket.socketpair()
    asker.settimeout(60)
    with passed:
        socket.send_fds(channel, [orjson.dumps({"op": operation})], [passed.fileno()])
    return asker


def test_who_stood_in_line_is_told_that_it_is_over(ended, caplog):
    sessions, ceremony, nonce, ours, theirs = ended
    with _asked(ours, "status") as looking, _asked(ours, "make_escrow_key") as acting, caplog.at_level(logging.WARNING):
        running = threading.Thread(target=converse_until_over, args=(sessions, ceremony, theirs))
        running.start()
        assert wire.receive(looking) == {"begun": False}
        assert wire.receive(acting) == {"go": True}
        with pytest.raises(BrokenPipeError):  # nobody new is let in: the doorkeeper answers by itself
            ours.send(b"{}")
        wire.send(acting, {"nonce": nonce})
        assert wire.receive(acting)["error"] == "session_over"
        running.join(60)
    assert not running.is_alive()
    assert caplog.text.count("nobody gave a sign of life") == 1


def test_it_ends_with_its_doorkeeper(ended):
    sessions, ceremony, _, ours, theirs = ended
    alive = uuid4()
    sessions.begin(alive, SCRIPT, practice=False)
    ours.close()
    converse_until_over(sessions, alive, theirs)
    assert sessions.find(alive) is not None
    assert sessions.find(ceremony) is None
