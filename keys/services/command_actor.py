"""Who acts when a command is run: the owner of an API token, exactly as over HTTP."""

import os

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_token
from keyvault_portal.errors import NotAuthenticated

VARIABLE = "KEYVAULT_TOKEN"


def command_actor() -> Actor:
    """The actor behind the token in the environment, for what is on a command line is seen by all.

    Raises NotAuthenticated.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        raise NotAuthenticated(f"Put an API token into the environment variable {VARIABLE}.")
    return actor_for_token(text, None)
