"""What can go wrong with a KMIP server: it restarts, it is another's, its keys are revoked by somebody else."""

import multiprocessing
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    Capability,
    CredentialsRefused,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    RemoteState,
)
from keys.providers.kmip.connection import of_reason
from keys.providers.kmip.library import enums
from keys.providers.kmip.messages import attributes_of
from keys.providers.kmip.provider import MOST_BYTES, KmipProvider
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable, TooLarge
from tests.ports import reserved_port
from tests.providers.place import Place
from tests.providers.place_kmip import certificate, server

AES = "AES-256-GCM"


@pytest.fixture
def place(places: dict[str, Place]) -> Place:
    return places["kmip"]


@pytest.fixture
def provider(place: Place) -> Iterator[KmipProvider]:
    made = place.make()
    yield made
    made._server.close()


@pytest.fixture
def key(provider: KmipProvider) -> KeyHandle:
    return KeyHandle(AES, provider.generate(AES).opaque)


def test_the_server_encrypts_as_everybody_does(provider):
    """What it sealed, software opens with the same material and the same context."""
    material = os.urandom(32)
    handle = KeyHandle(AES, provider.import_key(AES, SecretBytes(material)).opaque)
    sealed = provider.cipher(handle).encrypt(b"text", b"context")
    assert AESGCM(material).decrypt(sealed[:12], sealed[12:], b"context") == b"text"
    nonce = os.urandom(12)
    ours = nonce + AESGCM(material).encrypt(nonce, b"text", b"context")
    assert provider.cipher(handle).decrypt(ours, b"context") == b"text"


def test_a_short_tag_is_no_tag(provider, key):
    """Every byte of the tag counts: a server would take one of four bytes, if it were offered one."""
    cipher = provider.cipher(key)
    sealed = cipher.encrypt(b"text", b"")
    for length in (4, 8, 12, 15):
        with pytest.raises(DecryptRefused):
            cipher.decrypt(sealed[: len(sealed) - 16 + length], b"")


def test_what_is_too_large_is_said_before_it_is_sent(provider, key, monkeypatch):
    cipher = provider.cipher(key)
    most = bytes(MOST_BYTES)
    assert cipher.decrypt(cipher.encrypt(most, b""), b"") == most
    with pytest.raises(TooLarge):
        cipher.encrypt(most + b"x", b"")
    monkeypatch.setattr(provider._server, "call", None)
    for refused in (bytes(MOST_BYTES + 29), bytes(27), b""):
        with pytest.raises(DecryptRefused):
            cipher.decrypt(refused, b"")


def test_a_key_revoked_by_another_is_refused(provider, key):
    sealed = provider.cipher(key).encrypt(b"text", b"")
    provider._server.call(lambda client: client.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, key.opaque))
    assert provider.describe(key).state is RemoteState.DISABLED
    with pytest.raises(KeyUnusable):
        provider.cipher(key).encrypt(b"text", b"")
    with pytest.raises(KeyUnusable):
        provider.cipher(key).decrypt(sealed, b"")
    provider.destroy(key)
    with pytest.raises(KeyMissing):
        provider.describe(key)


def test_a_destroyed_key_is_gone(provider, key):
    sealed = provider.cipher(key).encrypt(b"text", b"")
    provider.destroy(key)
    for use in (
        lambda: provider.cipher(key).decrypt(sealed, b""),
        lambda: provider.describe(key),
        lambda: provider.destroy(key),
    ):
        with pytest.raises(KeyMissing):
            use()
    assert key.opaque not in {remote.opaque for remote in provider.list_keys()}


@pytest.mark.parametrize("state", [enums.State.DESTROYED, enums.State.DESTROYED_COMPROMISED])
def test_what_a_server_remembers_of_a_destroyed_key_is_no_key(provider, key, monkeypatch, state):
    """KMIP 1.4, 3.22: attributes may outlive the material; PyKMIP's server forgets both, others do not."""
    monkeypatch.setattr(
        "keys.providers.kmip.provider.attributes_of",
        lambda client, opaque: attributes_of(client, opaque) | {"State": state},
    )
    with pytest.raises(KeyMissing):
        provider.describe(key)
    assert key.opaque not in {remote.opaque for remote in provider.list_keys()}


def test_what_is_imported_says_so_and_what_is_made_does_not(provider, key):
    brought = provider.import_key(AES, SecretBytes(bytes(32)))
    assert provider.describe(KeyHandle(AES, brought.opaque)).imported
    made = provider.describe(key)
    assert not made.imported
    assert not made.extractable
    assert made.created_at is not None
    with pytest.raises(ProviderFault):
        provider.import_key(AES, SecretBytes(bytes(16)))


def test_a_disabled_state_that_could_not_be_undone_is_not_offered(provider):
    assert Capability.LIFECYCLE not in provider.capabilities
    assert not hasattr(provider, "disable")
    with pytest.raises(OperationUnsupported):
        provider.cipher(KeyHandle("Ed25519", "1"))


def test_lists_longer_than_a_page(place, monkeypatch):
    monkeypatch.setattr("keys.providers.kmip.provider.PAGE", 2)
    provider = place.make()
    made = {provider.generate(AES).opaque for _ in range(5)}
    listed = [remote.opaque for remote in provider.list_keys()]
    assert made <= set(listed)
    assert len(listed) == len(set(listed))
    provider._server.close()


