"""One token as the child process sees it: its library, the login, and what a session does. No Django, no portal."""

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag, exceptions
from pkcs11.mechanisms import MGF
from pkcs11.util.ec import encode_named_curve_parameters

from keys.providers.pkcs11 import wire
from keys.providers.pkcs11.objects import describe, metadata, restore
from keys.providers.pkcs11.returns import Opening
from keys.providers.pkcs11.shapes import FLAGS, LABEL, SHAPES, WRAPPING, Shape
from keys.providers.pkcs11.wire import Refused

TAG_BITS, NONCE_BYTES = 128, 12
CACHED_OBJECTS = 1024
_CLASSES = {"secret": ObjectClass.SECRET_KEY, "private": ObjectClass.PRIVATE_KEY}
_PRIVATE_FLAGS = ("DECRYPT", "SIGN", "UNWRAP", "DERIVE")
_DIGESTS = {"sha1": (Mechanism.SHA_1, MGF.SHA1), "sha256": (Mechanism.SHA256, MGF.SHA256)}
_KEPT_INSIDE = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}


class _InitializeArguments(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ("create", "destroy", "lock", "unlock")),
                ("flags", ctypes.c_ulong), ("reserved", ctypes.c_void_p)]  # fmt: skip


class _FunctionList(ctypes.Structure):
    _fields_ = [("version", ctypes.c_ubyte * 2), ("initialize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p))]


def _load(module: str) -> Any:
    """Load the library and start it for use by many threads.

    python-pkcs11 calls C_Initialize(NULL), which promises that only one thread will ever call (v2.40, 5.4); SoftHSM
    then works without locks. So C_Initialize is called here, with CKF_OS_LOCKING_OK, and the wrapper takes it over.
    """
    functions = ctypes.POINTER(_FunctionList)()
    if ctypes.CDLL(module).C_GetFunctionList(ctypes.byref(functions)):
        raise Refused(wire.FAULT, "C_GetFunctionList")
    if functions.contents.initialize(ctypes.byref(_InitializeArguments(flags=2))):
        raise Refused(wire.FAULT, "C_Initialize")
    from pkcs11._pkcs11 import lib

    return lib.__new__(lib, module)  # type: ignore[call-arg]


class Token:
    """The one login of this process; closing its session would log every other session out."""

    def __init__(self, module: str, label: str, pin: str) -> None:
        try:
            self.token = _load(module).get_token(token_label=label)
        except OSError:
            raise Refused(wire.ABSENT, "library") from None
        if self.token.flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED):
            raise Refused(wire.LAST_TRY)
        self._login = self.token.open(rw=True, user_pin=pin)

    def session(self) -> "Session":
        return Session(self, self.token.open(rw=True))

    def require_present(self) -> None:
        """Before a key is called missing: a token pulled out looks empty (SoftHSM finds nothing and says no more)."""
        try:
            self.token.slot.get_token()
        except exceptions.PKCS11Error:
            raise Refused(wire.LOST) from None

    def algorithms(self, session: Any) -> list[str]:
        """What this token can do: by its list of mechanisms, and for OAEP by asking for SHA-256."""
        offered = {getattr(mechanism, "name", "") for mechanism in self.token.slot.get_mechanisms()}
        able = [name for name, shape in SHAPES.items() if offered.issuperset(shape.mechanisms)]
        if not any("OAEP" in name for name in able) or self.oaep_digest(session) == "sha256":
            return able
        return [name for name in able if "OAEP" not in name]

    def oaep_digest(self, session: Any) -> str:
        """SHA-256 where the token takes it as OAEP's hash, else SHA-1 (sound in OAEP: SP 800-131A rev. 2, 9)."""
        key = session.create_object(_PROBE)
        try:
            _encrypt(key, b"probe", Mechanism.RSA_PKCS_OAEP, (*_DIGESTS["sha256"], None))
        except exceptions.PKCS11Error:
            return "sha1"
        finally:
            key.destroy()
        return "sha256"


# A public key nobody has the private half of: only whether the token takes it is asked.
_PROBE = {
    Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.RSA, Attribute.TOKEN: False,
    Attribute.MODULUS: (2**2047 + 1).to_bytes(256), Attribute.PUBLIC_EXPONENT: b"\1\0\1", Attribute.ENCRYPT: True,
}  # fmt: skip


def _encrypt(key: Any, data: bytes, mechanism: Mechanism, parameters: Any = None) -> bytes:
    if not hasattr(key, "encrypt"):
        raise Refused(wire.UNUSABLE)
    return bytes(key.encrypt(data, mechanism=mechanism, mechanism_param=parameters))


class Session:
    """One session, used by one thread; keys are named `secret:HEX` or `private:HEX`, HEX being their CKA_ID."""

    def __init__(self, token: Token, session: Any) -> None:
        self._token, self._session = token, session
        self._objects: dict[str, Any] = {}
        self._listing: Iterator[Any] = iter(())
        self._wrapping: Any = None

    def close(self) -> None:
        self._session.close()

    def check(self) -> dict[str, str]:
        self._session.generate_random(64)
        token = self._token.token
        return {"serial": token.serial.decode(errors="replace"), "model": token.model, "maker": token.manufacturer_id}

    def algorithms(self) -> list[str]:
        return self._token.algorithms(self._session)

    # Making and destroying

    def generate(self, algorithm: str, exportable: bool) -> dict[str, Any]:
        shape, identity = SHAPES[algorithm], os.urandom(16)
        inside = _template(algorithm, identity, shape, exportable)
        if shape.secret:
            self._session.generate_key(KeyType.AES, shape.bits, template=inside)
            return {"opaque": f"secret:{identity.hex()}"}
        outside = {Attribute.TOKEN: True, Attribute.ID: identity, Attribute.LABEL: LABEL + algorithm,
                   Attribute.ENCRYPT: "DECRYPT" in shape.uses, Attribute.VERIFY: "SIGN" in shape.uses,
                   Attribute.WRAP: False}  # fmt: skip
        return {"opaque": f"private:{identity.hex()}", **_public(self._pair(shape, outside, inside))}

    def _pair(self, shape: Shape, outside: dict[Any, Any], inside: dict[Any, Any]) -> tuple[Any, Any]:
        if shape.key_type == "RSA":
            pair = self._session.generate_keypair(
                KeyType.RSA, shape.bits, public_template=outside, private_template=inside
            )
        else:
            parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(shape.curve)}
            domain = self._session.create_domain_parameters(KeyType[shape.key_type], parameters, local=True)
            pair = domain.generate_keypair(
                mechanism=Mechanism[shape.mechanisms[0]], public_template=outside, private_template=inside
            )
        return pair[0], pair[1]

    def destroy(self, opaque: str) -> None:
        key = self._fresh(opaque)
        for public in self._search(ObjectClass.PUBLIC_KEY, opaque.partition(":")[2]):
            public.destroy()
        key.destroy()
        self._objects.pop(opaque, None)

    def begin_import(self, digest: str) -> dict[str, Any]:
        """A wrapping key of this session, gone with it; its private half has never been outside the token."""
        pair = self._wrapping_pair({Attribute.TOKEN: False})
        self._wrapping = pair[1]
        return {"digest": digest or self._token.oaep_digest(self._session), **_public(pair)}

    def _wrapping_pair(self, more: dict[Any, Any]) -> tuple[Any, Any]:
        inside = {**_KEPT_INSIDE, **_flags(_PRIVATE_FLAGS, ("UNWRAP",)), **more}
        outside = {Attribute.ENCRYPT: False, Attribute.VERIFY: False, Attribute.WRAP: True, **more}
        pair = self._session.generate_keypair(KeyType.RSA, 3072, public_template=outside, private_template=inside)
        return pair[0], pair[1]

    def offer_import(self) -> dict[str, Any]:
        """A wrapping key that stays in the token until the material has come, or nobody waits for it any more."""
        identity = os.urandom(16)
        pair = self._wrapping_pair({Attribute.TOKEN: True, Attribute.ID: identity, Attribute.LABEL: WRAPPING})
        return {
            "opaque": f"private:{identity.hex()}", "digest": self._token.oaep_digest(self._session), **_public(pair),
        }  # fmt: skip

    def take_import(
        self, algorithm: str, wrapping: str, digest: str, wrapped_kek: bytes, wrapped: bytes, exportable: bool
    ) -> dict[str, Any]:
        """What came for an offer; its CKA_ID follows from the offer's, so that the second try finds what the first made."""
        kind = "secret" if SHAPES[algorithm].secret else "private"
        identity = hashlib.sha256(bytes.fromhex(wrapping.partition(":")[2])).digest()[:16]
        opaque = f"{kind}:{identity.hex()}"
        if not self._search(_CLASSES[kind], identity.hex()):
            self._wrapping = self._fresh(wrapping)
            with Opening(self._wrapping):
                self.finish_import(algorithm, digest, wrapped_kek, wrapped, exportable, identity)
        made = {"opaque": opaque}
        return made if kind == "secret" else made | _public((self._fresh(opaque), None))

    def finish_import(
        self, algorithm: str, digest: str, wrapped_kek: bytes, wrapped: bytes, exportable: bool, identity: bytes = b""
    ) -> str:
        """RSA-OAEP brings an AES key, AES-KWP under it the material (CKM_RSA_AES_KEY_WRAP in its two steps)."""
        shape, identity = SHAPES[algorithm], identity or os.urandom(16)
        kek = self._unwrapped(
            self._wrapping, wrapped_kek, Mechanism.RSA_PKCS_OAEP, (*_DIGESTS[digest], None), KeyType.AES,
            {**_KEPT_INSIDE, **_flags(FLAGS, ("UNWRAP",)), Attribute.TOKEN: False},
        )  # fmt: skip
        try:
            self._unwrapped(
                kek, wrapped, Mechanism.AES_KEY_WRAP_PAD, None, KeyType[shape.key_type],
                _template(algorithm, identity, shape, exportable),
            )  # fmt: skip
        except exceptions.FunctionFailed:  # SoftHSM 2.6 on an Ed25519 key: it unwraps RSA and EC ones only
            raise Refused(wire.UNSUPPORTED) from None
        finally:
            kek.destroy()
        return f"{'secret' if shape.secret else 'private'}:{identity.hex()}"

    def end_import(self) -> None:
        if self._wrapping is not None:
            self._wrapping.destroy()
            self._wrapping = None

    def export(self, opaque: str, kek: bytes) -> bytes:
        """A key that may leave, under an AES key of ours that lives in this session as long as the wrapping takes."""
        wrapper = self._session.create_object(
            {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: kek,
             Attribute.TOKEN: False, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.WRAP: True}
        )  # fmt: skip
        try:
            return bytes(wrapper.wrap_key(self._fresh(opaque), mechanism=Mechanism.AES_KEY_WRAP_PAD))
        except exceptions.KeyUnextractable:
            raise Refused(wire.UNUSABLE) from None
        except (exceptions.KeyNotWrappable, exceptions.FunctionFailed, exceptions.GeneralError):
            raise Refused(wire.UNSUPPORTED) from None
        finally:
            wrapper.destroy()

    # Using

    def encrypt(self, opaque: str, data: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._use(opaque, lambda key: _encrypt(key, data, Mechanism.AES_GCM, _gcm(nonce, aad)))

    def decrypt(self, opaque: str, payload: bytes, aad: bytes) -> bytes:
        nonce, sealed = payload[:NONCE_BYTES], payload[NONCE_BYTES:]
        if len(sealed) < TAG_BITS // 8:
            raise Refused(wire.DECRYPTION)
        return self._open(opaque, sealed, Mechanism.AES_GCM, _gcm(nonce, aad))

    def decrypt_oaep(self, opaque: str, sealed: bytes, digest: str) -> bytes:
        return self._open(opaque, sealed, Mechanism.RSA_PKCS_OAEP, (*_DIGESTS[digest], None))

    def _open(self, opaque: str, sealed: bytes, mechanism: Mechanism, parameters: Any) -> bytes:
        def work(key: Any) -> bytes:
            if not hasattr(key, "decrypt"):
                raise Refused(wire.UNUSABLE)
            with Opening(key):
                return bytes(key.decrypt(sealed, mechanism=mechanism, mechanism_param=parameters))

        return self._use(opaque, work)

    def sign(self, opaque: str, algorithm: str, data: bytes) -> bytes:
        """`data` is the digest, for Ed25519 the message; ECDSA gives r | s."""
        shape = SHAPES[algorithm]
        mechanism = Mechanism[shape.mechanisms[1]]
        parameters = (*_DIGESTS["sha256"], 32) if shape.key_type == "RSA" else None

        def work(key: Any) -> bytes:
            if not hasattr(key, "sign"):
                raise Refused(wire.UNUSABLE)
            return bytes(key.sign(data, mechanism=mechanism, mechanism_param=parameters))

        return self._use(opaque, work)

    def wrap(self, opaque: str, algorithm: str, material: bytes) -> bytes:
        """Material of the portal's own becomes an object of this session for as long as the wrapping takes."""
        outside = self._session.create_object(
            {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
             Attribute.VALUE: material, **_PASSING}
        )  # fmt: skip
        try:
            return self._use(opaque, lambda key: _wrapped(key, outside, Mechanism[SHAPES[algorithm].mechanisms[1]]))
        finally:
            outside.destroy()

    def unwrap(self, opaque: str, algorithm: str, wrapped: bytes) -> bytes:
        def work(key: Any) -> bytes:
            if not hasattr(key, "unwrap_key"):
                raise Refused(wire.UNUSABLE)
            with Opening(key):
                mechanism = Mechanism[SHAPES[algorithm].mechanisms[1]]
                found = self._unwrapped(key, wrapped, mechanism, None, KeyType.GENERIC_SECRET, dict(_PASSING))
            try:
                return bytes(found[Attribute.VALUE])
            finally:
                found.destroy()

        return self._use(opaque, work)

    def _unwrapped(
        self, key: Any, wrapped: bytes, mechanism: Mechanism, parameters: Any, kind: KeyType, template: dict[Any, Any]
    ) -> Any:
        secret = kind in {KeyType.AES, KeyType.GENERIC_SECRET}
        # The library would set every flag of the kind, and a token refuses ENCRYPT on a private key.
        unset = {Attribute[flag]: pkcs11.DEFAULT for flag in FLAGS}
        return key.unwrap_key(
            ObjectClass.SECRET_KEY if secret else ObjectClass.PRIVATE_KEY, kind, wrapped, mechanism=mechanism,
            mechanism_param=parameters, capabilities=MechanismFlag(0), template={**unset, **template},
        )  # fmt: skip

    # What is there

    def set_usable(self, opaque: str, usable: bool) -> None:
        key = self._fresh(opaque)
        shape = SHAPES.get(describe(key)["algorithm"] or "")
        if shape is None:
            raise Refused(wire.UNSUPPORTED)
        # A use that somebody added goes, too: a disabled key has none.
        for flag in shape.uses if usable else metadata(key)["attributes"]["uses"]:
            key[Attribute[flag]] = usable
        self._objects.pop(opaque, None)

    def describe(self, opaque: str) -> dict[str, Any]:
        return describe(self._fresh(opaque))

    def metadata(self, opaque: str) -> dict[str, Any]:
        return metadata(self._fresh(opaque))

    def restore_metadata(self, opaque: str, wanted: dict[str, Any]) -> None:
        restore(self._fresh(opaque), wanted)
        self._objects.pop(opaque, None)

    def begin_list(self) -> None:
        found = (key for kind in _CLASSES.values() for key in self._search(kind))
        self._listing = (key for key in found if key.label != WRAPPING)

    def more(self, count: int) -> list[dict[str, Any]]:
        page = [describe(key) for _, key in zip(range(count), self._listing, strict=False)]
        if not page:
            self._token.require_present()
        return page

    def _search(self, kind: ObjectClass, identity: str = "") -> list[Any]:
        wanted: dict[Any, Any] = {Attribute.CLASS: kind, Attribute.TOKEN: True}
        if identity:
            wanted[Attribute.ID] = bytes.fromhex(identity)
        return list(self._session.get_objects(wanted))

    def _fresh(self, opaque: str) -> Any:
        kind, _, identity = opaque.partition(":")
        if kind not in _CLASSES or not identity:
            raise Refused(wire.MISSING)
        found = self._search(_CLASSES[kind], identity)
        if len(found) != 1:  # two keys of one CKA_ID: which one was meant cannot be known
            raise Refused(wire.FAULT if found else wire.MISSING, "CKA_ID is not unique" if found else "")
        return found[0]

    def _use[T](self, opaque: str, work: Callable[[Any], T]) -> T:
        """Run on the key, found once a session; whatever fails, the object is looked up anew next time."""
        key = self._objects.get(opaque) or self._fresh(opaque)
        try:
            result = work(key)
        except BaseException:
            self._objects.pop(opaque, None)
            raise
        if len(self._objects) >= CACHED_OBJECTS:
            self._objects.clear()
        self._objects[opaque] = key
        return result


_PASSING = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}


