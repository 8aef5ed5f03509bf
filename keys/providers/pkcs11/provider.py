"""The provider: the portal's contract over calls into the process that holds the HSM's library."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.conf import settings as portal_settings

from keys.crypto import keymaterial, transport
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation
from keys.crypto.keyforms import spki
from keys.crypto.secret import SecretBytes
from keys.crypto.transport import Method
from keys.providers.base import (
    BoundCipher,
    BoundSigner,
    Capability,
    CredentialsRefused,
    GeneratedKey,
    Health,
    ImportOffer,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
    RemoteKey,
    RemoteState,
    Setting,
    portal_errors,
)
from keys.providers.pkcs11 import wire
from keys.providers.pkcs11.link import Ask, Link
from keys.providers.pkcs11.publickeys import public_key
from keys.providers.pkcs11.shapes import SHAPES
from keys.providers.pkcs11.wire import Refused
from keys.providers.publichalf import verifies
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable, TooLarge

PAGE = 100
OFFERED_BYTES = 3072 // 8  # of the key pair of an offer
_METHODS = {"sha1": Method.RSA_AES_KW_SHA1, "sha256": Method.RSA_AES_KW}
SILENCE = 30.0  # seconds before a token that did not answer is asked again what it can do
_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {"sha1": hashes.SHA1, "sha256": hashes.SHA256}

_WORDS: dict[str, Callable[[], PortalError]] = {
    wire.MISSING: lambda: KeyMissing("The HSM has no key under this identifier."),
    wire.UNUSABLE: lambda: KeyUnusable("The HSM does not allow this use of the key: it is disabled there."),
    wire.UNSUPPORTED: lambda: OperationUnsupported("The HSM does not do this."),
    wire.DECRYPTION: DecryptRefused,
    wire.TOO_LARGE: lambda: TooLarge("The HSM does not take this much at once."),
    wire.PIN: lambda: CredentialsRefused(
        "The HSM refused the PIN. It is not tried again, so that the token does not lock itself.",
        hint="Correct the PIN where the provider's settings point to; the portal then tries the new one.",
    ),
    wire.LAST_TRY: lambda: CredentialsRefused(
        "One more wrong PIN would lock the token, or it is locked already, so the portal does not try.",
        hint="Log in once with the vendor's tool; that resets the counter.",
    ),
    wire.LOST: lambda: ProviderUnavailable("The HSM's token was removed or reset.", hint="Insert it and try again."),
    wire.ABSENT: lambda: ProviderUnavailable(
        "The HSM's token or its library is not there.", hint="Check the module's path and the token's label."
    ),
    wire.BUSY: lambda: ProviderThrottled("Every session of the HSM is in use.", hint="Try again in a moment."),
    wire.CRASHED: lambda: ProviderUnavailable(
        "The HSM's library crashed. Its process was ended; the next call starts a new one.", hint="Try again."
    ),
    wire.TIMED_OUT: lambda: ProviderUnavailable("The HSM did not answer in time.", hint="Try again."),
}


@contextmanager
def _portal_words() -> Iterator[None]:
    """The one place where what the child said becomes the portal's error."""
    try:
        yield
    except Refused as refused:
        if refused.code in _WORDS:
            raise _WORDS[refused.code]() from None
        raise ProviderFault("The HSM failed in a way it should not.", hint=f"Its answer: {refused.detail}.") from None


