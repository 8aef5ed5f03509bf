"""The portal itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from keys.providers.local import LocalProvider
from tests.providers.place import Place


@contextmanager
def running() -> Iterator[Place]:
    yield Place("local", LocalProvider(), LocalProvider)
