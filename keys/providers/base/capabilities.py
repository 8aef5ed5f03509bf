"""What a provider declares it can do."""

from enum import StrEnum


class Capability(StrEnum):
    """What a provider declares it can do; the services ask before they offer it."""

    CIPHER = "cipher"
    WRAPPER = "wrapper"
    SIGNER = "signer"
    MAC = "mac"
    IMPORTER = "importer"
    ROTATOR = "rotator"
    DATA_KEYS = "data_keys"
    LIFECYCLE = "lifecycle"
    DESTROYER = "destroyer"  # what waited out the portal's grace period can be ended there, too
    DISCOVERY = "discovery"
    # `generate` and `import_key` take `tag`, at most 36 letters, digits and hyphens, and keep it with the key from its very
    # beginning; `describe` and `list_keys` give it back as tags[TAG]. So a caller who died finds the key it had made.
    TAGS = "tags"
    # Hands out a wrapping key of its own, so that material travels past the portal, which sees ciphertext only.
    DIRECT_IMPORT = "direct_import"
    # Gives keys out that were made with `exportable`, and only wrapped; `generate` and `import_key` take `exportable`.
    EXPORTER = "exporter"
    REPLICAS = "replicas"  # copies of a key in other regions, which serve while the first one is down
    METADATA = "metadata"  # tells the policy, attributes and tags of a key, so that a change of them is seen
    METADATA_RESTORE = "metadata_restore"  # and sets them back
    SELF_ROTATION = "self_rotation"  # makes new versions by itself if told to, and takes that setting from here
    CONTEXT = "context"  # AAD is bound by the provider itself; without it the portal's own envelope binds it


TAG = "keyvault-portal-intent"
