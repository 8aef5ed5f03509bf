"""The embedded database when it cannot do what it is asked: one sentence, and nothing of a password in it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyvault_portal.embedded.config import EmbeddedError, ensure_config
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


def test_ports_that_are_kept_are_none_that_a_connection_may_have_at_the_next_start(tmp_path: Path) -> None:
    lent = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first, last = map(int, lent.read_text().split()) if lent.exists() else (49_152, 65_535)
    if first < 32_768:
        pytest.skip("this system lends connections more ports than systems usually do")
    for number in range(20):
        config = ensure_config(tmp_path / str(number))
        ports = {config.postgres_port, config.valkey_port, config.web_port}
        assert len(ports) == 3
        assert not ports & set(range(first, last + 1))


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
