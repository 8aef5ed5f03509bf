"""python-pkcs11 alone in a process of its own, since a vendor's library is loaded into no process of the portal."""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from os import urandom
from typing import Any

from keys.benchmarks.pairs import AAD


@contextmanager
def running(module: str, token: str, pin: str) -> Iterator["BareToken"]:
    """The library with one open session and one key; the process ends with the block."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, module, token, pin), daemon=True)
    process.start()
    there.close()
    try:
        yield BareToken(here)
    finally:
        here.close()
        process.join(10)
        process.kill()


class BareToken:
    """What the benchmark asks of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._connection.recv()  # ready

    def encrypt(self, message: bytes, times: int) -> None:
        """So many encryptions in a row, without a word between them."""
        self._connection.send((message, times))
        self._connection.recv()


def _serve(connection: Connection, module: str, token: str, pin: str) -> None:
    import pkcs11
    from pkcs11 import GCMParams, KeyType, Mechanism

    with pkcs11.lib(module).get_token(token_label=token).open(user_pin=pin) as session:
        key: Any = session.generate_key(KeyType.AES, 256, store=False)
        connection.send("ready")
        try:
            while True:
                message, times = connection.recv()
                for _ in range(times):
                    key.encrypt(message, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(urandom(12), AAD, 128))
                connection.send("done")
        except EOFError:
            return
