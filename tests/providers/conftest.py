"""One place per kind of provider; each is started once a session, in front of something real."""

from pathlib import Path

import pytest

from tests.providers.place import Place

KINDS = sorted(path.stem.removeprefix("place_") for path in Path(__file__).parent.glob("place_*.py"))
NEEDS = {"pkcs11": [pytest.mark.needs_softhsm]}


@pytest.fixture(params=[pytest.param(kind, marks=NEEDS.get(kind, [])) for kind in KINDS])
def place(request: pytest.FixtureRequest, places: dict[str, Place]) -> Place:
    return places[request.param]
