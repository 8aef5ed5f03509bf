"""Tells security officers what happened to a key behind their backs, by e-mail, after it is durable."""

import logging

from celery import current_app
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q

from keys.models import KeyVersion
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Role

TASK = "keys.send_version_notice"

logger = logging.getLogger(__name__)

_SUBJECTS = {
    "deletion_halted": "{version} was used while it waited for destruction",
    "compromised": "{version} was marked as compromised",
}
_TEXTS = {
    "deletion_halted": (
        "{by} used {version} on {at}. Its destruction is stopped until an officer cancels it or confirms it.\n"
    ),
    "compromised": (
        "{version} was marked as compromised ({reason}). It protects nothing more. Rotate the key, and re-encrypt\n"
        "what stands on this version.\n"
    ),
}


def version_notice(kind: str, version: KeyVersion) -> None:
    """Queue a notice for after the commit; a broker that is away never undoes the act."""
    version_id = version.pk
    transaction.on_commit(lambda: current_app.send_task(TASK, [kind, version_id]), robust=True)


def send_version_notice(kind: str, version_id: int) -> int:
    """Send the notice to every officer of the key's ring; returns to how many."""
    version = KeyVersion.objects.select_related("key__ring").get(pk=version_id)
    addresses = list(
        Person.objects.filter(
            Q(bindings__ring=None) | Q(bindings__ring=version.key.ring_id),
            bindings__role=Role.SECURITY_OFFICER.value,
            is_active=True,
        )
        .order_by("email")
        .values_list("email", flat=True)
        .distinct()
    )
    at = version.deletion_halted_at
    values = {
        "version": f"{version.key.ring.name}/{version.key.name} v{version.key_version}",
        "by": version.deletion_halted_by,
        "at": f"{at:%Y-%m-%d %H:%M} UTC" if at else "",
        "reason": version.compromise_reason.replace("_", " "),
    }
    for address in addresses:
        EmailMessage(_SUBJECTS[kind].format(**values), _TEXTS[kind].format(**values), to=[address]).send()
    logger.info("notice %s about key version %s sent to %d officers", kind, version_id, len(addresses))
    return len(addresses)
