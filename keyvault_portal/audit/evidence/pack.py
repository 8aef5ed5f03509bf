"""Writing an evidence pack."""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from keyvault_portal.audit import checkpoint, services
from keyvault_portal.audit.access import Actor, Permission, authorize
from keyvault_portal.audit.evidence.registry import registered
from keyvault_portal.audit.exports import Filters, leaf_pages
from keyvault_portal.audit.merkle import leaf_hash
from keyvault_portal.audit.models import AuditCheckpoint, AuditHead, AuditSigner
from keyvault_portal.audit.signing import load_signer
from keyvault_portal.errors import Conflict

CHECKPOINTS = 64  # notes a pack, evenly spread and always the newest: each bounds where a forgery can be


def write_pack(actor: Actor, file: BinaryIO) -> dict[str, str]:
    """Write the whole record as a zip to the seekable `file`; returns its manifest, file name -> hex SHA-256.

    Needs the right to export everything. The export is recorded with the pack's digest before this returns. Raises
    Conflict while the record is empty. Memory does not grow with the record, but for 32 bytes an event.
    """
    with services.atomic(actor=actor, action="audit.export_evidence", target=("record", "", "Audit record")) as act:
        authorize(actor, Permission.AUDIT_EXPORT, target="the whole record")
        size = AuditHead.objects.values_list("size", flat=True).get()
        if size == 0:
            raise Conflict("The record is empty.")
        manifest = _write(file, size)
        file.seek(0)
        act.record({"events": size, "sha256": _digest(file)})
    return manifest


def _write(file: BinaryIO, size: int) -> dict[str, str]:
    signer, digests = load_signer(), {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as pack:

        def add(name: str, pieces: Iterable[bytes]) -> None:
            digest = hashlib.sha256()
            with pack.open(name, "w", force_zip64=True) as entry:
                for piece in pieces:
                    digest.update(piece)
                    entry.write(piece)
            digests[name] = digest.hexdigest()

        hashes = bytearray()

        def events() -> Iterable[bytes]:
            for page in leaf_pages(Filters(), size):
                hashes.extend(b"".join(leaf_hash(leaf) for leaf in page.splitlines()))
                yield page

        add("events.jsonl", events())
        add("leaf_hashes.bin", [bytes(hashes)])
        add("checkpoints.jsonl", _checkpoints(size))
        add("signers.json", [_json([_signer(row) for row in AuditSigner.objects.all()])])
        add("verify.py", [verifier_script()])
        for name, contents in registered().items():
            add(name, contents())
        manifest = _json({"version": 1, "files": digests})
        pack.writestr("MANIFEST.json", manifest)
        body = f"{signer.name}\nevidence pack v1\nsha256:{hashlib.sha256(manifest).hexdigest()}\n"
        pack.writestr("MANIFEST.note", checkpoint.sign_text(body, signer.name, signer.key))
    return digests


def verifier_script() -> bytes:
    """The verifier as one file: what it imports of ours stands in place of the line that imports it."""
    text, parts = (
        Path(__file__).with_name("verifier.py").read_text(),
        Path(__file__).with_name("signatures.py").read_text(),
    )
    head, found, rest = text.partition(_IMPORTED)
    if not found:
        raise RuntimeError("the verifier imports its signatures otherwise")
    return (head + parts.partition('"""\n\n')[2] + rest).encode()


_IMPORTED = "from keyvault_portal.audit.evidence.signatures import ed25519_verify, signed\n"


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _checkpoints(size: int) -> Iterable[bytes]:
    covered = AuditCheckpoint.objects.filter(tree_size__lte=size).order_by("tree_size")
    marks = sorted({max(1, size * step // CHECKPOINTS) for step in range(1, CHECKPOINTS + 1)})
    first_after = [covered.filter(tree_size__gte=mark).values_list("tree_size", flat=True).first() for mark in marks]
    for row in covered.filter(tree_size__in={found for found in first_after if found is not None}):
        yield json.dumps({"tree_size": row.tree_size, "note": row.note}).encode() + b"\n"


def _signer(row: AuditSigner) -> dict[str, str]:
    public_key = bytes(row.public_key).hex()
    return {"key_id": row.key_id, "name": row.name, "public_key": public_key, "since": row.created_at.isoformat()}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
