"""What each algorithm of the portal is on a token: type of key, size, and the uses its flags allow."""

from dataclasses import dataclass

WRAPPING = "keyvault-portal-import"  # CKA_LABEL of a key pair under which one key is to come: none of the inventory's
LABEL = "keyvault-portal "  # CKA_LABEL is this and the algorithm: a token knows AES, not what the key is for
FLAGS = ("ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE")


@dataclass(frozen=True, slots=True)
class Shape:
    """`uses` are the flags of the secret or private key; `mechanisms` what a token must offer, all of them."""

    key_type: str
    bits: int
    uses: tuple[str, ...]
    mechanisms: tuple[str, ...]
    curve: str = ""
    digest: str = ""

    @property
    def secret(self) -> bool:
        return self.key_type == "AES"


_SIGN = ("SIGN",)
SHAPES: dict[str, Shape] = {
    "AES-256-GCM": Shape("AES", 256, ("ENCRYPT", "DECRYPT"), ("AES_KEY_GEN", "AES_GCM")),
    "AES-256-KW": Shape("AES", 256, ("WRAP", "UNWRAP"), ("AES_KEY_GEN", "AES_KEY_WRAP")),
    "AES-256-KWP": Shape("AES", 256, ("WRAP", "UNWRAP"), ("AES_KEY_GEN", "AES_KEY_WRAP_PAD")),
    "ECDSA-P256-SHA256": Shape("EC", 256, _SIGN, ("EC_KEY_PAIR_GEN", "ECDSA"), "secp256r1", "sha256"),
    "ECDSA-P384-SHA384": Shape("EC", 384, _SIGN, ("EC_KEY_PAIR_GEN", "ECDSA"), "secp384r1", "sha384"),
    "Ed25519": Shape("EC_EDWARDS", 256, _SIGN, ("EC_EDWARDS_KEY_PAIR_GEN", "EDDSA"), "1.3.101.112"),
}
for _bits in (2048, 3072, 4096):
    SHAPES[f"RSA-{_bits}-PSS-SHA256"] = Shape(
        "RSA", _bits, _SIGN, ("RSA_PKCS_KEY_PAIR_GEN", "RSA_PKCS_PSS"), digest="sha256"
    )
    # OAEP with SHA-256 is a parameter, not a mechanism: the token is asked, see `Token.algorithms`.
    SHAPES[f"RSA-{_bits}-OAEP-SHA256"] = Shape(
        "RSA", _bits, ("DECRYPT",), ("RSA_PKCS_KEY_PAIR_GEN", "RSA_PKCS_OAEP"), digest="sha256"
    )
