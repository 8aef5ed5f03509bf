"""The data plane: encrypt, decrypt, rewrap, sign, verify, MAC, data keys and envelopes, without a Django request.

Each function authorises, acts and returns plain values; nothing is read from the database while views are fresh, and
nothing is written but leases of the use budget and a use mark once a minute. The caller surrounds a whole request
with `audited`, which makes it one durable event before the answer leaves.
"""

from keys.services.key_views import KeyRef
from keys.services.operations.envelopes import (
    GeneratedDataKey,
    Opened,
    WrappedItem,
    envelope_decrypt,
    envelope_decrypt_many,
    envelope_encrypt,
    envelope_encrypt_many,
    generate_data_key,
    generate_data_keys,
    unwrap_data_key,
    unwrap_data_keys,
)
from keys.services.operations.recording import audited
from keys.services.operations.signatures import (
    Signed,
    Verified,
    mac,
    mac_many,
    sign,
    sign_bare,
    sign_many,
    verify,
    verify_mac,
    verify_mac_many,
    verify_many,
)
from keys.services.operations.texts import (
    CiphertextItem,
    Decrypted,
    Encrypted,
    PlaintextItem,
    decrypt,
    decrypt_many,
    encrypt,
    encrypt_many,
    rewrap,
    rewrap_many,
)
from keys.services.operations.values import MAX_BATCH, authorize_use

__all__ = [
    "MAX_BATCH", "CiphertextItem", "Decrypted", "Encrypted", "GeneratedDataKey", "KeyRef", "Opened", "PlaintextItem",
    "Signed", "Verified", "WrappedItem", "audited", "authorize_use", "decrypt", "decrypt_many", "encrypt", "encrypt_many",
    "envelope_decrypt", "envelope_decrypt_many", "envelope_encrypt", "envelope_encrypt_many", "generate_data_key",
    "generate_data_keys", "mac", "mac_many", "rewrap", "rewrap_many", "sign", "sign_bare", "sign_many",
    "unwrap_data_key", "unwrap_data_keys", "verify", "verify_mac", "verify_mac_many", "verify_many",
]  # fmt: skip
