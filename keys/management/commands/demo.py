"""Make the demonstration, and play its story without a browser."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from keys.demo import organisation, shop
from keys.demo.story import Story, StoryFailed
from keyvault_portal.errors import PortalError
from keyvault_portal.quickstart import row_count


class Command(BaseCommand):
    help = "Make a demonstration organisation with a shop of encrypted customers; with --headless play a rotation from request to proof."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--seed-only", action="store_true", help="make what is missing, print the sign-in links and stop"
        )
        parser.add_argument(
            "--headless", action="store_true", help="play the whole story here, with two worker processes"
        )
        parser.add_argument("--customers", type=row_count, default=50_000)
        parser.add_argument("--orders", type=row_count, default=2_000)

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = Console()
        try:
            with _services(options["headless"]):
                org, url = self._seed(options["customers"], options["orders"])
                if options["headless"]:
                    self._play(org, url)
                else:
                    self._links(org)
        except PortalError as error:
            raise CommandError(f"{error.detail} {error.hint}".strip()) from None
        except StoryFailed as error:
            raise CommandError(str(error)) from None

    def _seed(self, customers: int, orders: int) -> tuple[organisation.Organisation, str]:
        columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            org = organisation.load()
            if org is None:
                task = bar.add_task("People and keys", total=len(organisation.PEOPLE) + len(organisation.KEYS))
                org = organisation.make(lambda name: bar.update(task, advance=1, description=name))
            url = shop.shop_url()
            task = bar.add_task("Customers and orders", total=customers + orders)
            shop.fill(org, url, customers, orders, lambda rows: bar.update(task, advance=rows))
            shop.register(org, url)
        return org, url

    def _links(self, org: organisation.Organisation) -> None:
        """A line for each link, whatever the width of the terminal: a link that is folded cannot be copied."""
        self.console.print("\n  Sign-in links; link and code work once, the next start prints new ones")
        for name, roles, link, code in organisation.ways_in(org):
            said = f"code [bold]{code}[/bold]" if link else "cannot be signed in any more"
            self.console.print(f"\n  [bold]{name}[/bold], {roles}, {said}", highlight=False)
            if link:
                self.console.print(f"  {link}", highlight=False, soft_wrap=True)
        self.console.print()

    def _play(self, org: organisation.Organisation, url: str) -> None:
        story = Story(org, self.console, url, settings.VAR_DIR / "demo")
        with _workers():
            pack = story.play()
        table = Table(title="What happened")
        table.add_column("Step")
        table.add_column("Result", overflow="fold")
        table.add_column("Seconds", justify="right")
        for title, result, seconds in story.rows:
            table.add_row(title, result, f"{seconds:.2f}")
        self.console.print(table)
        # On a line of its own, whatever the width of the terminal, for it is meant to be copied.
        self.console.print(f"Evidence pack: {pack}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _services(needed: bool) -> Iterator[None]:
    """The embedded services for a run of its own; nothing where they are the user's own or already running."""
    if not needed or not settings.EMBEDDED:
        yield
        return
    from django.core.management import call_command

    from keys.services.root_key import ensure_root_key
    from keyvault_portal.audit.signing import ensure_signing_key
    from keyvault_portal.embedded import EmbeddedError, Services

    services = Services(settings.VAR_DIR)
    try:
        services.start()
    except EmbeddedError as error:
        raise CommandError(str(error)) from None
    try:
        ensure_root_key()
        ensure_signing_key()
        call_command("migrate", verbosity=0)
        yield
    finally:
        services.stop()


@contextmanager
def _workers() -> Iterator[None]:
    """A Celery worker with two processes, for as long as the story runs."""
    log = (settings.VAR_DIR / "demo-worker.log").open("ab")
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "keyvault_portal",
        "worker",
        "--concurrency",
        "2",
        "--loglevel",
        "warning",
        "--without-gossip",
        "--without-mingle",
        "-n",
        f"demo-{os.getpid()}@%h",
    ]
    with log:
        worker = subprocess.Popen(
            command, cwd=settings.BASE_DIR, stdout=log, stderr=log, env=os.environ | {"C_FORCE_ROOT": "1"}
        )
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(30)
