"""What the vendors' libraries would tell, and whether many threads may share one bound key: in every cloud alike."""

import base64
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import PortalError
from tests.providers.place import Place
from tests.providers.test_contract import AAD, handle_of

DATA, MATERIAL = b"data that nobody may read in a log", b"0123456789abcdef0123456789ABCDEF"


@pytest.fixture(params=["gcp_kms", "azure_mhsm"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Place]:
    with import_module(f"tests.providers.place_{request.param}").running() as place:
        yield place


def forms(secret: bytes) -> list[str]:
    """The secret in the clear, and what base64 makes of it wherever it begins in a longer text."""
    encodings = (base64.b64encode, base64.urlsafe_b64encode)
    return [secret.decode(), repr(secret)[2:-1], *(encode(secret)[:40].decode() for encode in encodings)]


def test_nothing_secret_is_logged_at_the_lowest_level(cloud, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    handle = handle_of("AES-256-GCM", cloud.provider.generate("AES-256-GCM"))
    cipher = cloud.provider.cipher(handle)
    assert cipher.decrypt(cipher.encrypt(DATA, AAD), AAD) == DATA
    cloud.provider.import_key("AES-256-GCM", SecretBytes(MATERIAL))
    with pytest.raises(PortalError):
        cloud.make(**cloud.bad_credentials).check()
    told = caplog.text + "".join(capfd.readouterr())
    assert "urllib3" in told
    for secret in [*forms(DATA), *forms(MATERIAL), *cloud.secrets]:
        assert secret not in told


@pytest.mark.parametrize("scope", ["google", "google.cloud"])
def test_googles_own_switch_does_not_open_the_log(scope, monkeypatch, capfd):
    """GOOGLE_SDK_PYTHON_LOGGING_SCOPE makes the client write requests with their payload to the console."""
    from google.api_core import client_logging

    loggers = {name: logging.getLogger(name) for name in {"google", scope}}
    before = {name: (found.level, found.propagate, list(found.handlers)) for name, found in loggers.items()}
    try:
        client_logging.setup_logging(scope)
        with import_module("tests.providers.place_gcp_kms").running() as cloud:
            handle = handle_of("AES-256-GCM", cloud.provider.generate("AES-256-GCM"))
            assert cloud.provider.cipher(handle).encrypt(DATA, AAD)
        assert "plaintext" not in "".join(capfd.readouterr())
    finally:
        for name, (level, propagate, handlers) in before.items():
            loggers[name].setLevel(level)
            loggers[name].propagate, loggers[name].handlers = propagate, handlers


def test_many_threads_share_one_bound_key(cloud):
    cipher = cloud.make().cipher(handle_of("AES-256-GCM", cloud.provider.generate("AES-256-GCM")))
    signer = cloud.provider.signer(handle_of("ECDSA-P256-SHA256", cloud.provider.generate("ECDSA-P256-SHA256")))

    def work(number: int) -> None:
        data = str(number).encode() * 20
        assert cipher.decrypt(cipher.encrypt(data, AAD), AAD) == data
        assert signer.verify(data, signer.sign(data))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
