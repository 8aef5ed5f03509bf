"""The record as files in answers: exports and evidence packs, for the pages and the REST API alike."""

import tempfile

from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.utils import timezone

from keyvault_portal.audit.access import Actor
from keyvault_portal.audit.evidence.pack import write_pack


def as_attachment[R: (HttpResponse, StreamingHttpResponse)](response: R, name: str) -> R:
    """The response as a file to save under `name`."""
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def evidence_file(actor: Actor) -> FileResponse:
    """The whole record as an evidence pack; raises PermissionRefused before anything is written."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the response closes it
    try:
        write_pack(actor, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    name = f"evidence-{timezone.now():%Y%m%dT%H%M%SZ}.zip"
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")
