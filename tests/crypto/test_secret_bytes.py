"""SecretBytes leaks through none of the usual doors."""

import copy
import dataclasses
import io
import json
import logging
import pickle
import traceback

import orjson
import pytest

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes, reveal

SECRET = b"correct horse battery staple...."


@dataclasses.dataclass
class Holder:
    value: SecretBytes


def test_no_text_form_shows_it():
    secret = SecretBytes(SECRET)
    log = io.StringIO()
    logger = logging.Logger("leak")
    logger.addHandler(logging.StreamHandler(log))
    logger.error("%s %r %s", secret, secret, {"key": secret})
    try:
        raise ValueError(secret)
    except ValueError as error:
        trace = "".join(traceback.format_exception(error))
    texts = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>80}",
        f"{secret:>80}",
        "%s" % secret,  # noqa: UP031
        repr(Holder(secret)),
        repr([secret]),
        log.getvalue(),
        trace,
    ]
    for text in texts:
        assert "horse" not in text
        assert SECRET.hex() not in text
        assert "redacted" in text


@pytest.mark.parametrize(
    "leak",
    [
        copy.copy,
        copy.deepcopy,
        json.dumps,
        orjson.dumps,
        bytes,
        list,
        memoryview,
        hash,
        lambda s: dataclasses.asdict(Holder(s)),
        *[lambda s, n=n: pickle.dumps(s, protocol=n) for n in range(pickle.HIGHEST_PROTOCOL + 1)],
    ],
)
def test_refuses_copies_and_serialisation(leak):
    with pytest.raises(TypeError):
        leak(SecretBytes(SECRET))


def test_reveals_only_on_request():
    assert SecretBytes(SECRET).reveal() == SECRET
    assert reveal(SecretBytes(SECRET)) == reveal(SECRET) == SECRET


def test_equality():
    secret = SecretBytes(SECRET)
    assert secret == SecretBytes(SECRET)
    assert secret == SECRET
    assert secret != SecretBytes(SECRET[:-1])
    assert secret != "text"


def test_wiping_overwrites_the_buffer():
    secret = SecretBytes(SECRET)
    buffer = secret._value
    with secret:
        assert len(secret) == 32
    assert buffer == bytes(32)
    assert not secret
    with pytest.raises(ValueError, match="wiped"):
        secret.reveal()


def test_takes_its_own_copy():
    source = bytearray(SECRET)
    secret = SecretBytes(source)
    other = SecretBytes(secret)
    source[:] = bytes(32)
    secret.wipe()
    assert other == SECRET


def test_prepared_keys_refuse_pickle_and_show_only_their_algorithm():
    key = keymaterial.prepare("HMAC-SHA256", SecretBytes(SECRET))
    assert repr(key) == "PreparedKey(HMAC-SHA256)"
    with pytest.raises(TypeError):
        pickle.dumps(key)
