"""A bound on guessing: so many wrong tries a person, then a pause."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ceremonies.errors import TooManyTries
from keyvault_portal.errors import PortalError

WRONG_TRIES, WITHIN = 5, 60.0  # seconds


class WrongTries:
    """The recent wrong tries of each person, by a clock that nobody can set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    @contextmanager
    def counted(self, who: str) -> Iterator[None]:
        """A refusal raised within counts as a wrong try; raises TooManyTries while there were too many."""
        wrong = self._wrong.setdefault(who, deque())
        now = self._clock()
        while wrong and wrong[0] <= now - WITHIN:
            wrong.popleft()
        if len(wrong) >= WRONG_TRIES:
            pause = int(wrong[0] + WITHIN - now) + 1
            raise TooManyTries(
                f"{WRONG_TRIES} wrong tries: wait {pause} seconds.", hint="Compare the card word by word meanwhile."
            )
        try:
            yield
        except PortalError:
            wrong.append(now)
            raise
