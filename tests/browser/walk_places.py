"""A walk through all seven places in Chromium: `python tests/browser/walk_places.py FOLDER [ALIAS ...]` says what it saw and takes pictures.

Every kind is registered by its form against its real counterpart, tested, given a key that is used, changed behind the
portal's back and put right by the button; then keys are moved, and all pages about places are looked at. It takes some minutes.
"""

import base64
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("PORTAL_VAR_DIR", tempfile.mkdtemp(prefix="portal-walk-"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")
import django  # noqa: E402

django.setup()
logging.getLogger("werkzeug").setLevel(logging.WARNING)

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from keys.providers.base import KeyHandle  # noqa: E402
from tests.browser import driving  # noqa: E402
from tests.browser.portal import MODULE, TOKEN, RunningPortal  # noqa: E402
from tests.providers import (  # noqa: E402
    bao,
    place_aws_kms,
    place_aws_kms_ministack,
    place_azure_mhsm,
    place_gcp_kms,
    place_kmip,
)

SEED = """
import json, django
django.setup()
from tests.browser import seed
from keys.demo import organisation
from keyvault_portal.accounts import services as accounts
org = organisation.make(lambda _: None)
_, token = accounts.create_token(actor=org.actor("ada"), owner=org.people["shop"], name="walk", scopes=["key.encrypt", "key.decrypt", "key.sign"])
print(json.dumps({"people": seed._people(org), "token": token}))
"""


class WalkPortal(RunningPortal):
    """The organisation of the demonstration and nothing else."""

    def __init__(self, folder: Path, **more: str) -> None:
        super().__init__(folder)
        self._more = more

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"DJANGO_SETTINGS_MODULE": "tests.browser.fake_settings"} | self._more

    def _seed(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SEED], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@dataclass
class Stop:
    """One place of the walk: its kind, what is typed into its form, and what somebody changes there behind the portal's back."""

    alias: str
    kind: str
    values: dict[str, str]
    change: Callable[[str], None] | None = None
    rotate: Callable[[str], None] | None = None
    algorithm: str = "AES-256-GCM"
    found: dict[str, Any] = field(default_factory=dict)


def stops(stack: ExitStack, portal_folder: Path) -> Iterator[Stop]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="walk-")))
    moto = stack.enter_context(place_aws_kms.running())
    line = moto.provider._connection
    keys = {"access_key_id": line.credentials["aws_access_key_id"], "secret_access_key": line.credentials["aws_secret_access_key"]}  # fmt: skip
    yield Stop("aws-moto", "aws_kms", {"region": "eu-central-1", "endpoint": line.primary.endpoint, **keys}, moto.change_metadata,
               lambda opaque: moto.provider.set_rotation(KeyHandle("AES-256-GCM", opaque), 365))  # fmt: skip
    mini = stack.enter_context(place_aws_kms_ministack.running())
    end = mini.provider._connection.primary.endpoint
    two = mini.make(replica_regions=f"eu-west-1={end}")

    def open_the_copy(opaque: str) -> None:
        place_aws_kms.change_metadata(two, opaque.replace("eu-central-1", "eu-west-1"))

    values = {"region": "eu-central-1", "endpoint": end, "replica_regions": f"eu-west-1={end}", "access_key_id": "walk", "secret_access_key": "walk"}  # fmt: skip
    yield Stop("aws-regions", "aws_kms", values, open_the_copy,
               lambda opaque: two.set_rotation(KeyHandle("AES-256-GCM", opaque), 90))  # fmt: skip
    address = stack.enter_context(bao.dev_server(folder))

    def configure(opaque: str, **config: Any) -> None:
        bao.call(address, "post", f"transit/keys/{opaque.rpartition(':v')[0]}/config", config)

    yield Stop("openbao", "vault_transit", {"address": address, "token": bao.ROOT_TOKEN},
               lambda opaque: configure(opaque, deletion_allowed=True), lambda opaque: configure(opaque, auto_rotate_period="720h"))  # fmt: skip
    yield Stop("hsm", "pkcs11", {"module": MODULE, "token": TOKEN, "pin_source": f"file:{portal_folder / 'pin'}"})
    gcp = stack.enter_context(place_gcp_kms.running())
    there = gcp.provider._connection
    yield Stop("gcp", "gcp_kms", place_gcp_kms.RING | {"endpoint": there._endpoint, "credentials": there._given.reveal().decode()},
               gcp.change_metadata, lambda opaque: gcp.provider.set_rotation(KeyHandle("AES-256-GCM", opaque), 90))  # fmt: skip
    azure = stack.enter_context(place_azure_mhsm.running())
    vault = azure.provider._connection
    os.environ["WALK_AZURE_CA"] = vault._options["connection_verify"]
    yield Stop("azure", "azure_kv", {
        "vault_url": vault.vault, "managed_hsm": "yes", "credential": "client_secret", "tenant_id": vault.identity.tenant_id,
        "client_id": vault.identity.client_id, "client_secret": vault.identity.secret.reveal().decode(),
    }, azure.change_metadata, lambda opaque: azure.provider.set_rotation(KeyHandle("AES-256-GCM", opaque), 90))  # fmt: skip
    kmip = stack.enter_context(place_kmip.running())
    server = kmip.provider._server
    files = dict(zip(("certificate", "key", "ca"), server._files, strict=True))
    yield Stop("kmip", "kmip", {"host": "127.0.0.1", "port": str(server._port), **files}, kmip.change_metadata)


