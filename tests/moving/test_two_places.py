"""The payload that two places can open: its form, what is read from it, and who takes a copy in which state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.models import Key, KeyVersion
from keys.services import two_places
from keys.services.two_places import MAGIC, TwoPlaces, copies, join, reads, require_both, split
from keys.states import VersionState
from keyvault_portal.errors import DecryptRefused, LimitExceeded, ProviderUnavailable

WHOLE = st.binary(min_size=1, max_size=200)


@given(WHOLE, WHOLE)
def test_two_copies_come_apart_as_they_were_put_together(first, second):
    assert split(join(first, second)) == (first, second)


@given(st.binary(max_size=60))
def test_whatever_is_no_pair_is_left_whole(payload):
    first, second = split(MAGIC + payload)
    assert second is None or join(first, second) == MAGIC + payload
    if not payload.startswith(MAGIC):
        assert split(payload) == (payload, None)


@pytest.mark.parametrize("payload", [MAGIC, MAGIC + b"\x00\x00\x00\x05abcde", MAGIC + b"\xff\xff\xff\xffab", b""])
def test_what_only_looks_like_a_pair_is_left_whole(payload):
    assert split(payload) == (payload, None)


class Cipher:
    """Seals by writing its name in front; refuses what it did not seal."""

    def __init__(self, name, trouble=None):
        self.name, self.trouble = name, trouble

    def encrypt(self, plaintext, aad=b""):
        if self.trouble:
            raise self.trouble
        return self.name + plaintext + aad

    def decrypt(self, payload, aad=b""):
        if self.trouble:
            raise self.trouble
        if not payload.startswith(self.name) or not payload.endswith(aad):
            raise DecryptRefused
        return payload[len(self.name) : len(payload) - len(aad)]


def pair(new="active", old="decrypt_only"):
    before = KeyVersion(pk=1, key=Key(title="K"), key_version=1, status=old, provider="there")
    return KeyVersion(pk=2, status=new, moved_from=before)


def bound(monkeypatch, version, new=None, old=None):
    monkeypatch.setattr(two_places.budget, "spend", lambda version, uses=1: None)
    return TwoPlaces(lambda: new or Cipher(b"N"), version, lambda version: old or Cipher(b"O"))


def test_either_place_opens_what_both_sealed_and_neither_another_context(monkeypatch):
    sealed = bound(monkeypatch, pair()).encrypt(b"text", b"context")
    assert split(sealed) == (b"Ntextcontext", b"Otextcontext")
    down = Cipher(b"N", ProviderUnavailable())
    assert bound(monkeypatch, pair(), new=down).decrypt(sealed, b"context") == b"text"
    assert bound(monkeypatch, pair(), old=Cipher(b"O", ProviderUnavailable())).decrypt(sealed, b"context") == b"text"
    with pytest.raises(DecryptRefused):
        bound(monkeypatch, pair()).decrypt(sealed, b"another")
    with pytest.raises(ProviderUnavailable):
        bound(monkeypatch, pair(), new=down, old=Cipher(b"O", DecryptRefused())).decrypt(sealed, b"context")
    with pytest.raises(ProviderUnavailable):
        bound(monkeypatch, pair(), new=down).decrypt(b"Ntextcontext", b"context")


@pytest.mark.parametrize("trouble", [ProviderUnavailable(), LimitExceeded()])
def test_a_caller_is_served_without_the_copy_and_a_walk_is_not(monkeypatch, trouble):
    version = pair()
    sealed = bound(monkeypatch, version, old=Cipher(b"O", trouble)).encrypt(b"text")
    assert sealed == b"Ntext"
    with pytest.raises(ProviderUnavailable, match="did not take its copy"):
        require_both(version, sealed)
    require_both(version, join(b"a", b"b"))
    require_both(pair(old="destroyed"), sealed)


def test_nothing_is_sealed_at_the_old_place_alone(monkeypatch):
    with pytest.raises(ProviderUnavailable):
        bound(monkeypatch, pair(), new=Cipher(b"N", ProviderUnavailable())).encrypt(b"text")


@pytest.mark.parametrize("old", list(VersionState))
@pytest.mark.parametrize("new", list(VersionState))
def test_who_takes_and_who_opens_a_copy_follows_from_the_states(new, old):
    version = pair(new.value, old.value)
    assert (copies(version) is not None) == (new is VersionState.ACTIVE and old is VersionState.DECRYPT_ONLY)
    opening = {VersionState.ACTIVE, VersionState.DECRYPT_ONLY, VersionState.COMPROMISED}
    assert (reads(version) is not None) == (old in opening)
    assert copies(KeyVersion(status=new.value)) is reads(KeyVersion(status=new.value)) is None
