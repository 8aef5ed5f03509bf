"""./manage.py quickstart: everything in one terminal, and one address to open."""

import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from rich.console import Console

from keys.services.root_key import ensure_root_key
from keyvault_portal import embedded, quickstart
from keyvault_portal.accounts.services import create_setup_link, officer_exists
from keyvault_portal.audit.signing import ensure_signing_key
from keyvault_portal.checks import refuse_to_start
from keyvault_portal.errors import PortalError
from keyvault_portal.quickstart.supervisor import Supervisor


class Command(BaseCommand):
    help = "Start everything in one terminal: PostgreSQL, Valkey, web server, worker and beat. Ctrl-C stops it all."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=quickstart.port_number, help="of the web server; remembered for later starts"
        )
        parser.add_argument("--demo", action="store_true", help="also make a demonstration organisation and a shop")
        parser.add_argument(
            "--customers", type=quickstart.row_count, default=50_000, help="how many customers the shop has"
        )

    def handle(self, *args: Any, demo: bool, customers: int, **options: Any) -> None:
        try:
            self._run(customers if demo else None)
        except embedded.EmbeddedError as error:
            _give_up(str(error))
        except PortalError as error:
            _give_up(" ".join(filter(None, (error.detail, error.hint))))
        except DatabaseError as error:
            _give_up(f"The database refused: {str(error).strip().splitlines()[0]}")
        except CommandError as error:
            _give_up(str(error))
        except OSError as error:
            _give_up(f"{error.filename or settings.VAR_DIR}: {error.strerror}.")
        finally:
            quickstart.release()

    def _run(self, customers: int | None) -> None:
        if not settings.EMBEDDED:
            raise embedded.EmbeddedError(
                "Quickstart brings its own servers, but DATABASE_URL is set; unset it, or run web, worker and beat as the README shows."
            )
        refuse_to_start()
        console = Console(highlight=False, soft_wrap=True)
        quickstart.claim(settings.VAR_DIR)
        supervisor = Supervisor(settings.VAR_DIR, settings.BASE_DIR, console)
        console.print("[bold]KeyVault Portal[/bold]")
        with supervisor.session():
            supervisor.start_web()
            supervisor.start_services()
            supervisor.line("Database", _migrate(console))
            supervisor.line("Key files", "mode 0600, keep a copy", ensure_root_key())
            ensure_signing_key()
            supervisor.start_keyholder()
            if customers is not None:
                supervisor.wait_for_keyholder()
                call_command("demo", "--seed-only", customers=customers)
            supervisor.wait_for_web()
            address, about = _first_page()
            supervisor.start_others()
            console.print(f"\n  Open  [bold]{address}[/bold]\n        {about}\n        Ctrl-C stops everything.\n")
            connections.close_all()
            supervisor.watch()


def _migrate(console: Console) -> str:
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if not waiting:
        return "up to date"
    with console.status("Preparing the database"):
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
    return f"{waiting} migrations applied"


def _first_page() -> tuple[str, str]:
    """Where to go, and what that is."""
    if officer_exists():
        return settings.PORTAL_ORIGIN.rstrip("/") + "/", "Sign in there."
    return create_setup_link(), "Makes the first security officer; works once, within 24 hours."


def _give_up(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.exit(1)
