"""Check the audit record and name the first bad event."""

import os
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.commands import public_key, verification_settings
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.pages import Finding
from keyvault_portal.audit.verification import verify

_WHERE = "./manage.py set_up prints it on the machine that has the key file"


class Command(BaseCommand):
    help = "Check every event, tile and checkpoint of the audit record; names the first bad event and exits with 1."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="start", type=_number, default=0, metavar="SEQ", help="begin at about this event"
        )
        parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
        parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="a checkpoint note that was kept elsewhere")
        parser.add_argument(
            "--since-checkpoint", action="store_true", help="check only what came after the checkpoint in FILE"
        )
        parser.add_argument(
            "--trust", action="append", type=public_key, default=[], metavar="KEY",
            help="beside the key file here, the public key of an earlier or another machine's (hex, or a file); repeatable",
        )  # fmt: skip
        parser.add_argument(
            "--every-signature", action="store_true", help="verify the signature of every checkpoint, not one a page"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        note, start = None, options["start"]
        if options["checkpoint"]:
            try:
                note = options["checkpoint"].read_text()
                known = checkpoint.parse(note)[0]
            except (OSError, ValueError) as error:
                raise CommandError(f"The checkpoint file cannot be used: {error}") from None
            start = known.size if options["since_checkpoint"] else start
        elif options["since_checkpoint"]:
            raise CommandError("--since-checkpoint needs --checkpoint FILE.")
        try:
            settings = verification_settings(every_signature=options["every_signature"], trusted=options["trust"])
        except AuditUnavailable as error:
            raise CommandError(
                f"{error.detail} Without it, give the public key that you trust: --trust KEY ({_WHERE})."
            ) from None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("Verifying", total=None)
            report = verify(
                settings,
                start=start,
                processes=options["processes"],
                external=note,
                progress=lambda done, size: bar.update(task, completed=done, total=size),
            )
        if report.finding:
            raise CommandError(_explain(report.finding), returncode=1)
        scope = f"events {report.start} to {report.size - 1}" if report.start else f"{report.size} events"
        self.stdout.write(f"{scope} and {report.checkpoints} checkpoints verify; root {report.root.hex()}")
        for key in settings.keys:
            self.stdout.write(
                f"trusted: {key.hex()} ({'by --trust' if key in options['trust'] else 'the key file here'})"
            )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ArgumentTypeError(f"{text!r} is no number of an event: 0 is the first")
    return int(text)


def _explain(found: Finding) -> str:
    said = f"First problem, at event {found.seq} ({found.problem}): {found.detail}"
    if found.problem == "signer_unknown":
        said += (
            "\nIs it this portal's earlier key, or another machine's? Then take its public key from outside this database "
            f"({_WHERE}; an evidence pack given away earlier has it in signers.json) and add --trust KEY.\n"
            "If nobody can vouch for it, somebody signed the record anew, with a key of their own."
        )
    return said
