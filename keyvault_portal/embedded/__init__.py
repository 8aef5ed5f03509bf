"""PostgreSQL and Valkey from wheels, for quickstart and tests, when no URL is configured.

Everything lives under one folder (`var/` by default): data, logs, and `embedded.json` (mode 0600) with the ports and
passwords chosen at the first start. Both servers listen on 127.0.0.1 only and ask for a password.
"""

from keyvault_portal.embedded.config import OWNER, Config, EmbeddedError, ensure_config, installation_root, load_config
from keyvault_portal.embedded.services import Services

__all__ = ["OWNER", "Config", "EmbeddedError", "Services", "ensure_config", "installation_root", "load_config"]
