"""Keys entered in parts: full-length components that make the key by exclusive or (ANSI X9.24-1; PCI PIN, 6-2).

All components together make the key; any number short of all says nothing about it, in the sense of Shannon.
"""

import secrets
from collections.abc import Sequence

from keys.crypto.errors import InvalidKey
from keys.crypto.secret import SecretBytes

FEWEST, MOST = 2, 9


def split(material: SecretBytes, count: int) -> list[SecretBytes]:
    """`count` components of the key's length; raises InvalidKey for a count outside 2 to 9."""
    if not FEWEST <= count <= MOST:
        raise InvalidKey(f"a key has from {FEWEST} to {MOST} components")
    drawn = [SecretBytes(secrets.token_bytes(len(material))) for _ in range(count - 1)]
    return [*drawn, combine([material, *drawn])]


def combine(components: Sequence[SecretBytes]) -> SecretBytes:
    """Their exclusive or; raises InvalidKey for fewer than two, unequal lengths, or a result of zeros only."""
    if len(components) < FEWEST or len({len(part) for part in components}) != 1:
        raise InvalidKey("components are at least two and of one length")
    whole = bytearray(len(components[0]))
    for part in components:
        for place, byte in enumerate(part.reveal()):
            whole[place] ^= byte
    if not any(whole):
        raise InvalidKey("the components cancel each other out")
    combined = SecretBytes(whole)
    whole[:] = bytes(len(whole))
    return combined
