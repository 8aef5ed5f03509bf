"""Lists of logs as officers upload them, and what a certificate's timestamps are worth by the newest one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from django.utils import timezone

from certificates import transparency
from certificates.csr import refused
from certificates.models import Certificate, EndpointScan, LogList
from certificates.services.reading import parse, spki_of
from certificates.transparency import Log, MalformedLogList, MalformedTimestamp, Timestamp, Verdict
from keys.services.cache import BoundedCache
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict

OLD = timedelta(days=70)  # browsers enforce nothing by a list that is older
_parsed: BoundedCache[int, Mapping[bytes, Log]] = BoundedCache(max_entries=2, max_age=3600.0)


@dataclass(frozen=True, slots=True)
class Transparency:
    """The verdict on a certificate, and by which list (None: nobody uploaded one)."""

    verdict: Verdict
    logs: LogList | None

    @property
    def old(self) -> bool:
        return self.logs is not None and is_old(self.logs)


def upload_list(*, actor: Actor, content: bytes, provenance: str) -> LogList:
    """Put a list in Google's v3 format into force; `provenance` says where it was taken from.

    Raises PermissionRefused, ValidationFailed (no such list), Conflict (a newer one is in force).
    """
    with audit.atomic(actor=actor, action="log_list.upload", target=("log_list", "", "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the list of logs")
        if len(content) > transparency.MAX_LIST:
            raise refused("file", f"At most {transparency.MAX_LIST // 1_000_000} MB.")
        try:
            values = json.loads(content)
            logs = transparency.read_logs(values)
            listed_at = datetime.fromisoformat(values["log_list_timestamp"])
            version = str(values["version"])[:20]
            if listed_at.tzinfo is None:
                raise ValueError
        except MalformedLogList as error:
            raise refused("file", f"This is no list of logs: {error}.") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise refused("file", "This is no list of logs in Google's v3 format.") from None
        if (newer := current_list()) is not None and newer.listed_at > listed_at:
            raise Conflict(f"The list in force is newer: {newer.listed_at:%-d %B %Y}.")
        digest = sha256(content).hexdigest()
        row = LogList.objects.create(
            content=values, version=version, listed_at=listed_at, sha256=digest, provenance=provenance[:500], uploaded_by=actor.label[:200],
        )  # fmt: skip
        act.record(
            {"logs": len(logs), "sha256": digest, "provenance": provenance[:500]},
            target=("log_list", str(row.pk), version),
        )
    return row


def current_list() -> LogList | None:
    """The list in force."""
    return LogList.objects.defer("content").order_by("-pk").first()


def logs_of(found: LogList | None) -> Mapping[bytes, Log]:
    """Its logs by their id; none when there is no list."""
    if found is None:
        return {}
    logs = _parsed.get(found.pk)
    if logs is None:
        logs = transparency.read_logs(found.content)
        _parsed.put(found.pk, logs)
    return logs


def transparency_of(row: Certificate) -> Transparency:
    """What the timestamps in a certificate, and those an endpoint sent with it, are worth today."""
    found = current_list()
    certificate = parse(row)
    timestamps = [*transparency.embedded(certificate), *_sent(row)]
    try:
        issuer = spki_of(parse(row.issued_under)) if row.issued_under is not None else None
    except (ValueError, UnsupportedAlgorithm):
        issuer = None
    return Transparency(transparency.check(certificate, issuer, timestamps, logs_of(found)), found)


def _sent(row: Certificate) -> list[Timestamp]:
    """Those of the newest scan that met this certificate."""
    scan = EndpointScan.objects.filter(leaf=row).order_by("-created_at").first()
    found: list[Timestamp] = []
    for source, raw in scan.timestamps if scan is not None else ():
        try:
            found += transparency.read_timestamps(bytes.fromhex(raw), source)
        except MalformedTimestamp:
            continue
    return found


def is_old(found: LogList) -> bool:
    """Whether browsers would not go by it any more."""
    return timezone.now() - found.listed_at > OLD
