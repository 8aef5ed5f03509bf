"""A share sealed to a key of its custodian's own: no page, no table and no log ever has its words."""

import base64
import html
import re
from typing import Any

import pysequoia
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.urls import reverse

from ceremonies import offline
from ceremonies.process import sealing
from keys.crypto.hpke import X25519_SUITE
from tests.api.conftest import sign_in
from tests.room.cast import Cast
from tests.room.windows import Window

pytestmark = pytest.mark.django_db(transaction=True)


def bound(cast: Cast, name: str) -> bytes:
    return sealing.context(
        ceremony_id=cast.id, script_hash=cast.now.script_hash, step="hand-out", custodian_id=str(cast.seat(name).pk)
    )


def is_share(cast: Cast, name: str, words: str) -> bool:
    record = cast.now.generation.public_record
    return offline.commitment(words, record.salt) == record.commitments[(cast.seat(name).share_index or 0) - 1]


def codes_of(page: Any) -> list[str]:
    """The long texts that are to be copied from a page."""
    found = re.findall(r"<code[^>]*>([^<]{40,})</code>", html.unescape(page.content.decode()))
    return [re.sub(r"\s", "", code) for code in found]


def test_each_kind_of_key(cast, people):
    cast.deal()
    url = reverse("ceremonies:room-sealed-share", args=[cast.id])

    # An X25519 key.
    hana, mine = sign_in(people["hana"]), x25519.X25519PrivateKey.generate()
    raw = base64.b64encode(mine.public_key().public_bytes_raw()).decode()
    ask: dict[str, Any] = {"step": cast.now.step, "kind": "hpke_x25519", "key": raw}
    for wrong in ("", "not base64!", base64.b64encode(bytes(32)).decode()):
        refused = hana.post(url, ask | {"key": wrong})
        assert refused.status_code == 422, refused.content
    answered = hana.post(url, ask)
    assert answered.status_code == 200
    assert "no-store" in answered["Cache-Control"]
    sealed = base64.b64decode(codes_of(answered)[0])
    words = X25519_SUITE.decrypt(mine, sealed, bound(cast, "hana")).decode()
    assert is_share(cast, "hana", words)
    share = cast.now.generation.shares.get(index=cast.seat("hana").share_index)
    assert (share.state, share.sealed_to[:19]) == ("shown", "hpke_x25519 SHA-256")
    again = hana.post(url, ask)
    assert (again.status_code, "Your share was shown." in again.content.decode()) == (422, True)
    assert Window(hana, cast, "hana").show().status_code == 409
    cast.words["hana"] = words
    cast.confirm("hana")

    # An RSA key.
    igor, big = sign_in(people["igor"]), rsa.generate_private_key(65537, 2048)
    pem = (
        big.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    wrong_page = igor.post(url, {"step": cast.now.step, "kind": "rsa_oaep", "key": "-----BEGIN nonsense"})
    assert wrong_page.status_code == 422
    assert "public key cannot be used" in wrong_page.content.decode()
    assert cast.now.generation.shares.get(index=cast.seat("igor").share_index).state == "dealt"
    page = igor.post(url, {"step": cast.now.step, "kind": "rsa_oaep", "key": pem})
    assert page.status_code == 200
    text, codes = html.unescape(page.content.decode()), codes_of(page)
    sealed = base64.b64decode(codes[0])
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    passing = big.decrypt(sealed[:256], oaep)
    assert codes[1].encode() == bound(cast, "igor")
    words = AESGCM(passing).decrypt(bytes(12), sealed[256:], codes[1].encode()).decode()
    assert is_share(cast, "igor", words)
    assert " ".join(words.split()[4:8]) not in text

    # An OpenPGP certificate.
    jane, tsk = sign_in(people["jane"]), pysequoia.Tsk.generate("Jane <jane@example.org>")
    page = jane.post(url, {"step": cast.now.step, "kind": "openpgp", "key": str(tsk.extract_certificate())})
    assert page.status_code == 200, page.content
    text = html.unescape(page.content.decode())
    message = re.search(r"-----BEGIN PGP MESSAGE-----.*?-----END PGP MESSAGE-----", text, re.S)
    assert message is not None
    words = pysequoia.decrypt(decryptor=tsk.decryptor(), bytes=message[0].encode()).bytes.decode()
    assert is_share(cast, "jane", words)
    position = cast.now.generation.shares.get(index=cast.seat("jane").share_index).positions[0]
    assert f"Word {position}<" in Window(jane, cast, "jane").look()
    cast.words["jane"] = words
    cast.confirm("jane")
    assert cast.now.generation.shares.filter(state="held").count() == 2

    wilma = sign_in(people["wilma"])
    assert wilma.post(url, ask).status_code == 403
