"""Measure, beside the raw limit and a peer in the same run: only the ratios mean anything on a shared machine."""

import gc
import json
import os
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from keys.benchmarks import JOBS
from keys.benchmarks.scratch import template
from keyvault_portal import PYTHONS_OWN, embedded
from keyvault_portal.measure import Measurement


class Command(BaseCommand):
    help = "Measure a part of the portal beside its raw limit and its peers: " + ", ".join(JOBS) + ", all."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", choices=[*JOBS, "all"], metavar="JOB", help=" | ".join([*JOBS, "all"]))
        parser.add_argument("--size", type=int, help="How much work a round is; each job has its own default.")
        parser.add_argument("--rounds", type=int, default=3, help="In each everything runs once; medians count.")
        parser.add_argument("--json", action="store_true", help="One JSON document instead of tables.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rounds"] < 1 or (options["size"] is not None and options["size"] < 1):
            raise CommandError("--size and --rounds are at least 1.")
        if settings.EMBEDDED and embedded.load_config(settings.VAR_DIR) is None:
            # The first start of all: the settings were read before there were ports and passwords to read.
            embedded.ensure_config(settings.VAR_DIR)
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606  this very program again
        gc.set_threshold(*PYTHONS_OWN)  # the peers run as Python runs anybody
        if options["job"] == "all":
            with template():
                results = {name: self._run(name, options["size"], options["rounds"]) for name in JOBS}
        else:
            results = {options["job"]: self._run(options["job"], options["size"], options["rounds"])}
        if options["json"]:
            document = {
                "load_average": os.getloadavg(),
                "jobs": {name: [asdict(row) | {"met": row.met} for row in rows] for name, rows in results.items()},
            }
            self.stdout.write(json.dumps(document, indent=1))
            return
        # Into a file or a pipe nothing is cut to the 80 columns of an unknown terminal.
        console = Console(width=None if self.stdout.isatty() else 120)
        for name, rows in results.items():
            console.print(_table(JOBS[name].title, rows))
        load = " ".join(f"{value:.2f}" for value in os.getloadavg())
        console.print(f"Load average {load} on {os.cpu_count()} cores. Only ratios compare: all ran in turns.")

    def _run(self, name: str, size: int | None, rounds: int) -> list[Measurement]:
        job = JOBS[name]
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        # On standard error, so that the result can go to a file.
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"{name}: {size or job.size:,} {job.of}", total=None)
            return job.run(size, rounds, lambda step: progress.update(task, description=f"{name}: {step}"))


def _table(title: str, rows: list[Measurement]) -> Table:
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    caption = "\n".join(f"{number}) {note}" for number, note in enumerate(notes, 1))
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("What", min_width=24)
    table.add_column("Value", justify="right", no_wrap=True)
    table.add_column("Against")
    table.add_column("Ratio (middle half)", justify="right", no_wrap=True)
    table.add_column("Goal", justify="right", no_wrap=True)
    table.add_column("Met", no_wrap=True)
    for row in rows:
        mark = f" {notes.index(row.note) + 1})" if row.note else ""
        goal = "" if row.goal is None else f"{'≤' if row.at_most else '≥'} {row.goal:g}"
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.met]
        value, ratio = f"{_number(row.value)} {row.unit}", _number(row.ratio, "")
        if row.spread:
            ratio += f" ({_number(row.spread[0])} - {_number(row.spread[1])})"
        table.add_row(escape(row.name) + mark, value, escape(row.against), ratio, goal, met)
    return table


def _number(value: float | None, absent: str = "-") -> str:
    if value is None:
        return absent
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
