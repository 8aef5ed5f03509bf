"""The holder: what opens it, what does not, and that sealing leaves nothing."""

import pytest
from shamir_mnemonic.share import Share

from keys.crypto.receiving import seal as sealed
from keys.crypto.secret import SecretBytes
from keys.keyholder.holder import Holder, HolderError, SharedSeal, check_value, split_root
from tests.mistyped import mistyped

CONTEXT = b'{"seal": "1"}'


def root() -> SecretBytes:
    return SecretBytes(bytes(range(32)))


@pytest.fixture
def shared():
    wrapped, shares = split_root(root(), CONTEXT, 3, 5)
    return SharedSeal(wrapped, CONTEXT, Share.from_mnemonic(shares[0]).identifier, 3), shares


def offer(holder: Holder, nonce: str, words: str, seal: SharedSeal, bound: bytes = b"{}", before=None) -> int:
    """As a browser does it: the words sealed to the key of the attempt."""
    ciphertext = sealed(bytes.fromhex(holder.public_key or "00" * 31 + "09"), words.encode(), b"{}")
    return holder.offer(nonce, ciphertext, bound, seal, before or (lambda numbers: None))


def code(call, *arguments) -> str:
    with pytest.raises(HolderError) as caught:
        call(*arguments)
    return caught.value.code


def test_it_wraps_only_while_unsealed():
    holder = Holder()
    assert code(holder.wrap, b"secret", CONTEXT) == "sealed"
    holder.unseal(root())
    wrapped = holder.wrap(b"secret", CONTEXT)
    assert holder.unwrap(wrapped, CONTEXT) == b"secret"
    assert code(holder.unwrap, wrapped, b"{}") == "decrypt_failed"
    assert code(holder.unwrap, wrapped[:-1], CONTEXT) == "decrypt_failed"
    holder.seal()
    assert code(holder.unwrap, wrapped, CONTEXT) == "sealed"
    assert holder.epoch == 1


def test_another_root_is_refused():
    holder = Holder(check_value(root()))
    assert code(holder.unseal, SecretBytes(bytes(32))) == "wrong_root"
    assert code(holder.unseal, SecretBytes(bytes(16))) == "wrong_root"
    assert holder.sealed


def test_any_quorum_opens_it(shared):
    seal, shares = shared
    for chosen in ((0, 1, 2), (4, 2, 0), (1, 3, 4)):
        holder = Holder(check_value(root()))
        nonce = holder.begin()
        missing = [offer(holder, nonce, shares[index], seal) for index in chosen]
        assert missing == [2, 1, 0]
        assert not holder.sealed
        assert holder.given() == []


def test_what_is_no_share_of_this_seal_is_named(shared):
    seal, shares = shared
    _, others = split_root(root(), CONTEXT, 3, 5)
    holder = Holder(check_value(root()))
    nonce = holder.begin()
    assert code(offer, holder, "another nonce", shares[0], seal) == "no_attempt"
    assert code(offer, holder, nonce, mistyped(shares[0]), seal) == "wrong_share"
    assert code(offer, holder, nonce, "", seal) == "wrong_share"
    assert code(offer, holder, nonce, others[0], seal) == "wrong_share"
    offer(holder, nonce, shares[0], seal)
    assert code(offer, holder, nonce, shares[0], seal) == "given"
    assert holder.given() == [1]


def test_a_share_sealed_for_another_attempt_or_context_opens_nowhere(shared):
    seal, shares = shared
    holder = Holder(check_value(root()))
    first = holder.begin()
    before = sealed(bytes.fromhex(holder.public_key), shares[0].encode(), b"{}")
    assert code(offer, holder, first, shares[0], seal, b'{"ceremony": "another"}') == "sealed_wrongly"
    nonce = holder.begin()
    for ciphertext in (before, before[:-1], b"", b"x" * 5000, shares[0].encode()):
        assert code(holder.offer, nonce, ciphertext, b"{}", seal, print) == "sealed_wrongly"
    assert holder.given() == []
    assert offer(holder, nonce, shares[0], seal) == 2


def test_a_new_attempt_forgets_the_shares_before(shared):
    seal, shares = shared
    holder = Holder(check_value(root()))
    offer(holder, holder.begin(), shares[0], seal)
    nonce = holder.begin()
    assert holder.given() == []
    assert offer(holder, nonce, shares[1], seal) == 2


def test_shares_that_open_something_else_end_the_attempt(shared):
    seal, shares = shared
    damaged = SharedSeal(seal.wrapped[:-1] + bytes([seal.wrapped[-1] ^ 1]), seal.context, seal.identifier, 3)
    holder = Holder(check_value(root()))
    nonce = holder.begin()
    for share in shares[:2]:
        offer(holder, nonce, share, damaged)
    assert code(offer, holder, nonce, shares[2], damaged) == "wrong_root"
    assert holder.sealed
    assert code(offer, holder, nonce, shares[0], damaged) == "no_attempt"


def test_nothing_opens_off_the_record(shared):
    seal, shares = shared
    holder, told = Holder(check_value(root())), []

    def refused(numbers: list[int]) -> None:
        told.append((numbers, holder.sealed))
        raise HolderError("not_recorded", "no database")

    nonce = holder.begin()
    assert [offer(holder, nonce, shares[index], seal, before=refused) for index in (4, 0)] == [2, 1]
    assert told == []
    assert code(lambda: offer(holder, nonce, shares[2], seal, before=refused)) == "not_recorded"
    assert told == [([1, 3, 5], True)]
    assert (holder.sealed, holder.nonce, holder.given()) == (True, "", [])
    other = Holder(check_value(SecretBytes(bytes(32))))
    nonce = other.begin()
    for share in shares[:2]:
        offer(other, nonce, share, seal, before=refused)
    assert code(lambda: offer(other, nonce, shares[2], seal, before=refused)) == "wrong_root"
    assert len(told) == 1, "what is refused was not opened"


def test_nothing_begins_while_it_is_open():
    holder = Holder()
    holder.unseal(root())
    assert code(holder.begin) == "unsealed"


def test_a_share_says_nothing_of_the_root(shared):
    """Two shares of three are as good as none: SLIP-39's digest finds them wrong together with a guessed third."""
    seal, shares = shared
    assert all(bytes(range(32)).hex() not in share for share in shares)
    assert bytes(range(32)) not in seal.wrapped
