"""The points of the contract, the tests that prove each, and the table of points by provider that is made of them.

`python -m tests.providers.points` writes the table into keyvault_portal/docs/providers.md. What keeps it true: each named test
exists, each test of the contract stands for a point, each capability is part of one, and after a whole run of the
contract suite every cell that says "proved" has seen a test of its point succeed at that very provider.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.providers import registry
from keys.providers.abilities import WHY_NOT
from keys.providers.base import Capability

SEEN: set[tuple[str, str]] = set()  # (test of the contract, place) that succeeded in this process
PROVED, NO_SUCH_KEYS = "proved", "has no such keys"
DOCUMENT = Path(__file__).resolve().parents[2] / "keyvault_portal" / "docs" / "providers.md"
_C, _ALL, _ON_THE_LINE = Capability, frozenset(registry.KINDS) | {"azure_mhsm"}, "there is no line to a provider"
_CLOUD = ("aws_kms", "gcp_kms", "azure_kv", "azure_mhsm", "vault_transit")

# The columns; a kind with two faces has two. The names of the places that stand for it in the suite.
COLUMNS = {
    "local": ("The portal itself", ("local",)),
    "aws_kms": ("AWS KMS", ("aws_kms", "aws_kms_ministack")),
    "gcp_kms": ("Google Cloud KMS", ("gcp_kms",)),
    "azure_kv": ("Azure Key Vault", ("azure_kv",)),
    "azure_mhsm": ("Azure Managed HSM", ("azure_mhsm",)),
    "pkcs11": ("PKCS#11", ("pkcs11",)),
    "vault_transit": ("OpenBao, Vault", ("vault_transit",)),
    "kmip": ("KMIP", ("kmip",)),
}
# A software vault has less than its kind declares.
_LESS = {"azure_kv": {_C.CONTEXT, _C.DIRECT_IMPORT}}


@dataclass(frozen=True)
class Point:
    """One sentence of the contract; `elsewhere` are tests that need one provider's own counterpart, as file::test."""

    words: str
    tests: tuple[str, ...] = ()
    needs: tuple[Capability, ...] = ()
    kinds: tuple[Kind, ...] = ()
    elsewhere: dict[str, str] = field(default_factory=dict)
    not_at: dict[str, str] = field(default_factory=dict)

    def missing_at(self, column: str) -> str:
        """Why it is not there, empty where it is."""
        if column in self.not_at:
            return self.not_at[column]
        for capability in self.needs:
            if capability not in capabilities(column):
                return WHY_NOT[_kind(column)][capability]
        if self.kinds and not any(ALGORITHMS[name].kind in self.kinds for name in _algorithms(column)):
            return NO_SUCH_KEYS
        return ""


def _kind(column: str) -> str:
    return "azure_kv" if column == "azure_mhsm" else column


def capabilities(column: str) -> frozenset[Capability]:
    """What the provider of this column declares."""
    return registry.provider_class(_kind(column)).capabilities - _LESS.get(column, set())


def _algorithms(column: str) -> frozenset[str]:
    from keys.providers.azure_kv.keyforms import VAULT_ROWS
    from keys.providers.kmip.messages import MASKS
    from keys.providers.pkcs11.shapes import SHAPES

    known = {"azure_kv": frozenset(VAULT_ROWS), "kmip": frozenset(MASKS), "pkcs11": frozenset(SHAPES)}
    return known.get(column) or registry.provider_class(_kind(column)).algorithms  # type: ignore[return-value]


