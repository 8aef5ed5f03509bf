"""One place per kind of provider; each is started once a session, in front of something real."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from keys.providers.azure_kv import AzureKeyVaultProvider
from keys.providers.base import KeyHandle
from keys.providers.gcp_kms import GcpKmsProvider
from keys.providers.pkcs11.provider import Pkcs11Provider
from tests.providers.fakes.azure import FakeVault
from tests.providers.fakes.gcp import FakeCloudKms, serving
from tests.providers.place import Place
from tests.providers.place_gcp_kms import RING
from tests.providers.points import SEEN
from tests.providers.vaults import Build, vaults

AES = "AES-256-GCM"

KINDS = sorted(path.stem.removeprefix("place_") for path in Path(__file__).parent.glob("place_*.py"))
NEEDS = {"pkcs11": [pytest.mark.needs_softhsm]}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    report = yield
    params = getattr(getattr(item, "callspec", None), "params", {})
    if report.when == "call" and report.passed and "place" in params:
        SEEN.add((item.originalname, params["place"]))  # type: ignore[attr-defined]
    return report


@pytest.fixture(params=[pytest.param(kind, marks=NEEDS.get(kind, [])) for kind in KINDS])
def place(request: pytest.FixtureRequest, places: dict[str, Place]) -> Place:
    return places[request.param]


# Cloud KMS: a fake of its own for each test, and a provider in front of it


@pytest.fixture
def fake() -> FakeCloudKms:
    return FakeCloudKms()


@pytest.fixture
def address(fake: FakeCloudKms) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
def gcp(fake: FakeCloudKms, address: str) -> GcpKmsProvider:
    return GcpKmsProvider("gcp", **RING, credentials=fake.account(), endpoint=address, hosts=("127.0.0.1",), timeout=60)


@pytest.fixture
def aes(gcp: GcpKmsProvider) -> KeyHandle:
    return KeyHandle(AES, gcp.generate(AES).opaque)


# Azure: vaults of their own for each test


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    with vaults(tmp_path) as make:
        yield make


@pytest.fixture
def vault(build: Build) -> tuple[FakeVault, AzureKeyVaultProvider]:
    return build()


@pytest.fixture
def hsm(build: Build) -> tuple[FakeVault, AzureKeyVaultProvider]:
    return build(managed_hsm="yes")


# An HSM: a library process of its own for each test; `place` is then the token's


@pytest.fixture
def provider(place: Place) -> Iterator[Pkcs11Provider]:
    made = place.make()
    assert isinstance(made, Pkcs11Provider)
    yield made
    made._link.close()


@pytest.fixture
def key(provider: Pkcs11Provider) -> KeyHandle:
    return KeyHandle(AES, provider.generate(AES).opaque)
