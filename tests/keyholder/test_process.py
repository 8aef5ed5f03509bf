"""The keyholder as a process: who may ask, what it opens, and that sealing reaches everybody within a second or two."""

import base64
import ctypes
import json
import os
import signal
import socket
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.db import OperationalError
from django.test import Client

from keys.crypto import receiving
from keys.crypto.secret import SecretBytes
from keys.keyholder import memory, wire
from keys.keyholder.client import Keyholder
from keys.keyholder.holder import HolderError
from keys.management.commands import keyholder as keyholder_command
from keys.management.commands.keyholder import LOOK_EVERY
from keys.models import RootSeal, SealState
from keys.services import materials, seals, unsealing
from keys.services.provider_seals import seal_context
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.audit.services import AuditUnavailable
from keyvault_portal.errors import Conflict, DecryptRefused, PermissionRefused, Sealed, ValidationFailed
from tests.api.conftest import sign_in
from tests.keyholder.conftest import forget
from tests.keyholder.sealing import offer, retired, shares_for

pytestmark = pytest.mark.django_db(transaction=True)


def sealed_soon(call) -> None:
    """`call` raises Sealed before long: a second (`seal_watch.LOOK_EVERY`), on a machine that is not busy."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            call()
        except Sealed:
            return
        time.sleep(0.05)
    raise AssertionError("still open")


def test_keys_are_used_through_it_and_the_key_file_is_not_read(organisation, keyholder, settings, tmp_path):
    settings.ROOT_KEY_FILE = tmp_path / "none"
    version = materials.active_version(organisation.keys["pii"])
    payload = materials.cipher(version).encrypt(b"data", b"{}")
    forget()
    assert materials.cipher(materials.active_version(organisation.keys["pii"])).decrypt(payload, b"{}") == b"data"
    assert organisation.key("another", "master").current is not None


def test_the_context_is_bound_and_garbage_is_refused(keyholder):
    wrapped = keyholder.wrap(SecretBytes(b"secret"), b"{}")
    assert keyholder.unwrap(wrapped, b"{}").reveal() == b"secret"
    with pytest.raises(DecryptRefused):
        keyholder.unwrap(wrapped, b"[]")


def test_the_first_start_registers_the_key_file(keyholder):
    assert RootSeal.objects.get().kind == "file"
    assert AuditEvent.objects.filter(action="seal.register").exists()


def test_another_user_is_not_answered(keyholder, socket_path, user_nobody):
    """Even with the socket's own mode out of the way, the kernel's word about the caller decides."""
    for path, mode in ((socket_path.parent.parent, 0o755), (socket_path.parent, 0o755), (socket_path, 0o666)):
        path.chmod(mode)
    for user, heard in ((user_nobody, False), (os.getuid(), True)):
        child = os.fork()
        if child == 0:
            os.setuid(user)
            os._exit(0 if _is_answered(socket_path) else 1)
        assert (os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0) == heard


def _is_answered(path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(path))
            wire.send(connection, {"op": "status"})
            return "sealed" in wire.receive(connection)
    except (OSError, wire.WireError):
        return False


def test_its_memory_cannot_be_dumped(start_keyholder):
    process = start_keyholder()
    proc = Path(f"/proc/{process.pid}")
    limits = (proc / "limits").read_text()
    assert "Max core file size        0                    0" in limits
    status = (proc / "status").read_text()
    assert (
        int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmLck"))) > 0 or os.geteuid() != 0
    )


def test_its_own_user_cannot_look_into_it(user_nobody):
    """Root's processes are root's anyway; one of another user becomes root's in /proc as soon as it cannot be dumped."""
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    for protected in (False, True):
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.setuid(user_nobody)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a fresh program is: the change of user had taken it away
            if protected:
                memory.protect()
            os.write(tell, b"x")
            time.sleep(600)
        try:
            os.read(ready, 1)
            assert (Path(f"/proc/{child}/mem").stat().st_uid == 0) is protected
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_sealing_reaches_every_user_of_keys_and_survives_a_restart(
    organisation, keyholder, start_keyholder, socket_path
):
    officer = organisation.actor("ada")
    version = materials.active_version(organisation.keys["pii"])
    payload = materials.cipher(version).encrypt(b"data", b"{}")
    with pytest.raises(PermissionRefused):
        seals.seal_now(actor=organisation.actor("dana"), reason="curious")
    seals.seal_now(actor=officer, reason="An intruder in the machine room.")
    assert keyholder.status()["sealed"]
    sealed_soon(lambda: materials.cipher(version).decrypt(payload, b"{}"))
    socket_path.unlink()
    start_keyholder()
    assert keyholder.status()["sealed"]
    assert seals.open_again(actor=officer)
    assert materials.cipher(version).decrypt(payload, b"{}") == b"data"
    assert list(AuditEvent.objects.filter(action__startswith="portal.").order_by("-pk").values_list("action", flat=True)[:2]) == [
        "portal.open", "portal.seal",
    ]  # fmt: skip


