"""Locks between workers that no transaction holds: a worker that dies gives them up with its connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from django.db import connection


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Wait until nobody else is inside under this name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_number(name)])
    try:
        yield
    finally:
        _leave(name)


@contextmanager
def first_at(name: str) -> Iterator[bool]:
    """Whether nobody else was inside under this name; does not wait. False: somebody is, and nothing is held."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_number(name)])
        (first,) = cursor.fetchone()
    try:
        yield first
    finally:
        if first:
            _leave(name)


def _leave(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s)", [_number(name)])
