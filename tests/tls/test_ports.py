"""A port that a server is told to listen on is nobody else's until it does."""

import socket

import pytest

from tests.ports import reserved_port


def test_a_reserved_port_is_given_to_nobody_but_the_server_that_asks_for_it():
    port = reserved_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))  # what the kernel tries when any port is asked for
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 60)
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), 60):
            pass
