"""The kinds whose counterparts are contract fakes, as a portal for the walk registers them: what no form offers comes from outside.

A person registers Google's and Microsoft's own hosts only; here the fakes' loopback address is allowed, and their certificate known.
"""

import os
from typing import Any

from keys.providers.azure_kv import AzureKeyVaultProvider
from keys.providers.gcp_kms import GcpKmsProvider


class Gcp(GcpKmsProvider):
    def __init__(self, alias: str, **settings: Any) -> None:
        super().__init__(alias, hosts=("127.0.0.1",), **settings)


class Azure(AzureKeyVaultProvider):
    def __init__(self, alias: str, **settings: Any) -> None:
        super().__init__(
            alias, hosts=("127.0.0.1",), ca_file=os.environ["WALK_AZURE_CA"], authority=settings["vault_url"],
            verify_challenge=False, **settings,
        )  # fmt: skip