def test_a_portal_sealed_on_another_machine_is_sealed_here(organisation, keyholder):
    SealState.objects.update_or_create(pk=1, defaults={"sealed_at": "2026-01-01T00:00:00Z", "sealed_by": "elsewhere"})
    deadline = time.monotonic() + 60
    while not keyholder.status()["sealed"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert keyholder.status()["sealed"]


def test_a_killed_keyholder_seals(organisation, start_keyholder, socket_path, settings):
    process = start_keyholder()
    settings.KEYHOLDER_SOCKET = str(socket_path)
    forget()
    version = materials.active_version(organisation.keys["pii"])
    payload = materials.cipher(version).encrypt(b"data", b"{}")
    process.kill()
    process.wait()
    sealed_soon(lambda: materials.cipher(version).decrypt(payload, b"{}"))
    start_keyholder()
    assert materials.cipher(version).decrypt(payload, b"{}") == b"data"


def test_custodians_open_a_portal_whose_key_file_is_gone(
    organisation, keyholder, start_keyholder, socket_path, monkeypatch, tmp_path
):
    officer = organisation.actor("ada")
    version = materials.active_version(organisation.keys["pii"])
    payload = materials.cipher(version).encrypt(b"data", b"{}")
    made = shares_for(organisation)
    with pytest.raises(Conflict):
        seals.register_shares(actor=officer, name="Again", threshold=2, count=3, reason="r")
    file = RootSeal.objects.get(kind="file")
    retired(organisation, file)
    with pytest.raises(Conflict):
        seals.retire_seal(actor=officer, seal_id=made.seal.pk, reason="r")
    keyholder.seal()
    forget()

    visitor = Client()
    assert visitor.get("/").status_code == 503
    assert visitor.get("/api/v1/keys").json()["code"] == "sealed"
    page = visitor.get("/sealed/")
    assert page.status_code == 503
    assert b"0 of 2" in page.content

    def give(words: str):
        status = unsealing.attempt()
        public, bound = bytes.fromhex(status["public_key"]), unsealing.bound_to(status["nonce"])
        text = base64.b64encode(receiving.seal(public, words.encode(), bound)).decode()
        return visitor.post("/sealed/", {"nonce": status["nonce"], "sealed": text})

    assert keyholder.status()["public_key"].encode() in page.content
    clear = visitor.post("/sealed/", {"nonce": keyholder.status()["nonce"], "mnemonic": made.mnemonics[2]})
    assert b"no sealed share" in clear.content
    assert keyholder.status()["given"] == []
    assert give(made.mnemonics[2]).status_code == 302
    wrong = give(made.mnemonics[2])
    assert b"given already" in wrong.content
    assert b"mistyped" in give("academic acid " * 10).content
    assert give(made.mnemonics[0]).headers["Location"] == "/"
    forget()
    assert materials.cipher(version).decrypt(payload, b"{}") == b"data"
    recorded = AuditEvent.objects.filter(action__in=["portal.unseal", "seal.register"])
    assert not any(word in repr(list(recorded.values())) for word in made.mnemonics)


def test_a_quorum_overrules_a_sealing_though_whoever_passed_its_shares_on_is_gone(organisation, keyholder):
    made = shares_for(organisation)
    seals.seal_now(actor=organisation.actor("ada"), reason="A drill.")
    nonce = keyholder.begin()
    assert [offer(keyholder, nonce, made.mnemonics[index]) for index in (2, 0)] == [1, 0]
    deadline = time.monotonic() + 2.5 * LOOK_EVERY
    while time.monotonic() < deadline:
        assert not keyholder.status()["sealed"]
        time.sleep(0.1)
    assert not seals.sealed_on_purpose()
    (opened,) = AuditEvent.objects.filter(action="portal.unseal")
    assert json.loads(bytes(opened.leaf))["details"]["shares"] == [1, 3]


@pytest.mark.parametrize("error", [OperationalError("gone"), AuditUnavailable("full")])
def test_what_cannot_be_recorded_is_told_in_words(monkeypatch, error):
    monkeypatch.setattr(unsealing, "record_opening", Mock(side_effect=error))
    with pytest.raises(HolderError, match="give the shares once more") as refused:
        keyholder_command._record_opening([1, 2])
    assert refused.value.code == "not_recorded"


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (4, 3), (2, 17)])
def test_impossible_quorums_are_refused(organisation, keyholder, threshold, count):
    with pytest.raises(ValidationFailed):
        seals.register_shares(
            actor=organisation.actor("ada"), name="Custodians", threshold=threshold, count=count, reason="r"
        )


