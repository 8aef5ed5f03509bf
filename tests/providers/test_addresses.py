"""No address that a person types leads the portal's credentials anywhere but to the vendor."""

import pytest

from keys.providers.addresses import service_address
from keyvault_portal.errors import ValidationFailed

AZURE = ("*.vault.azure.net", "*.managedhsm.azure.net")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://shop.vault.azure.net", "https://shop.vault.azure.net"),
        (" https://SHOP.Vault.Azure.net/ ", "https://shop.vault.azure.net"),
        ("https://shop.managedhsm.azure.net:443", "https://shop.managedhsm.azure.net:443"),
    ],
)
def test_the_vendors_hosts_are_taken(text, address):
    assert service_address(text, AZURE, field="vault_url") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop.vault.azure.net",
        "http://shop.vault.azure.net",
        "https://vault.azure.net",
        "https://.vault.azure.net",
        "https://shop.vault.azure.net.evil.example",
        "https://evilvault.azure.net",
        "https://evil.example/#.vault.azure.net",
        "https://evil.example?.vault.azure.net",
        "https://shop.vault.azure.net@evil.example",
        "https://user:pass@shop.vault.azure.net",
        "https://evil.example\\.vault.azure.net",
        "https://evil.example%2f.vault.azure.net",
        "https://shop.vault.azure.net/keys/other",
        "https://shop.vault.azure.net:99999",
        "https://169.254.169.254",
        "http://127.0.0.1:8200",
        "https://[::1]",
        "https://[::1",
        "file:///etc/passwd",
    ],
)
def test_every_other_address_is_refused(text):
    with pytest.raises(ValidationFailed) as caught:
        service_address(text, AZURE, field="vault_url")
    assert set(caught.value.errors) == {"vault_url"}


def test_plain_http_is_for_loopback_that_the_program_allowed():
    assert service_address("http://127.0.0.1:80", ("127.0.0.1",), field="endpoint") == "http://127.0.0.1:80"
    assert service_address("https://[::1]:9", ("::1",), field="endpoint") == "https://[::1]:9"
    with pytest.raises(ValidationFailed):
        service_address("http://kms.example", ("kms.example",), field="endpoint")
