"""The operations of KMIP that the provider uses, each one request; what the library's client lacks is built here."""

from typing import Any

from keys.crypto.algorithms import ALGORITHMS
from keys.providers.kmip.library import (
    CryptographicParameters,
    KmipOperationFailure,
    ProxyKmipClient,
    SymmetricKey,
    TemplateAttribute,
    enums,
    payloads,
)

_USE, _ALGORITHM = enums.CryptographicUsageMask, enums.CryptographicAlgorithm
_NAMES = {"AES-256-GCM": _ALGORITHM.AES}
# What a key of each algorithm may be used for, and nothing else.
MASKS = {"AES-256-GCM": [_USE.ENCRYPT, _USE.DECRYPT]}
_GCM = CryptographicParameters(
    block_cipher_mode=enums.BlockCipherMode.GCM, cryptographic_algorithm=_ALGORITHM.AES, tag_length=16
)


def _template(client: ProxyKmipClient, algorithm: str, name: str) -> Any:
    kind = enums.AttributeType
    make = client.attribute_factory.create_attribute
    return TemplateAttribute(
        attributes=[
            make(kind.CRYPTOGRAPHIC_ALGORITHM, _NAMES[algorithm]),
            make(kind.CRYPTOGRAPHIC_LENGTH, ALGORITHMS[algorithm].key_size),
            make(kind.CRYPTOGRAPHIC_USAGE_MASK, MASKS[algorithm]),
            make(kind.NAME, name),
            make(kind.SENSITIVE, True),  # KMIP 1.4, 3.49: never given out unless wrapped
        ]
    )


def _successful(result: Any) -> Any:
    if result.result_status.value is not enums.ResultStatus.SUCCESS:
        raise KmipOperationFailure(result.result_status.value, result.result_reason.value, result.result_message.value)
    return result


def create(client: ProxyKmipClient, algorithm: str, name: str) -> str:
    made = client.proxy.create(enums.ObjectType.SYMMETRIC_KEY, _template(client, algorithm, name))
    opaque = str(_successful(made).uuid)
    client.activate(opaque)
    return opaque


def register(client: ProxyKmipClient, algorithm: str, name: str, material: bytes) -> str:
    key = SymmetricKey(_NAMES[algorithm], len(material) * 8, material, MASKS[algorithm], name)
    secret = client.object_factory.convert(key)
    made = client.proxy.register(enums.ObjectType.SYMMETRIC_KEY, _template(client, algorithm, name), secret)
    opaque = str(_successful(made).uuid)
    client.activate(opaque)
    return opaque


def destroy(client: ProxyKmipClient, opaque: str, *, active: bool) -> None:
    if active:
        client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, opaque)
    client.destroy(opaque)


def locate(client: ProxyKmipClient, offset: int, count: int) -> list[str]:
    symmetric = client.attribute_factory.create_attribute(
        enums.AttributeType.OBJECT_TYPE, enums.ObjectType.SYMMETRIC_KEY
    )
    return list(client.locate(maximum_items=count, offset_items=offset, attributes=[symmetric]))


def attributes_of(client: ProxyKmipClient, opaque: str) -> dict[str, Any]:
    """Values by the protocol's attribute names; of a name its text, of several the first."""
    found: dict[str, Any] = {}
    for attribute in client.get_attributes(opaque)[1]:
        value = attribute.attribute_value
        text = getattr(value, "name_value", None)
        found.setdefault(str(attribute.attribute_name.value), text.value if text is not None else value.value)
    return found


# KMIP 1.4, 3: what decides over the use of an object, and by what people know it; not its state nor its times of change.
_KEPT = {
    "Name", "Cryptographic Usage Mask", "Operation Policy Name", "Object Group", "Sensitive", "Always Sensitive", "Extractable",
    "Never Extractable", "Process Start Date", "Protect Stop Date", "Deactivation Date", "Application Specific Information",
    "Contact Information", "Usage Limits",
}  # fmt: skip


def kept_with(client: ProxyKmipClient, opaque: str) -> dict[str, Any]:
    """The attributes of `_KEPT` that the object has, each with all its values as texts."""
    found: dict[str, list[str]] = {}
    for attribute in client.get_attributes(opaque)[1]:
        name = str(attribute.attribute_name.value)
        if name in _KEPT or name.startswith("x-"):
            found.setdefault(name, []).extend(_words(name, attribute.attribute_value))
    return {name: sorted(values) for name, values in found.items()}


def _words(name: str, value: Any) -> list[str]:
    if name == "Cryptographic Usage Mask":
        return [use.name for use in enums.get_enumerations_from_bit_mask(_USE, value.value)]
    text = getattr(value, "name_value", value)
    return [str(getattr(text, "value", text))]


def encrypt(client: ProxyKmipClient, opaque: str, data: bytes, nonce: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Ciphertext and tag; pykmip's own `encrypt` knows neither the tag nor the additional data (KMIP 1.4, 4.29)."""
    answer = client.proxy.send_request_payload(
        enums.Operation.ENCRYPT, payloads.EncryptRequestPayload(opaque, _GCM, data, nonce, aad or None)
    )
    return bytes(answer.data), bytes(answer.auth_tag or b"")


def decrypt(client: ProxyKmipClient, opaque: str, data: bytes, nonce: bytes, aad: bytes, tag: bytes) -> bytes:
    answer = client.proxy.send_request_payload(
        enums.Operation.DECRYPT, payloads.DecryptRequestPayload(opaque, _GCM, data, nonce, aad or None, tag)
    )
    return bytes(answer.data)


def identify(client: ProxyKmipClient) -> str:
    """What the server says of itself; a request that changes nothing."""
    answer = _successful(client.proxy.query(query_functions=[enums.QueryFunction.QUERY_SERVER_INFORMATION]))
    return str(getattr(answer.vendor_identification, "value", answer.vendor_identification) or "")
