"""The stream form: constant memory, and every way to tamper with a file."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.crypto.errors import CryptoError, DecryptFailed, LimitExceeded, MalformedEnvelope, UnsupportedAlgorithm
from keys.crypto.secret import SecretBytes
from keys.crypto.stream import CHUNK_SIZE, HEADER_SIZE, decrypt_stream, encrypt_stream

KEY = SecretBytes(bytes(range(32)))
SIZE = 16
ALGORITHMS = ["AES-256-GCM", "ChaCha20-Poly1305", "XChaCha20-Poly1305", "AES-256-GCM-SIV"]


class Dribble(io.BytesIO):
    """A source that returns less than asked, as pipes and sockets do."""

    def read(self, size=-1, /):
        return super().read(min(size, 7))


def seal(data, aad=b"", **options):
    return list(encrypt_stream(KEY, io.BytesIO(data), aad, **{"chunk_size": SIZE, **options}))


def unseal(parts, aad=b"", key=KEY):
    return b"".join(decrypt_stream(key, io.BytesIO(b"".join(parts)), aad))


@given(st.binary(max_size=100), st.binary(max_size=10), st.sampled_from(ALGORITHMS), st.integers(16, 40))
def test_round_trip(data, aad, algorithm, size):
    parts = seal(data, aad, algorithm=algorithm, chunk_size=size)
    assert len(parts) == 1 + max(1, -(-len(data) // size))
    assert unseal(parts, aad) == data
    assert b"".join(decrypt_stream(KEY, Dribble(b"".join(parts)), aad)) == data
    with pytest.raises(DecryptFailed):
        unseal(parts, aad + b"x")


def test_default_chunks_stay_small():
    parts = list(encrypt_stream(KEY, io.BytesIO(bytes(3 * CHUNK_SIZE + 1))))
    assert [len(part) for part in parts] == [HEADER_SIZE] + [CHUNK_SIZE + 16] * 3 + [17]
    assert max(map(len, decrypt_stream(KEY, io.BytesIO(b"".join(parts))))) == CHUNK_SIZE


@pytest.mark.parametrize("length", [0, 1, SIZE, 3 * SIZE, 3 * SIZE + 5])
def test_every_truncation_is_detected(length):
    whole = b"".join(seal(bytes(length)))
    for size in range(len(whole)):
        with pytest.raises(DecryptFailed):
            unseal([whole[:size]])


def test_reordering_duplication_deletion_extension():
    header, a, b, c = parts = seal(bytes(range(3 * SIZE)))
    other = seal(bytes(range(3 * SIZE)))
    bad = [
        [header, b, a, c],
        [header, a, a, b, c],
        [header, a, c],
        [header, b, c],
        [header, a, b, c, c],
        [header, a, b],
        [header, c],
        [header],
        [header, a, b, c, b"x"],
        [*parts, *parts],
        [header, a, other[2], c],
        [other[0], a, b, c],
        [header, a, b, c, b"", bytes(16)],
    ]
    assert unseal(parts) == bytes(range(3 * SIZE))
    for order in bad:
        with pytest.raises(DecryptFailed):
            unseal(order)


@given(st.integers(0, 8 * (HEADER_SIZE + 2 * (SIZE + 16)) - 1))
def test_any_bit_flip_is_detected(bit):
    whole = bytearray(b"".join(seal(bytes(2 * SIZE))))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises((DecryptFailed, MalformedEnvelope)):
        unseal([bytes(whole)])


def test_an_empty_last_chunk_after_others_is_refused(monkeypatch):
    """A writer of the same format that ends a full file with an empty chunk would make two files of one plaintext."""
    from keys.crypto import stream

    def padded(source, size):
        data = source.read()
        yield data, bytes(4) + b"\x00", False
        yield b"", (1).to_bytes(4) + b"\x01", True

    with monkeypatch.context() as patch:
        patch.setattr(stream, "_chunks", padded)
        parts = seal(bytes(SIZE))
    with pytest.raises(DecryptFailed):
        unseal(parts)


def test_wrong_key_is_refused_by_the_commitment():
    with pytest.raises(DecryptFailed):
        unseal(seal(b"data"), key=SecretBytes(bytes(32)))


@given(st.binary(max_size=200))
def test_noise_raises_only_errors_of_ours(noise):
    with pytest.raises(CryptoError):
        unseal([noise])


def test_refusals():
    for size in (0, 15, 2**24 + 1):
        with pytest.raises(LimitExceeded):
            seal(b"", chunk_size=size)
    for algorithm in ("AES-256-CBC-HMAC-SHA256", "AES-256-KW", "RSA-2048-OAEP-SHA256"):
        with pytest.raises(UnsupportedAlgorithm):
            seal(b"", algorithm=algorithm)
    with pytest.raises(MalformedEnvelope):
        unseal([b"PK\x03\x04" + bytes(100)])
