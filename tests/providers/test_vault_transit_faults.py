"""The transit engine when something is wrong: with the line, the address, the certificate, or the seal."""

import socket
from pathlib import Path

import pytest
import requests

from keys.hosts import HostRefused
from keys.providers.base import (
    CredentialsRefused,
    KeyHandle,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
)
from keys.providers.vault_transit import VaultTransitProvider
from keyvault_portal.errors import ProviderUnavailable
from tests.ports import reserved_port
from tests.providers import bao
from tests.providers.place import Place
from tests.providers.place_vault_transit import LOOPBACK
from tests.providers.troubled import answering

AES = "AES-256-GCM"


@pytest.fixture
def place(places) -> Place:
    return places["vault_transit"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, ProviderThrottled),
        (500, ProviderUnavailable),
        (502, ProviderUnavailable),
        (503, ProviderUnavailable),
        (400, ProviderFault),
        (405, OperationUnsupported),
        (418, ProviderUnavailable),
    ],
)
def test_trouble_on_the_line_has_its_name(status, error):
    words = "unsupported operation" if status == 405 else "secret-of-the-message"
    with answering(status, {"errors": [words]}) as server:
        provider = VaultTransitProvider(address=server.address, token="s.token", rule=LOOPBACK)
        with pytest.raises(error) as caught:
            provider.check()
        assert type(caught.value) is error
        assert "secret-of-the-message" not in f"{caught.value.detail}{caught.value.hint}{caught.value!r}"
        assert len(server.requests) == 1


def test_an_answer_from_another_version_is_none():
    """Older servers make data keys under the latest version, whatever was asked for."""
    with answering(
        200, {"data": {"ciphertext": "vault:v2:AAAA", "signature": "vault:v2:AAAA", "plaintext": "AAAA"}}
    ) as server:
        provider = VaultTransitProvider(address=server.address, token="s.token", rule=LOOPBACK)
        handle = KeyHandle(AES, "name:v1")
        for use in (lambda: provider.cipher(handle).encrypt(b"x"), lambda: provider.generate_data_key(handle, b"")):
            with pytest.raises(ProviderFault):
                use()


def test_a_redirect_is_not_followed_with_the_token():
    with answering() as elsewhere, answering(307) as server:
        server.headers = {"Location": f"{elsewhere.address}/v1/auth/token/lookup-self"}
        with pytest.raises(ProviderUnavailable):
            VaultTransitProvider(address=server.address, token="s.token", rule=LOOPBACK).check()
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254", "http://[fe80::1]:8200", "https://93.184.215.14", "unix:///run/x", "http://u:p@127.0.0.1"]
)  # fmt: skip
def test_addresses_that_no_provider_may_have(address):
    with pytest.raises(HostRefused):
        VaultTransitProvider(address=address, token="s.token", rule=LOOPBACK)


def test_a_file_that_holds_no_token_is_not_sent(tmp_path):
    (tmp_path / "other").write_text("password-of-something-else")
    with answering() as server:
        provider = VaultTransitProvider(address=server.address, token_file=str(tmp_path / "other"), rule=LOOPBACK)
        with pytest.raises(CredentialsRefused) as caught:
            provider.check()
        assert server.requests == []
    assert "password-of-something-else" not in str(caught.value)


def test_an_authority_that_cannot_be_read_is_told(tmp_path):
    provider = VaultTransitProvider(
        address="https://127.0.0.1:1", token="s.t", ca_file=str(tmp_path / "none"), rule=LOOPBACK
    )
    with pytest.raises(ProviderUnavailable):
        provider.check()


def test_a_name_that_changes_its_meaning_is_caught_when_connecting(place, monkeypatch):
    address = place.provider._connection.address
    provider = place.make(address=address.replace("127.0.0.1", "localhost"))
    provider._connection._signed_in()  # the first look at the name is past
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("169.254.169.254", *rest, **more))
    with pytest.raises(HostRefused):
        provider.check()


# Servers of their own


def test_tls_is_checked_against_the_given_authority(tmp_path):
    port = reserved_port()
    address = f"https://127.0.0.1:{port}"
    arguments = ["-dev-tls", f"-dev-tls-cert-dir={tmp_path}", "-dev-no-store-token", f"-dev-root-token-id={bao.ROOT_TOKEN}",
                 f"-dev-listen-address=127.0.0.1:{port}"]  # fmt: skip
    authority = tmp_path / "vault-ca.pem"
    with bao.process(arguments, address, tmp_path / "bao.log", authority):
        settings = {"address": address, "token": bao.ROOT_TOKEN, "rule": LOOPBACK}
        assert VaultTransitProvider(**settings, ca_file=str(authority)).check().identity == "token"
        with pytest.raises(ProviderUnavailable):
            VaultTransitProvider(**settings).check()


def _configuration(folder: Path, port: int) -> Path:
    file = folder / "bao.hcl"
    file.write_text(f"""
        storage "raft" {{ path = "{folder}/raft"  node_id = "one" }}
        listener "tcp" {{ address = "127.0.0.1:{port}"  tls_disable = true }}
        api_addr = "http://127.0.0.1:{port}"
        cluster_addr = "http://127.0.0.1:{reserved_port()}"
    """)
    (folder / "raft").mkdir()
    return file


def test_a_sealed_server_is_unavailable_until_it_is_unsealed(tmp_path):
    """Raft storage with two shares of three: initialise, unseal, use, restart, sealed, unseal, read what was sealed before."""
    port = reserved_port()
    address, arguments = f"http://127.0.0.1:{port}", [f"-config={_configuration(tmp_path, port)}"]

    def unseal() -> None:
        for share in shares[:2]:
            requests.put(f"{address}/v1/sys/unseal", json={"key": share}, timeout=60).raise_for_status()
        bao.wait_active(address)

    with bao.process(arguments, address, tmp_path / "bao.log"):
        unready = VaultTransitProvider(address=address, token="s.none", rule=LOOPBACK)
        with pytest.raises(ProviderUnavailable):
            unready.check()
        answer = requests.put(
            f"{address}/v1/sys/init", json={"secret_shares": 3, "secret_threshold": 2}, timeout=60
        ).json()
        shares, root = answer["keys_base64"], answer["root_token"]
        unseal()
        bao.call(address, "post", "sys/mounts/transit", {"type": "transit"}, token=root)
        provider = VaultTransitProvider(address=address, token=root, rule=LOOPBACK)
        cipher = provider.cipher(KeyHandle(AES, provider.generate(AES).opaque))
        sealed = cipher.encrypt(b"kept over the restart", b"aad")

    with pytest.raises(ProviderUnavailable):
        cipher.decrypt(sealed, b"aad")
    with bao.process(arguments, address, tmp_path / "bao.log"):
        with pytest.raises(ProviderUnavailable, match="sealed"):
            cipher.decrypt(sealed, b"aad")
        unseal()
        assert cipher.decrypt(sealed, b"aad") == b"kept over the restart"
