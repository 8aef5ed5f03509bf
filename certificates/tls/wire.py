"""One scan's network: every byte and every second counted, whatever the other side does."""

import socket
import time
from dataclasses import dataclass, field

from certificates.tls import hello

PIECE = 16_384
MAXIMUM_BYTES = 4_000_000  # of one whole scan
MAXIMUM_ANSWER = 65_536  # to one question
STEP_SECONDS = 5.0  # one connection of it


class ScanEnded(Exception):
    """The scan's time or bytes are used up, or the other side does not speak TLS."""


@dataclass(slots=True)
class Budget:
    """What is left of a scan: `ends` on the monotonic clock, `left` in bytes."""

    ends: float
    left: int = MAXIMUM_BYTES
    step: float = STEP_SECONDS

    @classmethod
    def of(cls, seconds: float) -> "Budget":
        return cls(time.monotonic() + seconds, step=min(STEP_SECONDS, seconds))

    def seconds(self, until: float) -> float:
        """What may be waited now; raises ScanEnded when there is nothing left."""
        now = time.monotonic()
        if now >= self.ends:
            raise ScanEnded("The time for this scan is used up.")
        if now >= until:
            raise TimeoutError
        return min(self.ends, until) - now

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ScanEnded("The other side sends more than a scan reads.")


@dataclass(slots=True)
class Line:
    """A connection within the budget; raises OSError (TimeoutError after `Budget.step` seconds) and ScanEnded."""

    address: str
    port: int
    budget: Budget
    _socket: socket.socket = field(init=False)
    _until: float = field(init=False)

    def __enter__(self) -> "Line":
        self._until = time.monotonic() + self.budget.step
        self._socket = socket.create_connection((self.address, self.port), self.budget.seconds(self._until))
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, content: bytes) -> None:
        self._socket.settimeout(self.budget.seconds(self._until))
        self._socket.sendall(content)

    def receive(self) -> bytes:
        self._socket.settimeout(self.budget.seconds(self._until))
        piece = self._socket.recv(PIECE)
        self.budget.spend(len(piece))
        return piece


def ask(address: str, port: int, question: bytes, budget: Budget) -> hello.Choice | hello.Refusal:
    """The server's choice or refusal; raises ScanEnded, also for what is no TLS, and OSError when nobody listens."""
    received = b""
    with Line(address, port, budget) as line:
        try:
            line.send(question)
            while True:
                piece = line.receive()
                received += piece
                answer = hello.read_answer(received)
                if answer is not None:
                    return answer
                if not piece:
                    return hello.Refusal(-1)
                if len(received) > MAXIMUM_ANSWER:
                    raise ScanEnded("The other side sends more than a scan reads.")
        except ValueError:
            raise ScanEnded("What answers there does not speak TLS.") from None
        except ConnectionError:
            return hello.Refusal(-1)