class Pkcs11Provider:
    """Keys made in the token, never to leave it; `opaque` is `secret:HEX` or `private:HEX` with the CKA_ID.

    The states of keys are the portal's. PKCS#11 has none, but its usage flags (CKA_DECRYPT, CKA_SIGN ...) can be taken
    from a key and given back, and a key without them is refused by the token itself: this is `disable`. A scheduled
    deletion is a disabled key and the portal's waiting.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.CIPHER, Capability.WRAPPER, Capability.SIGNER, Capability.IMPORTER, Capability.EXPORTER, Capability.ROTATOR,
         Capability.LIFECYCLE, Capability.DESTROYER, Capability.DISCOVERY, Capability.CONTEXT, Capability.DIRECT_IMPORT,
         Capability.METADATA, Capability.METADATA_RESTORE}
    )  # fmt: skip
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("module", "PKCS#11 library", "Path of the vendor's library; it must be listed in PKCS11_MODULES."),
        Setting("token", "Token label", "As shown by the vendor's tool or pkcs11-tool --list-slots."),
        Setting("pin_source", "Where the PIN is", "env:NAME or file:/path; the PIN itself is never stored here."),
        Setting("timeout", "Time-out in seconds", required=False, default="5"),
        Setting("sessions", "Sessions at once", "At most; tokens have a limit.", required=False, default="8"),
    )

    def __init__(
        self, alias: str = "pkcs11", *, module: str, token: str, pin_source: str, timeout: float = 5, sessions: int = 8
    ) -> None:
        self.alias = alias
        if module not in portal_settings.PKCS11_MODULES:
            raise ProviderUnavailable(
                "This PKCS#11 library is not on the list of allowed ones.", hint="Add its path to PKCS11_MODULES."
            )
        self._link = Link(
            module, token, lambda: read_pin(pin_source), timeout=float(timeout), sessions=int(sessions),
            environment=tuple(portal_settings.PKCS11_ENVIRONMENT),
        )  # fmt: skip
        self._algorithms: frozenset[str] | None = None
        self._ask_again_at = 0.0

    @property
    def algorithms(self) -> frozenset[str]:
        """What this token can do, asked once; empty while it cannot be asked, for then no key can be made either.

        A page that lists what is on offer does not wait for a dead token again and again.
        """
        if self._algorithms is None and time.monotonic() < self._ask_again_at:
            return frozenset()
        try:
            return self._offered()
        except ProviderUnavailable:
            self._ask_again_at = time.monotonic() + SILENCE
            return frozenset()

    def _offered(self) -> frozenset[str]:
        if self._algorithms is None:
            self._algorithms = frozenset(self._call("algorithms"))
        return self._algorithms

    def _call(self, name: str, *arguments: Any) -> Any:
        with _portal_words():
            return self._link.call(name, *arguments)

    def _need(self, algorithm: str) -> None:
        if algorithm not in SHAPES or algorithm not in self._offered():
            raise OperationUnsupported(f"This HSM makes no {algorithm} keys.")

    def generate(self, algorithm: str, *, exportable: bool = False) -> GeneratedKey:
        self._need(algorithm)
        made = self._call("generate", algorithm, exportable)
        self._prove_exportable(made["opaque"], exportable=exportable)
        return GeneratedKey(made["opaque"], public_key=public_key(algorithm, made))

    def rotate(self, handle: KeyHandle) -> GeneratedKey:
        """A token has no versions: the next one is a new object, extractable if the one before is."""
        return self.generate(handle.algorithm, exportable=self.describe(handle).extractable)

    def _prove_exportable(self, opaque: str, *, exportable: bool) -> None:
        """Some tokens cannot wrap every kind of key out (SoftHSM no Ed25519): found out now, not when it is needed."""
        try:
            if exportable:
                self._call("export", opaque, os.urandom(32))
        except OperationUnsupported:
            self._call("destroy", opaque)
            raise OperationUnsupported(
                "This HSM cannot give out keys of this kind.", hint="Make it not exportable."
            ) from None

    def export_key(self, handle: KeyHandle, kek: SecretBytes) -> bytes:
        """Wrapped by the token itself (C_WrapKey, CKM_AES_KEY_WRAP_PAD); raises KeyUnusable unless CKA_EXTRACTABLE.

        A symmetric key is never seen here in the clear. A private key is, for a moment: SoftHSM fills its PKCS#8 up with
        zeros before it wraps, which readers of DER refuse.
        """
        wrapped = bytes(self._call("export", handle.opaque, kek.reveal()))
        if ALGORITHMS[handle.algorithm].symmetric:
            return wrapped
        with portal_errors(), transport.unwrap_under(kek, wrapped) as padded:
            return transport.wrap_under(kek, without_padding(padded))

    def import_key(self, algorithm: str, material: SecretBytes, *, exportable: bool = False) -> GeneratedKey:
        """Bring material wrapped for a key pair of this token only; it never enters by C_CreateObject."""
        self._need(algorithm)
        row = ALGORITHMS[algorithm]
        with portal_errors():
            prepared = keymaterial.prepare(row, material)
            public = None if row.symmetric else spki(prepared.public)
        with _portal_words(), self._link.channel() as ask:
            opaque = _bring(ask, algorithm, material.reveal(), exportable)
        self._prove_exportable(opaque, exportable=exportable)
        return GeneratedKey(opaque, public_key=public)

    def offer_import(self, algorithm: str, *, tag: str = "") -> ImportOffer:
        """A key pair of the token made for this one import (C_UnwrapKey); raises OperationUnsupported for EC keys.

        A token does not tell the public half of an EC key that was unwrapped into it, and nobody else here sees it.
        """
        self._need(algorithm)
        if not ALGORITHMS[algorithm].symmetric and SHAPES[algorithm].key_type != "RSA":
            raise OperationUnsupported(
                f"The token cannot say the public half of a {algorithm} key that passed the portal unseen.",
                hint="Choose another way: a worker then wraps for it.",
            )
        made = self._call("offer_import")
        return ImportOffer(public_key("", made) or b"", _METHODS[made["digest"]], made["opaque"])

    def take_import(
        self, algorithm: str, offer: ImportOffer, wrapped: bytes, *, tag: str = "", exportable: bool = False
    ) -> GeneratedKey:
        """Raises DecryptRefused for what was not wrapped for the offer; its key pair is gone afterwards."""
        self._need(algorithm)
        digest = "sha1" if offer.method == Method.RSA_AES_KW_SHA1 else "sha256"
        first, second = wrapped[:OFFERED_BYTES], wrapped[OFFERED_BYTES:]
        made = self._call("take_import", algorithm, offer.opaque, digest, first, second, exportable)
        self._prove_exportable(made["opaque"], exportable=exportable)
        with suppress(KeyMissing):  # an earlier try took it away
            self._call("destroy", offer.opaque)
        return GeneratedKey(made["opaque"], public_key=public_key(algorithm, made))

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        kind = ALGORITHMS[handle.algorithm].kind
        if handle.algorithm not in SHAPES or Operation.DECRYPT not in ALGORITHMS[handle.algorithm].operations:
            raise OperationUnsupported(f"{handle.algorithm} does not encrypt data.")
        return _Aead(self._call, handle) if kind is Kind.AEAD else _PublicKeyCipher(self._call, handle)

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        if ALGORITHMS[handle.algorithm].kind is not Kind.KEY_WRAP:
            return self.cipher(handle).encrypt(material.reveal(), aad)
        _no_context(handle, aad)
        return bytes(self._call("wrap", handle.opaque, handle.algorithm, material.reveal()))

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        if ALGORITHMS[handle.algorithm].kind is not Kind.KEY_WRAP:
            return SecretBytes(self.cipher(handle).decrypt(wrapped, aad))
        _no_context(handle, aad)
        return SecretBytes(self._call("unwrap", handle.opaque, handle.algorithm, wrapped))

    def signer(self, handle: KeyHandle) -> BoundSigner:
        if handle.algorithm not in SHAPES or Operation.SIGN not in ALGORITHMS[handle.algorithm].operations:
            raise OperationUnsupported(f"{handle.algorithm} does not sign.")
        return _Signer(self._call, handle)

    def disable(self, handle: KeyHandle) -> None:
        self._call("set_usable", handle.opaque, False)

    def enable(self, handle: KeyHandle) -> None:
        self._call("set_usable", handle.opaque, True)

    def schedule_deletion(self, handle: KeyHandle, days: int) -> datetime:
        self.disable(handle)
        return datetime.now(UTC) + timedelta(days=days)

    def cancel_deletion(self, handle: KeyHandle) -> None:
        self.enable(handle)

    def destroy(self, handle: KeyHandle) -> None:
        self._call("destroy", handle.opaque)

    def describe(self, handle: KeyHandle) -> RemoteKey:
        return _remote(self._call("describe", handle.opaque))

    def metadata_owner(self, handle: KeyHandle) -> str:
        return handle.opaque

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        found: dict[str, Any] = self._call("metadata", handle.opaque)
        return found

    def restore_metadata(self, handle: KeyHandle, wanted: dict[str, Any], *, tag: str = "") -> None:
        self._call("restore_metadata", handle.opaque, wanted)

    def list_keys(self) -> Iterator[RemoteKey]:
        """Read to the end before the first is given out: a search left open would block its session."""
        found: list[dict[str, Any]] = []
        with _portal_words(), self._link.channel() as ask:
            ask("begin_list")
            while page := ask("more", PAGE):
                found += page
        return map(_remote, found)

    def check(self) -> Health:
        started = time.perf_counter()
        token = self._call("check")
        return Health(time.perf_counter() - started, f"{token['model']} {token['serial']}".strip(), token["maker"])


def read_pin(source: str) -> str:
    """The PIN behind `env:NAME` or `file:/path`; raises CredentialsRefused when there is none."""
    kind, _, place = source.partition(":")
    pin = ""
    if kind == "env":
        pin = os.environ.get(place, "")
    elif kind == "file":
        try:
            pin = Path(place).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            pin = ""
    if not pin:
        raise CredentialsRefused(
            "There is no PIN where the provider's settings point to.",
            hint="Set the variable, or write the file readable by the portal only: env:NAME or file:/path.",
        )
    return pin


def without_padding(padded: SecretBytes) -> SecretBytes:
    """One DER sequence without the zeros behind it; anything else is left to those who read it."""
    whole = padded.reveal()
    size = int.from_bytes(whole[2 : 2 + (whole[1] & 0x7F)]) + 2 + (whole[1] & 0x7F) if whole[1] & 0x80 else whole[1] + 2
    return SecretBytes(whole[:size] if not any(whole[size:]) else whole)


def _bring(ask: Ask, algorithm: str, clear: bytes, exportable: bool) -> str:
    begun = ask("begin_import", "")
    try:
        wrapping = load_der_public_key(public_key("", begun) or b"")
        assert isinstance(wrapping, RSAPublicKey)
        kek, digest = os.urandom(32), _HASHES[begun["digest"]]
        sealed_kek = wrapping.encrypt(kek, padding.OAEP(padding.MGF1(digest()), digest(), None))
        sealed = keywrap.aes_key_wrap_with_padding(kek, clear)
        return str(ask("finish_import", algorithm, begun["digest"], sealed_kek, sealed, exportable))
    finally:
        ask("end_import")


def _no_context(handle: KeyHandle, aad: bytes) -> None:
    if aad:
        raise OperationUnsupported(f"{handle.algorithm} cannot bind a context.", hint="Use AES-256-GCM.")


def _remote(said: dict[str, Any]) -> RemoteKey:
    return RemoteKey(
        opaque=said["opaque"],
        name=said["label"],
        state=RemoteState.ENABLED if said["usable"] else RemoteState.DISABLED,
        algorithm=said["algorithm"],
        imported=not said["local"],
        extractable=said["extractable"],
    )


class _Aead:
    __slots__ = ("_call", "_opaque")

    def __init__(self, call: Callable[..., Any], handle: KeyHandle) -> None:
        self._call, self._opaque = call, handle.opaque

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        return bytes(self._call("encrypt", self._opaque, plaintext, aad))

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        return bytes(self._call("decrypt", self._opaque, payload, aad))


class _PublicKeyCipher:
    """Encrypts here with the public half, decrypts in the token."""

    __slots__ = ("_call", "_handle")

    def __init__(self, call: Callable[..., Any], handle: KeyHandle) -> None:
        self._call, self._handle = call, handle

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        with portal_errors():
            return keymaterial.encrypt(self._handle.algorithm, self._handle.public_key or b"", plaintext, aad)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        _no_context(self._handle, aad)
        return bytes(self._call("decrypt_oaep", self._handle.opaque, payload, "sha256"))


class _Signer:
    """Hashes here, signs in the token, verifies here: a public key is as good outside."""

    __slots__ = ("_call", "_handle")

    def __init__(self, call: Callable[..., Any], handle: KeyHandle) -> None:
        self._call, self._handle = call, handle

    def sign(self, message: bytes) -> bytes:
        shape = SHAPES[self._handle.algorithm]
        data = hashlib.new(shape.digest, message).digest() if shape.digest else message
        signature = bytes(self._call("sign", self._handle.opaque, self._handle.algorithm, data))
        if shape.key_type != "EC":
            return signature
        half = len(signature) // 2
        return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verifies(self._handle.algorithm, self._handle.public_key or b"", message, signature)