def _gcm(nonce: bytes, aad: bytes) -> GCMParams:
    return GCMParams(nonce, aad, TAG_BITS)


def _wrapped(key: Any, outside: Any, mechanism: Mechanism) -> bytes:
    if not hasattr(key, "wrap_key"):
        raise Refused(wire.UNUSABLE)
    return bytes(key.wrap_key(outside, mechanism=mechanism))


def _flags(of: tuple[str, ...], on: tuple[str, ...]) -> dict[Any, bool]:
    return {Attribute[flag]: flag in on for flag in of}


def _template(algorithm: str, identity: bytes, shape: Shape, exportable: bool) -> dict[Any, Any]:
    return {**_KEPT_INSIDE, Attribute.EXTRACTABLE: exportable, **_flags(FLAGS if shape.secret else _PRIVATE_FLAGS, shape.uses), Attribute.TOKEN: True,
            Attribute.ID: identity, Attribute.LABEL: LABEL + algorithm}  # fmt: skip


def _public(pair: tuple[Any, Any]) -> dict[str, Any]:
    public = pair[0]
    if public[Attribute.KEY_TYPE] is KeyType.RSA:
        return {"modulus": public[Attribute.MODULUS], "exponent": public[Attribute.PUBLIC_EXPONENT]}
    return {"point": public[Attribute.EC_POINT]}
