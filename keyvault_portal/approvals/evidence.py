"""What agreement adds to an evidence pack: every request and who decided what on it, as JSON Lines."""

import json
from collections.abc import Iterator

from keyvault_portal.approvals.models import ApprovalRequest, Decision


def evidence_lines() -> Iterator[bytes]:
    """One line a request, oldest first: the canonical act as it was hashed, its SHA-256, the decisions and the times (RFC 3339).

    Whoever holds a line checks that SHA-256(act) is act_hash, that every decision names that hash, and that the signatures fit the act.
    """
    rows = ApprovalRequest.objects.order_by("created_at", "id").prefetch_related("decisions")
    for request in rows.iterator(chunk_size=500):
        line = {
            "id": str(request.pk), "act": bytes(request.act).decode(), "act_hash": request.act_hash, "state": request.state,
            "created_at": request.created_at.isoformat(), "decided_at": request.decided_at and request.decided_at.isoformat(),
            "finished_at": request.finished_at and request.finished_at.isoformat(), "failure_code": request.failure_code,
            "broken_by": request.broken_by, "broken_because": request.broken_because,
            "decisions": [_decision(decision) for decision in sorted(request.decisions.all(), key=lambda decision: decision.at)],
        }  # fmt: skip
        yield json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "person": str(decision.person_id), "label": decision.person_label, "groups": decision.groups, "verdict": decision.verdict,
        "reason": decision.reason, "act_hash": decision.act_hash, "at": decision.at.isoformat(), "signature": decision.signature,
    }  # fmt: skip
