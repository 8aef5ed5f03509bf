"""What an evidence pack says of keys given out: every export there was, with its approval, and no wrapped key."""

import json
from collections.abc import Iterator

from keys.models import KeyExport


def export_pieces() -> Iterator[bytes]:
    """`key_exports.json` in pieces, the oldest export first; times are RFC 3339, `fingerprint` is SHA-256 of an SPKI."""
    yield b'{"version": 1, "exports": ['
    rows = KeyExport.objects.select_related("version", "wrapping_version").order_by("created_at", "pk")
    for number, row in enumerate(rows.iterator(500)):
        yield (b",\n  " if number else b"\n  ") + json.dumps(_said(row), sort_keys=True).encode()
    yield b"]}\n"


def _said(row: KeyExport) -> dict[str, object]:
    return {
        "export": str(row.pk), "key_id": str(row.version.key_id), "key_version": row.version.key_version, "method": row.method,
        "state": row.state, "recipient": row.recipient, "fingerprint": row.fingerprint or None, "check_value": row.check_value or None,
        "wrapped_under": row.wrapping_version.kms_key_arn if row.wrapping_version else None, "approval": str(row.approval_id or "") or None,
        "requested_by": row.requested_by, "reason": row.reason, "decided_at": row.created_at.isoformat(),
        "collected_at": row.collected_at.isoformat() if row.collected_at else None, "collected_by": row.collected_by or None,
    }  # fmt: skip
