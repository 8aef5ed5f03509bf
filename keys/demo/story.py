"""The whole story without a browser: ask, agree twice, introduce, re-encrypt, decommission, export, verify."""

import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keys.datastores.base import Page, Row
from keys.demo import shop
from keys.demo.organisation import STORY_KEY, Organisation, agree
from keys.models import DataStore, Rotation
from keys.services import census, materials, rotation
from keys.services.opening import spec_of
from keys.services.recoding import recoder
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.evidence.pack import write_pack
from keyvault_portal.audit.signing import load_signer
from keyvault_portal.errors import ApprovalRequired

WAIT_SECONDS = 600


class StoryFailed(RuntimeError):
    """A sentence for the person at the terminal."""


@dataclass
class Story:
    """Plays the story and remembers what each step brought and how long it took."""

    org: Organisation
    console: Console
    shop_url: str
    folder: Path
    rows: list[tuple[str, str, float]] = field(default_factory=list)

    def play(self) -> Path:
        """Play every step and return the evidence pack; raises StoryFailed."""
        store = DataStore.objects.select_related("key").get(name="shop-customers")
        key = self.org.keys[STORY_KEY]
        estimate = self._step(
            "Dry run", lambda: rotation.dry_run(actor=self.org.actor("ada"), key_id=key.pk), _estimate
        )
        request = self._step(
            "Ada asks for a rotation",
            lambda: self._ask(
                lambda: rotation.request_rotation(
                    actor=self.org.actor("ada"), key_id=key.pk, reason="The cryptoperiod ends this week."
                )
            ),
            lambda r: f"act {r.act_hash[:16]}…",
        )
        request = self._step(
            "Boris and Chen agree", lambda: agree(self.org, request.pk, "boris", "chen"), lambda r: r.state
        )
        found = self._rotation(request)
        self._step(
            "Introduce",
            lambda: found,
            lambda r: f"version {r.new_version.key_version} active, version {r.old_version.key_version} opens only",
        )
        self._step("Re-encrypt", lambda: self._watch(found, estimate.items), lambda r: f"{r:,} items moved")
        self._step(
            "Census",
            lambda: census.live_items(found.old_version),
            lambda left: f"{left} items on version {found.old_version.key_version}",
        )
        self._step("Compare every row", lambda: self._compare(store), lambda n: f"{n:,} customers read back, all equal")
        request = self._step(
            "Ada asks to decommission",
            lambda: self._ask(
                lambda: rotation.request_decommission(
                    actor=self.org.actor("ada"), rotation_id=found.pk, reason="The census is zero."
                )
            ),
            lambda r: f"act {r.act_hash[:16]}…",
        )
        request = self._step(
            "Boris and Chen agree", lambda: agree(self.org, request.pk, "boris", "chen"), lambda r: r.state
        )
        found.refresh_from_db()
        if found.state != "decommissioned":
            raise StoryFailed(f"The old version was not decommissioned: {request.failure_detail or found.state}.")
        found.old_version.refresh_from_db()
        due = found.old_version.deletion_due_at
        self._step(
            "Decommission",
            lambda: due,
            lambda when: f"version {found.old_version.key_version} is destroyed after {when:%Y-%m-%d %H:%M} UTC",
        )
        pack: Path = self._step(
            "Fay exports the evidence", self._export, lambda path: f"{path.name}, {path.stat().st_size / 1024:,.0f} KiB"
        )
        self._step("A stranger verifies it offline", lambda: self._verify(pack), lambda text: text)
        return pack

    def _step(self, title: str, work: Callable[[], Any], told: Callable[[Any], str]) -> Any:
        start = time.perf_counter()
        result = work()
        self.rows.append((title, told(result), time.perf_counter() - start))
        self.console.print(f"[green]✓[/green] {title}: {told(result)}")
        return result

    def _ask(self, act: Callable[[], Any]) -> ApprovalRequest:
        try:
            act()
        except ApprovalRequired as waiting:
            return ApprovalRequest.objects.get(pk=waiting.request_id)
        raise StoryFailed("Nobody was asked: the policy of the key has no quorum.")

    def _rotation(self, request: ApprovalRequest) -> Rotation:
        if request.state != "executed":
            raise StoryFailed(f"The rotation did not start: {request.failure_detail or request.state}.")
        return Rotation.objects.select_related("old_version__key", "new_version__key").get(approval_id=request.pk)

    def _watch(self, found: Rotation, total: int) -> int:
        """Show the workers' progress until the walk is over."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        deadline = time.monotonic() + WAIT_SECONDS
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task("re-encrypting", total=total, rate="")
            while True:
                jobs = list(found.jobs.all())
                done = sum(job.items_done for job in jobs)
                found.refresh_from_db(fields=["state", "last_error"])
                bar.update(task, completed=done, total=max(total, sum(job.items_total for job in jobs)))
                if found.state == "re_encrypted":
                    return done
                if found.state == "failed" or time.monotonic() > deadline:
                    raise StoryFailed(
                        f"The re-encryption stopped: {found.last_error or 'no worker finished it in time'}."
                    )
                time.sleep(0.2)

    def _compare(self, store: DataStore) -> int:
        version = materials.active_version(self.org.keys[STORY_KEY])
        reader, template = recoder(store, version, version), spec_of(store).context
        binds = [template.bind(column) for column in shop.COLUMNS]

        def read(batch: list[tuple[int, tuple[bytes, ...]]]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
            rows = Page.of([Row(str(pk), cells, tuple(bind(str(pk)) for bind in binds)) for pk, cells in batch])
            reader.prepare(rows)
            for (pk, _), row in zip(batch, rows, strict=True):
                yield (
                    pk,
                    tuple(reader.open(cell, context) for cell, context in zip(row.cells, row.contexts, strict=True)),
                )

        checked, wrong = shop.compare(self.shop_url, read)
        if wrong:
            raise StoryFailed(f"{len(wrong)} customers differ, the first is {wrong[0]}.")
        return checked

    def _export(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "evidence.zip"
        buffer = io.BytesIO()
        write_pack(self.org.actor("fay"), buffer)
        path.write_bytes(buffer.getvalue())
        return path

    def _verify(self, pack: Path) -> str:
        """Take the verifier out of the pack and run it with a bare interpreter and the public key, given separately."""
        with zipfile.ZipFile(pack) as archive:
            program = Path(archive.extract("verify.py", self.folder))
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(program), str(pack), "--key", load_signer().public_key.hex()],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (done.stdout or done.stderr).strip().splitlines()
        if done.returncode:
            raise StoryFailed(f"The evidence did not verify: {lines[-1] if lines else 'no answer'}")
        return lines[-1]


def _estimate(estimate: rotation.Estimate) -> str:
    return f"{estimate.items:,} items, {estimate.provider_calls:,} provider calls, about {estimate.seconds:.0f} s"