_AEAD, _OPENS = (Kind.AEAD,), (Kind.AEAD, Kind.ASYMMETRIC_ENCRYPTION)
_NO_REMOTE = {"local": _ON_THE_LINE}
_KMIP_FAULTS, _PKCS11_FAULTS = "tests/providers/test_kmip.py", "tests/providers/test_pkcs11_faults.py"
_VAULT_FAULTS = "tests/providers/test_vault_transit_faults.py::test_trouble_on_the_line_has_its_name"
_AWS_FAULTS = "tests/providers/test_aws_kms.py::test_trouble_on_the_line_has_its_name"
_AZURE_FAULTS = "tests/providers/test_azure_faults.py::test_every_failure_has_the_portals_name"
_GCP_FAULTS = "tests/providers/test_gcp_faults.py::test_every_failure_has_the_portals_name"
_ERRORS = {
    "aws_kms": _AWS_FAULTS, "gcp_kms": _GCP_FAULTS, "azure_kv": _AZURE_FAULTS, "azure_mhsm": _AZURE_FAULTS, "vault_transit": _VAULT_FAULTS,
    "kmip": f"{_KMIP_FAULTS}::test_every_reason_a_server_may_give_is_a_portal_error",
}  # fmt: skip
POINTS = (
    Point("Create, and refuse what it has not", ("test_what_is_declared_is_offered", "test_an_algorithm_it_has_not_is_refused")),
    Point("Describe and list", ("test_every_key_is_listed", "test_a_key_nobody_knows_is_named_so"), (_C.DISCOVERY,)),
    Point("A harmless round trip", ("test_the_check_is_a_round_trip",), (_C.DISCOVERY,)),
    Point("Encrypt and decrypt with the context bound, a wrong context refused", ("test_data_comes_back_with_its_context_only",),
          (_C.CIPHER, _C.CONTEXT), _AEAD),
    Point("Tampering and another key's ciphertext detected", ("test_tampering_is_detected", "test_a_key_opens_only_its_own"),
          (_C.CIPHER,), _OPENS),
    Point("Encrypt with a public key", ("test_public_key_encryption",), (_C.CIPHER,), (Kind.ASYMMETRIC_ENCRYPTION,),
          not_at={"pkcs11": "SoftHSM has OAEP with SHA-1 only, so nothing is offered; a token with SHA-256 has it"}),
    Point("Wrap and unwrap", ("test_wrapped_keys_come_back_in_their_place_only",), (_C.WRAPPER,), _OPENS),
    Point("Data key in one call", ("test_a_data_key_comes_with_its_wrapped_twin",), (_C.DATA_KEYS,), _AEAD),
    Point("Sign and verify with every algorithm, and export the public key", ("test_signatures_of_every_algorithm",),
          (_C.SIGNER,), (Kind.SIGNATURE,)),
    Point("Authentication codes", ("test_message_authentication_codes",), (_C.MAC,), (Kind.MAC,)),
    Point("Rotate; old versions still open", ("test_old_versions_still_open_after_a_rotation",), (_C.ROTATOR, _C.CIPHER), _OPENS),
    Point("A handle is pinned to its version", ("test_a_handle_is_pinned_to_its_version",), (_C.ROTATOR, _C.CIPHER), _OPENS),
    Point("Disabled refused until enabled", ("test_a_disabled_key_is_refused_until_enabled",),
          (_C.LIFECYCLE, _C.DISCOVERY, _C.CIPHER), _OPENS),
    Point("Deletion scheduled, refused meanwhile, taken back", ("test_a_deletion_is_scheduled_and_taken_back",),
          (_C.LIFECYCLE, _C.DISCOVERY, _C.CIPHER), _OPENS),
    Point("Destroyed, or said to be waiting", ("test_a_destroyed_key_is_gone_or_said_to_be_waiting",), (_C.DESTROYER, _C.DISCOVERY)),
    Point("Import what a worker brings, by the provider's own wrapping", ("test_imported_material_is_what_it_was",), (_C.IMPORTER,), _OPENS),
    Point("Import what was wrapped for the provider itself",
          ("test_material_wrapped_for_the_provider_itself_gets_there", "test_a_private_key_wrapped_for_the_provider_gets_there",
           "test_what_was_wrapped_for_somebody_else_is_refused"), (_C.DIRECT_IMPORT,)),
    Point("Export, wrapped, only what was made exportable",
          ("test_an_exportable_key_is_given_out_wrapped_and_no_other", "test_what_is_exported_and_imported_elsewhere_opens_old_data"),
          (_C.EXPORTER,)),
    Point("Keys carry the portal's mark", ("test_a_key_carries_the_portals_mark",), (_C.TAGS,)),
    Point("Policy, attributes and tags told; a change seen",
          ("test_a_changed_policy_or_tag_is_told", "test_a_disabled_key_has_the_same_metadata"), (_C.METADATA,)),
    Point("Policy, attributes and tags put back", ("test_a_changed_policy_or_tag_is_put_back",), (_C.METADATA_RESTORE,)),
    Point("Its own rotation told, set and switched off", ("test_its_own_rotation_is_set_and_switched_off",), (_C.SELF_ROTATION,)),
    Point("Replicas serve while the first region is down", (), (_C.REPLICAS,),
          elsewhere={"aws_kms": "tests/providers/test_aws_kms.py::test_throttling_and_refusal_are_answers_that_no_replica_softens"}),
    Point("Throttling is named and waited out", not_at=_NO_REMOTE,
          elsewhere=_ERRORS | {"pkcs11": f"{_PKCS11_FAULTS}::test_more_callers_than_sessions_are_told_to_wait"}),
    Point("A slow answer is given up", ("test_a_slow_answer_is_given_up",), not_at=_NO_REMOTE,
          elsewhere={"pkcs11": f"{_PKCS11_FAULTS}::test_a_library_that_hangs_is_given_up_and_replaced"}),
    Point("Refused credentials are named, and not quoted", ("test_trouble_has_the_portals_names_and_no_secret",), not_at=_NO_REMOTE),
    Point("Every error is one of the portal's", ("test_trouble_has_the_portals_names_and_no_secret",), not_at=_NO_REMOTE,
          elsewhere=_ERRORS | {"pkcs11": f"{_PKCS11_FAULTS}::test_a_crash_of_the_library_costs_one_call"}),
    Point("No secret in any error or log", ("test_nothing_that_is_protected_is_logged_at_any_level",), (_C.CIPHER,)),
)  # fmt: skip
# What no single test can show of a capability is in the points of others.
INSIDE = {_C.TAGS, _C.CONTEXT}


def table() -> str:
    """The document: a legend, the table of points by provider, and the reasons for what is missing."""
    reasons: list[str] = []
    rows = [list(_row(point, reasons)) for point in POINTS]
    titles = [title for title, _ in COLUMNS.values()]
    lines = [
        "# What each provider can do, and what proves it",
        "",
        "Made of the contract suite by `python -m tests.providers.points`; the suite fails when this page says something else",
        "than what ran. A number stands for the reason below why a provider does not have it; its page in the portal says the same.",
        "",
        f"| | {' | '.join(titles)} |",
        f"| --- |{' --- |' * len(titles)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)),
        "",
    ]
    return "\n".join(lines)


def _row(point: Point, reasons: list[str]) -> Iterator[str]:
    yield point.words
    for column in COLUMNS:
        reason = point.missing_at(column)
        if not reason:
            yield PROVED
            continue
        reason = reason[0].upper() + reason[1:].rstrip(".") + "."
        if reason not in reasons:
            reasons.append(reason)
        yield f"no ({reasons.index(reason) + 1})"


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")
    django.setup()
    DOCUMENT.write_text(table())