def test_eight_threads_at_once(provider, key):
    cipher = provider.cipher(key)

    def work(number: int) -> None:
        for turn in range(5):
            text = f"{number}/{turn}".encode()
            assert cipher.decrypt(cipher.encrypt(text, text), text) == text

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert 1 <= len(provider._server._idle) <= 8


def decrypts_in_a_fork(provider: KmipProvider, key: KeyHandle, sealed: bytes) -> None:
    assert provider._server._idle == []
    assert provider.cipher(key).decrypt(sealed, b"") == b"kept"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_connects_anew_and_leaves_ours_alone(provider, key):
    sealed = provider.cipher(key).encrypt(b"kept", b"")
    (ours,) = provider._server._idle
    fork = multiprocessing.get_context("fork").Process(target=decrypts_in_a_fork, args=(provider, key, sealed))
    fork.start()
    fork.join(60)
    assert fork.exitcode == 0
    assert provider.cipher(key).decrypt(sealed, b"") == b"kept"
    assert provider._server._idle == [ours]


class TimeIsUp(Exception):
    """As Celery's soft time limit: raised from a signal, in the middle of anything."""


def test_a_call_broken_off_leaves_no_answer_behind(provider, key, monkeypatch):
    cipher = provider.cipher(key)
    first, second = cipher.encrypt(b"first", b""), cipher.encrypt(b"second", b"")
    (client,) = provider._server._idle

    def interrupted() -> None:
        raise TimeIsUp

    monkeypatch.setattr(client.proxy, "_receive_message", interrupted)
    with pytest.raises(TimeIsUp):
        cipher.decrypt(first, b"")
    assert cipher.decrypt(second, b"") == b"second"
    assert client not in provider._server._idle


@pytest.fixture
def own_server(tmp_path: Path) -> tuple[Path, dict[str, object]]:
    """Certificates and settings for a server that may be stopped."""
    ca = certificate("ca", tmp_path)
    certificate("server", tmp_path, ca, server=True)
    certificate("portal", tmp_path, ca)
    files = {"certificate": "portal.pem", "key": "portal.key", "ca": "ca.pem"}
    return tmp_path, {"port": reserved_port(), **{name: str(tmp_path / file) for name, file in files.items()}}


@pytest.mark.parametrize("called_meanwhile", [True, False])
def test_a_restarted_server_is_met_again(place, own_server, called_meanwhile):
    folder, values = own_server
    provider = place.make(**values)
    with server(folder, values["port"]):
        key = KeyHandle(AES, provider.generate(AES).opaque)
        sealed = provider.cipher(key).encrypt(b"kept", b"")
    if called_meanwhile:
        with pytest.raises(ProviderUnavailable) as caught:
            provider.cipher(key).decrypt(sealed, b"")
        assert caught.value.code == "provider_unavailable"
    with server(folder, values["port"]):
        assert provider.cipher(key).decrypt(sealed, b"") == b"kept"
    provider._server.close()


def test_a_server_that_dies_in_a_call(place, own_server, monkeypatch):
    folder, values = own_server
    provider = place.make(**values)
    with server(folder, values["port"]) as process:
        key = KeyHandle(AES, provider.generate(AES).opaque)
        (client,) = provider._server._idle
        send = client.proxy._send_message

        def send_and_die(message: object) -> None:
            process.kill()
            process.wait()
            send(message)

        monkeypatch.setattr(client.proxy, "_send_message", send_and_die)
        with pytest.raises(ProviderUnavailable) as caught:
            provider.cipher(key).encrypt(b"text", b"")
    assert caught.value.code == "provider_unavailable"
    assert provider._server._idle == []


def test_another_server_under_the_same_address_is_not_trusted(place, tmp_path):
    """Its certificate comes from a CA of its own: nothing is sent to it."""
    certificate("ca", tmp_path)
    with pytest.raises(ProviderUnavailable) as caught:
        place.make(ca=str(tmp_path / "ca.pem")).check()
    assert caught.value.code == "provider_unavailable"
    with pytest.raises(ProviderUnavailable) as caught:  # the certificate names 127.0.0.1 only
        place.make(host="localhost").check()
    assert caught.value.code == "provider_unavailable"


@pytest.mark.parametrize("ahead", [timedelta(days=2), timedelta(days=-2)])
def test_a_clock_that_is_wrong_is_named_as_a_cause(place, tmp_path, ahead):
    ca = certificate("ca", tmp_path)
    certificate("server", tmp_path, ca, server=True, ahead=ahead)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            with suppress(OSError), listening.accept()[0] as plain:
                context.wrap_socket(plain, server_side=True).close()

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ProviderUnavailable) as caught:
            place.make(port=listening.getsockname()[1], ca=str(tmp_path / "ca.pem")).check()
        thread.join(60)
    assert "clock of this machine" in caught.value.hint


def test_files_that_are_not_there_are_named_as_such(place, tmp_path):
    for name in ("certificate", "key", "ca"):
        with pytest.raises(CredentialsRefused) as caught:
            place.make(**{name: str(tmp_path / "none.pem")}).check()
        assert caught.value.hint


@pytest.mark.parametrize("reason", list(enums.ResultReason))
def test_every_reason_a_server_may_give_is_a_portal_error(reason):
    assert isinstance(of_reason(reason), PortalError)


def test_an_old_protocol_is_refused(provider):
    assert provider._server._context().minimum_version is ssl.TLSVersion.TLSv1_2
