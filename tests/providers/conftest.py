"""One place per kind of provider; each is started once a session, in front of something real."""

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

from tests.providers.place import Place

KINDS = sorted(path.stem.removeprefix("place_") for path in Path(__file__).parent.glob("place_*.py"))
NEEDS = {"pkcs11": [pytest.mark.needs_softhsm]}


@pytest.fixture(scope="session")
def _places() -> Iterator[dict[str, Place]]:
    with ExitStack() as stack:
        yield _Started(stack)


class _Started(dict[str, Place]):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, kind: str) -> Place:
        module = import_module(f"tests.providers.place_{kind}")
        self[kind] = self._stack.enter_context(module.running())
        return self[kind]


@pytest.fixture(params=[pytest.param(kind, marks=NEEDS.get(kind, [])) for kind in KINDS])
def place(request: pytest.FixtureRequest, _places: dict[str, Place]) -> Place:
    return _places[request.param]
