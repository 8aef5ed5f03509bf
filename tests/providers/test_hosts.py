"""The rule of hosts, before a provider that people give addresses to."""

import socket

import pytest

from keys.hosts import HostRefused, HostRule
from keyvault_portal.errors import ProviderUnavailable, ValidationFailed
from tests.providers.place import Place
from tests.providers.place_aws_kms_ministack import REPLICA
from tests.providers.test_aws_kms import endpoint_of, lonely


@pytest.fixture
def moto(places) -> Place:
    return places["aws_kms"]


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest", "http://[fe80::1]:80", "http://0.0.0.0:80", "http://93.184.215.14", "ftp://127.0.0.1", "127.0.0.1:80",
        "http://user:password@127.0.0.1", "http://127.0.0.1/?x=1", "http://127.0.0.1:99999",
    ],
)  # fmt: skip
def test_addresses_that_no_provider_may_have(address):
    with pytest.raises(HostRefused) as caught:
        lonely(address)
    assert "password" not in caught.value.detail
    with pytest.raises(HostRefused):
        lonely("http://127.0.0.1:1", replica_regions=f"{REPLICA}={address}")


def test_a_region_is_no_way_to_name_a_host():
    for region in ("evil.example/", "eu central", "x@evil.example", "evil.example#"):
        with pytest.raises(ValidationFailed):
            lonely("", region=region).check()


@pytest.mark.parametrize("timeout", ["", "soon", "-1", "nan"])
def test_a_timeout_is_a_number_of_seconds(timeout):
    with pytest.raises(ValidationFailed):
        lonely("http://127.0.0.1:1", timeout=timeout)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "0.0.0.0", "[::]", "255.255.255.255", "240.0.0.1"]
)  # fmt: skip
def test_no_rule_opens_addresses_of_the_network_itself(host):
    with pytest.raises(HostRefused):
        lonely(f"http://{host}", rule=HostRule(("0.0.0.0/0", "::/0", host.strip("[]"))))


def test_a_name_that_cannot_be_found_is_no_fault_of_the_settings():
    with pytest.raises(ProviderUnavailable):
        lonely("http://nowhere.invalid").check()


def test_a_name_that_changes_its_meaning_is_caught_when_connecting(moto, monkeypatch):
    provider = moto.make(endpoint=endpoint_of(moto).replace("127.0.0.1", "localhost"))
    provider._connection.client()  # the first look at the name is past
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("169.254.169.254", *rest, **more))
    with pytest.raises(HostRefused):
        provider.check()
