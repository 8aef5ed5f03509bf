"""The endpoints of the transit engine that use a key: one table, done by the operations of the data plane.

A request holds one item, or up to 1,000 as `batch_input`. Ciphertexts, signatures and codes are the same texts as those of
the portal's own API; `associated_data` is there the context `{"associated_data": <the same base64>}`.
"""

from base64 import b64decode, b64encode, urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any

from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.jwk import b64url
from keys.crypto.secret import SecretBytes
from keys.dataplane import bodies
from keys.dataplane.bodies import Field
from keys.services import key_views
from keys.services import operations as ops
from keys.vault.names import HASHES, spoken
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import PortalError, ValidationFailed

type Item = dict[str, Any]
type Results = Sequence[Any | PortalError]


@dataclass(frozen=True, slots=True)
class TransitOperation:
    """One endpoint: what an item and the whole request hold, who may, how it is done and shown.

    `run` gets an actor who holds the permission, "ring/name", the items and the options, and returns a result or an error for each item. A batch
    with a refused item answers `refused_batch`.
    """

    action: str
    permission: Permission
    item: tuple[Field, ...]
    options: tuple[Field, ...]
    run: Callable[[Actor, str, list[Item], Item], Results]
    show: Callable[[Any], Item]
    refused_batch: int = 400

    @property
    def batched(self) -> bool:
        """Whether it takes many items in one request."""
        return _REFERENCE in self.item


def _number(value: Any) -> int | None:
    """A version, which some clients send as text; 0 is the newest."""
    if type(value) is str and value.isascii() and value.isdecimal():
        value = int(value[:11])
    return None if value is None or (type(value) is int and value == 0) else bodies.version(value)


def _canonical(value: Any) -> str:
    """The same bytes in base64 as everybody writes them: it becomes part of what the ciphertext is bound to."""
    return b64encode(bodies.octets(value)).decode()


def _refused(why: str) -> Callable[[Any], None]:
    """Takes a parameter only where it asks for nothing."""

    def read(value: Any) -> None:
        if value not in (None, "", False, 0):
            raise ValueError(why)

    return read


