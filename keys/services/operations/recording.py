"""One durable audit event for one data-plane request, whatever it held and however it ended."""

from collections.abc import Sequence
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from keys.crypto.envelope import Envelope
from keys.services import key_views
from keys.services.key_views import KeyRef
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.services import Event
from keyvault_portal.errors import NotFound, PortalError


class audited:
    """Surround one request: `with audited(actor, "key.encrypt", ref) as entry: ...; entry.note(results)`.

    Leaving it waits until the event is durable, so answer afterwards; AuditUnavailable means do not answer. What is
    recorded of items is their number, the refused among them and one digest of their ciphertexts or signatures: the
    SHA-256 of the concatenated SHA-256 of each. Never anything of a plaintext.
    """

    def __init__(self, actor: Actor, action: str, key_ref: KeyRef) -> None:
        self.actor, self.action, self.key_ref = actor, action, key_ref
        self._details: dict[str, Any] = {}

    def note(self, results: Sequence[Any] | Any) -> None:
        """Add the results of the request: values with `evidence`, envelopes, or the errors in their places."""
        items = results if isinstance(results, list) else [results]
        digest = sha256()
        refused: dict[str, int] = {}
        versions: set[int] = set()
        for item in items:
            if isinstance(item, PortalError):
                refused[item.code] = refused.get(item.code, 0) + 1
                continue
            evidence = item.ciphertext if isinstance(item, Envelope) else getattr(item, "evidence", b"")
            digest.update(sha256(evidence.encode() if isinstance(evidence, str) else evidence).digest())
            if (number := getattr(item, "key_version", None)) is not None:
                versions.add(number)
        self._details |= {"items": len(items), "digest": digest.hexdigest()}
        if versions:
            self._details["versions"] = sorted(versions)
        if refused:
            self._details["refused"] = refused

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        outcome, details = "success", self._details
        if isinstance(error, PortalError):
            outcome, details = ("refused" if error.status < 500 else "failed"), {**details, "code": error.code}
        elif error is not None:
            outcome, details = "failed", {**details, "code": "internal_error", "error": type(error).__name__}
        target: tuple[str, object, str] = ("key", "", str(self.key_ref))
        ring_id = None
        try:
            found = key_views.find(self.key_ref)
            target, ring_id = ("key", found.key.pk, found.label), found.key.ring_id
        except NotFound:
            pass  # recorded under the name that was asked for
        audit.append_group(Event(self.actor, self.action, target, ring_id, outcome, details))
