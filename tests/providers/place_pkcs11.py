"""SoftHSM2: two tokens in a folder of their own."""

import os
import subprocess
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
            values = {"module": MODULE, "token": TOKEN, "pin_source": f"file:{right}", "timeout": 30} | changed
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
            secrets=[PIN, "000000"],
        )
        del os.environ["SOFTHSM2_CONF"]