def _one_of(*accepted: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in accepted:
            raise ValueError(f"Only {' or '.join(accepted)}.")
        return str(value)

    return read


def _status(value: Any) -> int:
    if type(value) is not int or not 200 <= value <= 599:
        raise ValueError("Give an HTTP status.")
    return value


def _optional(name: str, read: Callable[[Any], Any], default: Any = None) -> Field:
    """A parameter that may be left out, or be null or empty, as some clients send those that nobody set."""
    return Field(
        name, lambda value: default if value in (None, "") else read(value), {}, required=False, default=default
    )


_UNDERIVED = _optional("context", _refused("Keys here are not derived: bind data by associated_data."))
_NONCE = _optional("nonce", _refused("Nonces are made here and never given."))
_REFERENCE = _optional("reference", bodies.text, "")
_ASSOCIATED = _optional("associated_data", _canonical)
_KEY_VERSION = _optional("key_version", _number)
_PARTIAL = _optional("partial_failure_response_code", _status)
_PLAINTEXT = Field("plaintext", bodies.octets, {})
_CIPHERTEXT = Field("ciphertext", bodies.text, {})
_INPUT = Field("input", bodies.octets, {})
_HASH = (_optional("hash_algorithm", bodies.text), _optional("algorithm", bodies.text))
_SIGNING = (
    *_HASH,
    _optional("prehashed", _refused("The message itself is signed here, not its hash.")),
    _optional("signature_algorithm", _one_of("pss"), "pss"),
    _optional("salt_length", _one_of("auto", "hash"), "auto"),
    _optional("marshaling_algorithm", _one_of("asn1", "jws"), "asn1"),
)


def _bound(item: Item) -> dict[str, str] | None:
    associated = item["associated_data"]
    return {"associated_data": associated} if associated else None


def _version(items: list[Item], options: Item) -> int | None:
    """The one version that a request names; a batch stands under one."""
    named = {item.get("key_version") or options.get("key_version") for item in items}
    if len(named) > 1:
        raise ValidationFailed(errors={"key_version": ["Name one version for the whole batch."]})
    return named.pop()


def _encrypt(actor: Actor, key: str, items: list[Item], options: Item) -> Results:
    texts = [ops.PlaintextItem(item["plaintext"], _bound(item)) for item in items]
    return ops.encrypt_many(actor, key, texts, _version(items, options))


def _ciphertexts(items: list[Item]) -> list[ops.CiphertextItem]:
    return [ops.CiphertextItem(item["ciphertext"], _bound(item)) for item in items]


def _rewrap(actor: Actor, key: str, items: list[Item], options: Item) -> Results:
    if (named := _version(items, options)) is not None:
        key_views.view(key).protecting(named)  # it is always the active one that is moved to
    return ops.rewrap_many(actor, key, _ciphertexts(items))


@dataclass(frozen=True, slots=True)
class DataKey:
    """A new key as bytes, which no repr shows, and encrypted under the key that was asked."""

    plaintext: SecretBytes = field(repr=False)
    wrapped: ops.Encrypted

    @property
    def evidence(self) -> str:
        return self.wrapped.ciphertext

    @property
    def key_version(self) -> int:
        return self.wrapped.key_version


def _bits(value: Any) -> int:
    if value not in (128, 256, 512) or type(value) is not int:
        raise ValueError("Only 128, 256 or 512.")
    return int(value)


def _data_key(actor: Actor, key: str, items: list[Item], options: Item) -> Results:
    raw = token_bytes(options["bits"] // 8)
    (made,) = ops.encrypt_many(actor, key, [ops.PlaintextItem(raw, _bound(items[0]))])
    return [made if isinstance(made, PortalError) else DataKey(SecretBytes(raw), made)]


def _check_hash(key: str, options: Item) -> None:
    """Refuse another hash than the key's own; raises ValidationFailed."""
    asked = options["hash_algorithm"] or options["algorithm"]
    if asked is None:
        return
    own = spoken(ALGORITHMS[key_views.view(key).key.algorithm]).hash
    if own and HASHES.get(asked, asked) != own:
        raise ValidationFailed(errors={"hash_algorithm": [f"This key goes with {own}."]})


def _sign(actor: Actor, key: str, items: list[Item], options: Item) -> Results:
    _check_hash(key, options)
    jws = options["marshaling_algorithm"] == "jws"
    messages = [item["input"] for item in items]
    signed = ops.sign_many(actor, key, messages, _version(items, options), jose=jws)
    return [Shown(result, jws) if isinstance(result, ops.Signed) else result for result in signed]


@dataclass(frozen=True, slots=True)
class Shown:
    """A signature, and whether its text is that of a JSON Web Signature."""

    signed: ops.Signed
    jws: bool

    @property
    def evidence(self) -> Any:
        return self.signed.evidence

    @property
    def key_version(self) -> int:
        return self.signed.key_version


def _show_signed(result: Shown) -> Item:
    text = result.signed.signature
    if result.jws:
        head, _, payload = text.rpartition(":")
        text = f"{head}:{b64url(b64decode(payload))}"
    return {"signature": text, "key_version": result.key_version}


def _plain_text(signature: str, *, jws: bool) -> str:
    """A signature as our own texts are: JSON Web Signatures come in base64url without padding (RFC 7515, section 2)."""
    if not jws:
        return signature
    head, _, payload = signature.rpartition(":")
    try:
        raw = urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except (Base64Error, ValueError):
        return signature  # is refused as the text that it is
    return f"{head}:{b64encode(raw).decode()}"


def _hmac(actor: Actor, key: str, items: list[Item], options: Item) -> Results:
    _check_hash(key, options)
    return ops.mac_many(actor, key, [item["input"] for item in items], _version(items, options))


def _verify(actor: Actor, key: str, items: list[Item], options: Item) -> Results:
    _check_hash(key, options)
    named = {name for item in items for name in ("signature", "hmac") if item[name]}
    if len(named) != 1 or any(not (item["signature"] or item["hmac"]) for item in items):
        raise ValidationFailed("Give a signature, or an hmac, for every input; not both in one request.")
    if named == {"hmac"}:
        return ops.verify_mac_many(actor, key, [(item["input"], item["hmac"]) for item in items])
    jws = options["marshaling_algorithm"] == "jws"
    pairs = [(item["input"], _plain_text(item["signature"], jws=jws)) for item in items]
    return ops.verify_many(actor, key, pairs, jose=jws)


def _show_opened(result: ops.Decrypted) -> Item:
    return {"plaintext": b64encode(result.plaintext).decode()}


def _show_encrypted(result: ops.Encrypted) -> Item:
    return {"ciphertext": result.ciphertext, "key_version": result.key_version}


def _show_data_key(result: DataKey) -> Item:
    with result.plaintext as plaintext:
        return _show_encrypted(result.wrapped) | {"plaintext": b64encode(plaintext.reveal()).decode()}


_DATA_KEY = (_optional("bits", _bits, 256), _UNDERIVED, _NONCE)
_BATCHED = (_REFERENCE, _UNDERIVED, _NONCE)

OPERATIONS: dict[str, TransitOperation] = {
    "encrypt": TransitOperation(
        "key.encrypt", Permission.KEY_ENCRYPT, (_PLAINTEXT, _ASSOCIATED, _KEY_VERSION, *_BATCHED), (_PARTIAL,), _encrypt, _show_encrypted,
    ),
    "decrypt": TransitOperation(
        "key.decrypt", Permission.KEY_DECRYPT, (_CIPHERTEXT, _ASSOCIATED, *_BATCHED), (_PARTIAL,),
        lambda actor, key, items, _: ops.decrypt_many(actor, key, _ciphertexts(items)), _show_opened,
    ),
    "rewrap": TransitOperation(
        "key.rewrap", Permission.KEY_REWRAP, (_CIPHERTEXT, _ASSOCIATED, _KEY_VERSION, *_BATCHED), (_PARTIAL,), _rewrap, _show_encrypted,
    ),
    "datakey/plaintext": TransitOperation(
        "key.encrypt", Permission.KEY_ENCRYPT, (_ASSOCIATED,), _DATA_KEY, _data_key, _show_data_key,
    ),
    "datakey/wrapped": TransitOperation(
        "key.encrypt", Permission.KEY_ENCRYPT, (_ASSOCIATED,), _DATA_KEY, _data_key, lambda result: _show_encrypted(result.wrapped),
    ),
    "sign": TransitOperation(
        "key.sign", Permission.KEY_SIGN, (_INPUT, *_BATCHED[:2]), (_KEY_VERSION, *_SIGNING), _sign, _show_signed, refused_batch=200,
    ),
    "hmac": TransitOperation(
        "key.mac", Permission.KEY_MAC, (_INPUT, _REFERENCE), (_KEY_VERSION, *_HASH), _hmac,
        lambda result: {"hmac": result.signature}, refused_batch=200,
    ),
    "verify": TransitOperation(
        "key.verify", Permission.KEY_VERIFY, (_INPUT, _optional("signature", bodies.text), _optional("hmac", bodies.text), *_BATCHED[:2]),
        _SIGNING, _verify, lambda result: {"valid": result.valid}, refused_batch=200,
    ),
}  # fmt: skip