def test_after_a_fork_each_process_has_a_connection_of_its_own(keyholder):
    wrapped = keyholder.wrap(SecretBytes(b"secret"), b"{}")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        ok = all(Keyholder(keyholder.path).unwrap(wrapped, b"{}").reveal() == b"secret" for _ in range(200))
        os.write(writing, b"1" if ok else b"0")
        os._exit(0)
    assert all(keyholder.unwrap(wrapped, b"{}").reveal() == b"secret" for _ in range(200))
    os.waitpid(child, 0)
    assert os.read(reading, 1) == b"1"
    os.close(reading)
    os.close(writing)


def test_the_seal_pages(organisation, keyholder):
    officer = sign_in(organisation.people["ada"])
    assert b"Key file" in officer.get("/keys/seals/").content
    asked = {"name": "Custodians", "threshold": 2, "count": 3, "reason": "For the worst day."}
    assert b"This field is required" in officer.post("/keys/seals/shares/", asked | {"reason": ""}).content
    assert b"less than or equal" in officer.post("/keys/seals/shares/", asked | {"count": 99}).content
    made = shares_for(organisation)
    assert b"Share " not in officer.get("/keys/seals/").content
    assert officer.post("/keys/seals/shares/", asked).status_code == 422, "there is a set already"
    RootSeal.objects.filter(pk=made.seal.pk).update(state="preparing", wrapped=None)
    assert b"Make the shares" in officer.get("/keys/seals/").content
    where = f"/keys/seals/{made.seal.pk}/shares/"
    assert b"3 shares are shown" in officer.get(where).content
    other = sign_in(organisation.people["boris"])
    assert b"Make the shares" not in other.get("/keys/seals/").content
    page = receiving.ReceivingKey()
    asked = {"key": base64.b64encode(page.public).decode()}
    assert other.post(where, asked).status_code == 403
    assert officer.post(where, {"key": "eA=="}).status_code == 422
    shown = officer.post(where, asked)
    words = [page.open(base64.b64decode(one), seal_context(made.seal.pk)).reveal() for one in shown.json()["sealed"]]
    assert [len(one.split()) for one in words] == [33, 33, 33]
    assert not any(word in shown.content for one in words for word in one.split() if len(word) > 5)
    assert "no-store" in shown.headers["Cache-Control"]
    assert officer.post(where, asked).status_code == 409, "once"
    assert officer.post("/keys/seals/now/", {"reason": "Drill."}).headers["Location"] == "/sealed/"
    forget()
    assert officer.get("/keys/").status_code == 503
    assert b"sealed on purpose" in officer.get("/sealed/").content
    officer.post("/sealed/", {"open": "1"})
    forget()
    assert officer.get("/keys/").status_code == 200
    assert officer.get("/sealed/").status_code == 200


def test_a_custodian_cannot_guess_for_ever(organisation, keyholder):
    seals.seal_now(actor=organisation.actor("ada"), reason="Drill.")
    forget()
    visitor = Client()
    answers = {visitor.post("/sealed/", {"nonce": "x", "sealed": "eA=="}).status_code for _ in range(25)}
    assert 429 in answers
