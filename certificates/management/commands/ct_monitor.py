"""`KEYVAULT_TOKEN=... ./manage.py ct_monitor [--log NAME] [--read]`: ends with 1 on what nobody here knows, or a log at fault."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from certificates.models import LogMonitor
from certificates.services import monitoring
from keys.services.command_actor import command_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.edges import cli_error
from keyvault_portal.errors import PermissionRefused, PortalError

NEWEST = 500


class Command(BaseCommand):
    help = "Say what was found in the watched transparency logs; the API token comes from KEYVAULT_TOKEN."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--log", metavar="NAME", help="this log alone")
        parser.add_argument("--read", action="store_true", help="have them read again as soon as a worker is free")

    def handle(self, *args: Any, log: str | None, read: bool, **options: Any) -> None:
        try:
            actor = command_actor()
            if not actor.can_somewhere(Permission.CERTIFICATE_VIEW):
                raise PermissionRefused("This token sees no certificates.", hint="Its scopes need certificate.view.")
            rows = monitoring.visible_monitors(actor).order_by("name", "id")
            monitors = list(rows.filter(name=log) if log else rows)
            for monitor in monitors if read else []:
                monitoring.request_poll(actor=actor, monitor_id=monitor.pk)
        except PortalError as error:
            raise cli_error(error) from None
        if not monitors:
            raise CommandError(f"No watched log has the name {log}." if log else "No log is watched.")
        unknown = sum(self._say(monitor) for monitor in monitors)
        if unknown or any(monitor.error for monitor in monitors):
            sys.exit(1)

    def _say(self, monitor: LogMonitor) -> int:
        self.stdout.write(f"{monitor.name}: {monitor.position:,} of {monitor.tree_size:,} entries read; {monitor.url}")
        if monitor.error:
            self.stdout.write(f"  At fault: {monitor.error}")
        unknown = 0
        for row in monitor.findings.defer("der").order_by("-index")[:NEWEST]:
            unknown += row.certificate_id is None
            known = "known" if row.certificate_id else "UNKNOWN"
            self.stdout.write(f"  {known}  {row.index}  {row.serial}  {', '.join(row.names[:5])}  by {row.issuer}")
        return unknown
