"""The embedded database when it cannot do what it is asked: one sentence, and nothing of a password in it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyvault_portal.embedded.config import EmbeddedError
from keyvault_portal.embedded.services import Services


@pytest.fixture
def disk(small_disk: Callable[[str], Path]) -> Path:
    return small_disk("360m")


@pytest.fixture
def services(disk: Path) -> Iterator[Services]:
    running = Services(disk, durable=False)
    try:
        running.start()
        yield running
    finally:
        (disk / "filler").unlink(missing_ok=True)
        running.stop()


def test_a_database_that_cannot_be_made_says_why(disk: Path, services: Services) -> None:
    with pytest.raises(
        EmbeddedError, match='The database shop cannot be made: role name "pg_shop" is reserved'
    ) as told:
        services.postgresql.ensure_database("shop", "pg_shop", "a password of its owner")
    assert "a password" not in str(told.value)
    with (disk / "filler").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**20))
            file.flush()
    with pytest.raises(EmbeddedError, match=r"is full; free some space and start again\.$"):
        services.postgresql.ensure_database("shop", "shop", "a password of its owner")
