"""What happens outside the pages in the story of a recovery, each in a process of its own that has nothing in its caches; prints JSON.

`encrypt KEY TEXT`, `decrypt KEY CIPHERTEXT`, and `lose KEY`: the place where a master key was is gone, with the material in it.
"""

import json
import sys
from uuid import UUID

import django

django.setup()

from keys.models import KeyVersion  # noqa: E402
from keys.services import operations  # noqa: E402
from keyvault_portal.accounts.actors import system_actor  # noqa: E402
from keyvault_portal.accounts.permissions import Permission  # noqa: E402
from keyvault_portal.errors import PortalError  # noqa: E402

SOMEBODY = system_actor("an application", *Permission)


def main(act: str, *arguments: str) -> object:
    if act == "encrypt":
        return operations.encrypt(SOMEBODY, UUID(arguments[0]), arguments[1].encode()).ciphertext
    if act == "lose":
        return KeyVersion.objects.filter(key_id=arguments[0]).update(wrapped_material=None, handle="gone")
    try:
        return operations.decrypt(SOMEBODY, UUID(arguments[0]), arguments[1]).plaintext.decode()
    except PortalError as error:
        return {"refused": error.code}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])) + "\n")
