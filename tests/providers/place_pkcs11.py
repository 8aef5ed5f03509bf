"""SoftHSM2: two tokens in a folder of their own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.test import override_settings

from keys.providers.base import KeyHandle
from keys.providers.pkcs11.provider import Pkcs11Provider
from tests.providers.place import Place

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
TOKEN, PIN = "portal", "739154"


def initialise(label: str, pin: str) -> None:
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "90281734"],
        check=True,
        capture_output=True,
    )


_BESIDE = """
import sys, pkcs11
from pkcs11 import Attribute, ObjectClass
token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
with token.open(rw=True, user_pin=sys.argv[3]) as session:
    kind = {"secret": ObjectClass.SECRET_KEY, "private": ObjectClass.PRIVATE_KEY}[sys.argv[4]]
    key = next(session.get_objects({Attribute.CLASS: kind, Attribute.ID: bytes.fromhex(sys.argv[5])}))
    key[Attribute.WRAP] = True
    key[Attribute.LABEL] = "keyvault-portal AES-256-GCM (of the web shop)"
"""


def _let_it_wrap(opaque: str) -> None:
    """Another program on the token allows one more use of the key, and writes another label."""
    subprocess.run([sys.executable, "-c", _BESIDE, MODULE, TOKEN, PIN, *opaque.split(":")], check=True)


@contextmanager
def running() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="keyvault-softhsm-") as folder:
        tokens = Path(folder) / "tokens"
        tokens.mkdir()
        conf = Path(folder) / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        right, wrong = Path(folder) / "pin", Path(folder) / "wrong-pin"
        right.write_text(PIN)
        wrong.write_text("000000")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        initialise(TOKEN, PIN)

        def make(**changed: object) -> Pkcs11Provider:
            values = {"module": MODULE, "token": TOKEN, "pin_source": f"file:{right}", "timeout": 60} | changed
            with override_settings(PKCS11_MODULES=[MODULE]):
                return Pkcs11Provider(**values)  # type: ignore[arg-type]

        other = make()
        yield Place(
            "pkcs11",
            make(),
            make,
            bad_credentials={"pin_source": f"file:{wrong}"},
            dead_address={"token": "no such token"},
            delete_behind_our_back=lambda opaque: other.destroy(KeyHandle("", opaque)),
            change_metadata=_let_it_wrap,
            secrets=[PIN, "000000"],
        )
        del os.environ["SOFTHSM2_CONF"]