class Walk:
    """What one officer does, and what the pages answer."""

    def __init__(self, portal: WalkPortal, browser: Browser, folder: Path) -> None:
        self.portal, self.browser, self.folder = portal, browser, folder
        self.sign_ins = driving.SignIns(portal)
        self.page = self.window("ada")
        self.worries: list[str] = []

    def window(self, name: str, **options: Any) -> Page:
        state = self.sign_ins.state_of(name, self.browser)
        return driving.new_context(self.browser, self.portal.url, storage_state=state, **options).new_page()

    def say(self, text: str) -> None:
        print(text, flush=True)

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.folder / f"{name}.png", full_page=True, animations="disabled")

    def message(self) -> str:
        return " | ".join(self.page.locator(".messages, .toast, [role=status], [role=alert]").all_inner_texts())[:400]

    def until(self, what: Callable[[], bool], path: str, seconds: float = 240) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.page.goto(path)
            if what():
                return True
            time.sleep(1)
        self.worries.append(f"waited in vain at {path}")
        return False

    def has(self, *texts: str) -> bool:
        content = self.page.locator("main").inner_text()
        return all(text in content for text in texts)

    def fill(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            box = self.page.locator(f"[name={name}]")
            if box.evaluate("box => box.tagName") == "SELECT":
                box.select_option(value)
            else:
                box.fill(value)

    def register(self, stop: Stop) -> None:
        self.page.goto(f"/keys/providers/new/{stop.kind}/")
        self.picture(f"form-{stop.kind}")
        patient = {"timeout": "60"}  # a busy machine is slow, not wrong
        self.fill({"alias": stop.alias, "title": stop.alias.replace("-", " ").title(), **stop.values, **patient})
        self.page.get_by_role("button", name="Register").click()
        if not self.page.url.endswith(f"/keys/providers/{stop.alias}/"):
            self.picture(f"refused-{stop.alias}")
            self.worries.append(f"{stop.alias}: not registered: {self.message()}")
        self.page.get_by_role("button", name="Test", exact=True).click()
        self.say(f"{stop.alias}: test: {self.message()}")
        self.picture(f"tested-{stop.alias}")

    def make_key(self, stop: Stop) -> None:
        self.page.goto("/keys/new/")
        self.page.locator("[name=ring]").select_option(label="Shop")
        self.fill(
            {
                "name": f"data-{stop.alias}",
                "title": f"Data at {stop.alias}",
                "algorithm": stop.algorithm,
                "provider": stop.alias,
            }
        )
        options = self.page.locator("[name=parent] option").all_inner_texts()
        self.page.locator("[name=parent]").select_option(label=next(text for text in options if "Orders KEK" in text))
        self.page.locator("main form button[type=submit]").last.click()
        path = self.page.url.removeprefix(self.portal.url)
        made = self.until(
            lambda: self.page.locator("main .badge", has_text=re.compile(r"^\s*Active\s*$")).count() > 0, path
        )
        self.picture(f"key-{stop.alias}")
        stop.found["key"] = path.strip("/").split("/")[-1]
        self.say(f"{stop.alias}: key {'active' if made else 'NOT active'} at {path}")

    def use(self, stop: Stop) -> None:
        key, secret = stop.found["key"], base64.b64encode(b"walk").decode()

        def ask(operation: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = self.page.request.post(
                f"{self.portal.url}/api/v1/keys/{key}/{operation}", data=body, headers={"Authorization": f"Bearer {self.portal.facts['token']}"}
            )  # fmt: skip
            return answer.json() | {"status": answer.status}

        sealed = ask("encrypt", {"plaintext": secret, "context": {"row": "1"}})
        opened = ask("decrypt", {"ciphertext": sealed.get("ciphertext", ""), "context": {"row": "1"}})
        wrong = ask("decrypt", {"ciphertext": sealed.get("ciphertext", ""), "context": {"row": "2"}})
        fine = opened.get("plaintext") == secret and wrong["status"] >= 400
        self.say(
            f"{stop.alias}: encrypt {sealed['status']}, decrypt {opened['status']}, wrong context {wrong['status']}"
        )
        if not fine:
            self.worries.append(f"{stop.alias}: used: {sealed} {opened} {wrong}")

    def handle(self, stop: Stop) -> str:
        query = f"import django; django.setup()\nfrom keys.models import KeyVersion\nprint(KeyVersion.objects.filter(key='{stop.found['key']}').latest('pk').handle)"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", query], cwd=ROOT, env=self.portal.environment, capture_output=True, text=True, check=True
        )  # fmt: skip
        return done.stdout.splitlines()[-1]

    def compare(self, stop: Stop, wanted: Callable[[], bool]) -> bool:
        path = f"/keys/providers/{stop.alias}/"
        self.page.goto(path)
        self.page.get_by_role("button", name="Compare now").click()
        return self.until(lambda: not self.has("never compared") and wanted(), path, 120)

    def drift(self, stop: Stop, what: str, change: Callable[[str], None]) -> None:
        change(self.handle(stop))
        seen = self.compare(stop, lambda: "differ" in self.page.locator("main").inner_text().lower() and self.page.locator("main .button-group").count() > 0)  # fmt: skip
        self.picture(f"difference-{what}-{stop.alias}")
        buttons = self.page.locator("main .button-group .button").all_inner_texts()
        self.say(f"{stop.alias}: {what} changed behind its back: {'seen' if seen else 'NOT seen'}, buttons {buttons}")
        accept = self.page.get_by_role("link", name="Accept")
        if accept.count():
            href = accept.first.get_attribute("href")
            self.page.goto(str(href))
            self.picture(f"accept-{what}-{stop.alias}")
            self.page.goto(f"/keys/providers/{stop.alias}/")
        right = self.page.get_by_role("button", name="Put it right")
        if right.count():
            right.first.click()
            gone = self.until(
                lambda: self.has("Both agree on every key") and not self.has("Work that is not done"),
                f"/keys/providers/{stop.alias}/",
                60,
            ) or self.compare(stop, lambda: self.has("Both agree on every key"))
            self.say(f"{stop.alias}: {what} put right: {gone}")
        elif accept.count():
            self.page.goto(str(href))
            self.page.locator("[name=reason]").fill("Looked at, and meant.")
            self.page.get_by_role("button", name="Accept").click()
            self.say(f"{stop.alias}: {what} accepted: {self.message()}")

    def move(self, name: str, key: str, target: str) -> None:
        self.page.goto(f"/keys/{key}/move/?target={target}")
        self.picture(f"move-request-{name}")
        self.page.locator("main form [name=target]").select_option(target)
        self.page.locator("[name=reason]").fill("The walk.")
        self.page.locator("main form button[type=submit]").last.click()
        if "/approvals/" in self.page.url:
            self.picture(f"move-approval-{name}")
            other = self.window("boris")
            other.goto(self.page.url)
            other.get_by_label("I have read the act").check()
            other.get_by_role("button", name="Approve").click()
            other.context.close()
        done = self.until(
            lambda: self.page.locator("main a", has_text=name).count() > 0 and self.page.locator("main tr", has_text=target).count() > 0,
            "/keys/moves/", 60,
        )  # fmt: skip
        self.page.locator("main tr", has_text=target).locator("a").first.click()
        path = self.page.url.removeprefix(self.portal.url)
        done = done and self.until(lambda: self.has("Re-wrapped") or self.has("Re wrapped"), path, 240)
        self.picture(f"moved-{name}")
        self.say(f"moved {name} to {target}: {done} ({path})")

    def look(self, pages: dict[str, str]) -> None:
        looks: dict[str, dict[str, Any]] = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": driving.PHONE, "is_mobile": True, "has_touch": True}}  # fmt: skip
        for look, options in looks.items():
            page = self.window("ada", **options)
            for name, path in pages.items():
                if "//" in path:
                    continue  # of a key that was not made this time
                with driving.complaints(page) as heard:
                    page.goto(path)
                self.worries += [f"{path}: {line}" for line in heard]
                self.worries += [f"{path} ({look}): {line}" for line in driving.axe(page)]
                if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                    self.worries.append(f"{path} ({look}) is wider than the window")
                page.screenshot(path=self.folder / f"{name}-{look}.png", full_page=True, animations="disabled")
            page.context.close()


def main(folder: Path, only: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portal-walk-")))
        places = list(stops(stack, home))
        portal = WalkPortal(home, WALK_AZURE_CA=os.environ["WALK_AZURE_CA"]).start()
        stack.callback(portal.stop)
        browser = driving.launch(stack.enter_context(sync_playwright()))
        stack.callback(browser.close)
        walk = Walk(portal, browser, folder)
        walk.page.goto("/keys/providers/")
        walk.picture("providers-empty")
        walk.page.goto("/keys/providers/new/")
        walk.picture("kinds")
        for stop in places:
            if only and stop.alias not in only:
                continue
            try:
                walk.register(stop)
                walk.make_key(stop)
                walk.use(stop)
                walk.compare(stop, lambda: walk.has("Both agree on every key"))
                if stop.change:
                    walk.drift(stop, "policy", stop.change)
                if stop.rotate:
                    walk.drift(stop, "rotation", stop.rotate)
            except Exception as error:
                walk.picture(f"broken-{stop.alias}")
                walk.worries.append(f"{stop.alias}: {error!r}"[:600])
        key = {stop.alias: stop.found.get("key", "") for stop in places}
        for name, source, target in (("hsm", "hsm", "openbao"), ("aws-regions", "aws-regions", "hsm")):
            if not key[source] or not key[target]:
                continue
            try:
                walk.move(f"Data at {name}", key[source], target)
            except Exception as error:
                walk.picture(f"broken-move-{name}")
                walk.worries.append(f"move {name}: {error!r}"[:600])
        walk.look({
            "providers": "/keys/providers/", "provider-aws": "/keys/providers/aws-regions/", "provider-hsm": "/keys/providers/hsm/",
            "provider-kmip": "/keys/providers/kmip/", "places": "/keys/places/", "kinds": "/keys/providers/new/",
            "import-new": "/keys/new/import/", "import-open": f"/keys/{key['aws-regions']}/import/", "export": f"/keys/{key['openbao']}/export/",
            "move-request": f"/keys/{key['openbao']}/move/", "moves": "/keys/moves/", "key": f"/keys/{key['aws-regions']}/",
            "seals": "/keys/seals/", "seal-now": "/keys/seals/now/", "policy": f"/keys/{key['aws-regions']}/policy/", "dashboard": "/",
        })  # fmt: skip
        print("worries:", *(walk.worries or ["none"]), sep="\n  ", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
