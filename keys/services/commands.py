"""The exact commands with which a person wraps a key for the portal, computes its check value, or opens what the portal gave out.

The pages show them and the tests run them, so they are known to work with OpenSSL 3. The key is in the file `key.bin`: raw for a
symmetric key, PKCS#8 DER for a private key.
"""

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.keycheck import check_method
from keys.crypto.keyforms import load_public_key
from keys.crypto.transport import Method


def _oaep(digest: str) -> str:
    return f"-pkeyopt rsa_padding_mode:oaep \\\n  -pkeyopt rsa_oaep_md:{digest} -pkeyopt rsa_mgf1_md:{digest} \\\n "


_OAEP = _oaep("sha256")
_HEX = "$(od -An -v -tx1 {file} | tr -d ' \\n')"
_KWP = "-id-aes256-wrap-pad -iv A65959A6"  # the initial value of RFC 5649, 3


def pem(spki: bytes) -> str:
    """A public key as people save it."""
    text: bytes = load_public_key(spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def wrap_commands(method: str) -> str:
    """From `key.bin` and `wrapping.pem` to `upload.bin`."""
    if method == Method.RSA_OAEP:
        return f"openssl pkeyutl -encrypt -pubin -inkey wrapping.pem \\\n  {_OAEP} -in key.bin -out upload.bin"
    if method in {Method.RSA_AES_KW, Method.RSA_AES_KW_SHA1}:
        padding = _oaep("sha1" if method == Method.RSA_AES_KW_SHA1 else "sha256")
        return "\n".join(
            [
                "openssl rand -out passing.bin 32",
                f"openssl pkeyutl -encrypt -pubin -inkey wrapping.pem \\\n  {padding} -in passing.bin -out first.bin",
                f'openssl enc {_KWP} \\\n  -K "{_HEX.format(file="passing.bin")}" \\\n  -in key.bin -out second.bin',
                "cat first.bin second.bin > upload.bin",
                "rm passing.bin first.bin second.bin",
            ]
        )
    return "\n".join(
        [
            "python3 - <<'END'",
            "from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite",
            "from cryptography.hazmat.primitives.serialization import load_pem_public_key",
            "public = load_pem_public_key(open('wrapping.pem', 'rb').read())",
            "suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)",
            "open('upload.bin', 'wb').write(suite.encrypt(open('key.bin', 'rb').read(), public))",
            "END",
        ]
    )


def check_commands(algorithm: str) -> str:
    """From `key.bin` to its check value of six digits."""
    words, given = check_method(algorithm), _HEX.format(file="key.bin")
    if not ALGORITHMS[algorithm].symmetric:
        return "openssl pkey -inform DER -in key.bin -pubout -outform DER |\n  openssl dgst -sha256 -r | cut -c 1-6"
    how = "-cipher AES-256-CBC" if words == "AES-CMAC" else "-digest SHA256"
    name = "CMAC" if words == "AES-CMAC" else "HMAC"
    return f'head -c 16 /dev/zero |\n  openssl mac {how} \\\n  -macopt hexkey:"{given}" {name} |\n  cut -c 1-6'


def open_commands(method: str, spki: bytes) -> str:
    """From `export.bin` and the recipient's `private.pem` to `key.bin`."""
    if method == Method.RSA_AES_KW:
        size = load_public_key(spki).key_size // 8
        return "\n".join(
            [
                f"head -c {size} export.bin |\n  openssl pkeyutl -decrypt -inkey private.pem \\\n  {_OAEP} -out passing.bin",
                f"tail -c +{size + 1} export.bin > second.bin",
                f'openssl enc -d {_KWP} \\\n  -K "{_HEX.format(file="passing.bin")}" \\\n  -in second.bin -out key.bin',
                "rm passing.bin second.bin",
            ]
        )
    return "\n".join(
        [
            "python3 - <<'END'",
            "from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite",
            "from cryptography.hazmat.primitives.serialization import load_pem_private_key",
            "private = load_pem_private_key(open('private.pem', 'rb').read(), None)",
            "suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)",
            "open('key.bin', 'wb').write(suite.decrypt(open('export.bin', 'rb').read(), private))",
            "END",
        ]
    )


def seal_command(key: str, bound: str) -> str:
    """How the offline tool seals what a page's script would; `key` in hexadecimal."""
    return f"python3 offline.py seal --to {key} --bound '{bound}'"
