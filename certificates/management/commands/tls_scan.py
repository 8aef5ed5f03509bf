"""`KEYVAULT_TOKEN=... ./manage.py tls_scan host:port [--profile modern --server nginx ...]`: ends with 1 on drift or grade F."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from certificates.management.commands.tls_config import add_configuration, configuration_of
from certificates.tls import services
from keys.services.command_actor import command_actor
from keyvault_portal.edges import cli_error
from keyvault_portal.errors import PortalError


class Command(BaseCommand):
    help = "Scan a live TLS endpoint and compare it with a configuration; the API token comes from KEYVAULT_TOKEN."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="HOST:PORT")
        add_configuration(parser, profile_required=False)

    def handle(self, *args: Any, **options: Any) -> None:
        host, _, port = options["endpoint"].rpartition(":")
        if not (host and port.isascii() and port.isdigit()):
            raise CommandError("Write the endpoint as host:port.")
        try:
            asked = configuration_of(options) if options["profile"] else None
            found = services.scan_endpoint(actor=command_actor(), host=host.strip("[]"), port=int(port), asked=asked)
        except PortalError as error:
            raise cli_error(error) from None
        self._say(found)
        if found.differences or found.grade.letter == "F":
            sys.exit(1)

    def _say(self, found: services.Scan) -> None:
        report = found.report
        self.stdout.write(f"Grade {found.grade.letter}  {report.host}:{report.port} ({report.address})")
        for reason in found.grade.reasons:
            self.stdout.write(f"  at most {reason.cap}: {reason.text}")
        for label, names in (
            ("Versions", report.versions), ("TLS 1.3", report.suites13), ("TLS 1.2", report.ciphers), ("Groups", report.groups),
        ):  # fmt: skip
            self.stdout.write(f"{label}: {', '.join(names) or 'none'}")
        for facts in report.chain:
            self.stdout.write(f"{facts.subject}, {facts.key}, until {facts.not_after:%Y-%m-%d}, pin {facts.pin}")
        for difference in found.differences:
            self.stdout.write(f"Differs: {difference.setting}: {difference.found}; wanted: {difference.wanted}")
        if found.asked and not found.differences:
            self.stdout.write("It runs what was generated.")
