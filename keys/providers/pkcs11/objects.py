"""What can be read from an object on a token. Runs in the child."""

from typing import Any

from pkcs11 import Attribute, ObjectClass, exceptions
from pkcs11.util.ec import encode_named_curve_parameters

from keys.providers.pkcs11.shapes import FLAGS, LABEL, SHAPES


def describe(key: Any) -> dict[str, Any]:
    """Everything the portal wants to know of a secret or private key; `usable` is whether any use is allowed."""
    kind = "secret" if _read(key, Attribute.CLASS) is ObjectClass.SECRET_KEY else "private"
    label = str(_read(key, Attribute.LABEL) or "")
    uses = [flag for flag in FLAGS if _read(key, Attribute[flag])]
    return {
        "opaque": f"{kind}:{bytes(_read(key, Attribute.ID) or b'').hex()}",
        "label": label,
        "algorithm": _algorithm(key, label, uses),
        "usable": bool(uses),
        "local": bool(_read(key, Attribute.LOCAL)),
        "extractable": bool(_read(key, Attribute.EXTRACTABLE)),
    }


# Beside its uses: what a key is open to (PKCS#11 v2.40, 4.9); TRUSTED and the like are not every token's.
_KEPT = ("PRIVATE", "SENSITIVE", "EXTRACTABLE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "MODIFIABLE",
         "WRAP_WITH_TRUSTED", "ALWAYS_AUTHENTICATE")  # fmt: skip
_SETTABLE = ("SENSITIVE", "EXTRACTABLE", "WRAP_WITH_TRUSTED")


def metadata(key: Any) -> dict[str, Any]:
    """Attributes and label; a key without any use is disabled, which is its state: its uses are then those of its algorithm."""
    told = {f"CKA_{name}": _read(key, Attribute[name]) for name in _KEPT}
    label = str(_read(key, Attribute.LABEL) or "")
    uses = [flag for flag in FLAGS if _read(key, Attribute[flag])]
    shape = SHAPES.get(_algorithm(key, label, uses) or "")
    known = {name: bool(value) for name, value in told.items() if value is not None}
    return {"attributes": known | {"CKA_LABEL": label, "uses": sorted(uses or (shape.uses if shape else ()))}}


def restore(key: Any, wanted: dict[str, Any]) -> None:
    """Set back what differs; raises AttributeReadOnly for what the token keeps for ever."""
    there, right = metadata(key)["attributes"], wanted["attributes"]
    disabled = not describe(key)["usable"]
    for name in _SETTABLE:
        if there.get(f"CKA_{name}") != right.get(f"CKA_{name}"):
            key[Attribute[name]] = right[f"CKA_{name}"]
    if there["CKA_LABEL"] != right["CKA_LABEL"]:
        key[Attribute.LABEL] = right["CKA_LABEL"]
    for flag in () if disabled else FLAGS:
        if (flag in there["uses"]) != (flag in right["uses"]):
            key[Attribute[flag]] = flag in right["uses"]


def _read(key: Any, attribute: Attribute) -> Any:
    """The attribute, or None where this kind of object has none."""
    try:
        return key[attribute]
    except (exceptions.AttributeTypeInvalid, exceptions.AttributeSensitive):
        return None


def _algorithm(key: Any, label: str, uses: list[str]) -> str | None:
    """By our label; a key made by others is told by type, size and flags."""
    name = label.removeprefix(LABEL)
    if name in SHAPES:
        return name
    kind = getattr(_read(key, Attribute.KEY_TYPE), "name", "")
    bits = {"AES": lambda: 8 * (_read(key, Attribute.VALUE_LEN) or 0),
            "RSA": lambda: 8 * len(_read(key, Attribute.MODULUS) or b"")}.get(kind, lambda: 0)()  # fmt: skip
    curve = _read(key, Attribute.EC_PARAMS)
    for name, shape in SHAPES.items():
        same_curve = shape.curve and curve == encode_named_curve_parameters(shape.curve)
        if shape.key_type == kind and (shape.bits == bits or same_curve) and set(shape.uses) & set(uses):
            return name
    return None
