"""The portal's settings with the two fakes' kinds in the place of the real ones."""

from keys.providers import registry
from keyvault_portal.settings import *  # noqa: F403

for kind, name in (("gcp_kms", "Gcp"), ("azure_kv", "Azure")):
    registry.KINDS[kind] = registry.KINDS[kind]._replace(path=f"tests.browser.fake_kinds.{name}")
