"""Keys per message: the prepared form is HMAC-SHA-512 as everybody else computes it."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.crypto.kdf import MessageKeys


@given(root=st.binary(min_size=1, max_size=128), salts=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_a_prepared_root_derives_what_hmac_does(root, salts):
    keys = MessageKeys(root)
    for salt in salts:
        block = hmac.digest(root, b"message key and commitment" + salt, "sha512")
        assert keys.derive(salt) == (block[:32], block[32:])


def test_a_root_longer_than_a_block_is_refused():
    with pytest.raises(ValueError, match="longer"):
        MessageKeys(bytes(129))
