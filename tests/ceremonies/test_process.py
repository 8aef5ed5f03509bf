"""The ceremony process as a process: over the real keys services, to another provider, and what ends it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

import psutil
import pysequoia
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ceremonies import offline, packages
from ceremonies.errors import (
    NotReady,
    ProcessUnavailable,
    SessionOpen,
    SessionOver,
    ShareOfAnotherPerson,
    ShareRefused,
    SplitRefused,
)
from ceremonies.process import doorkeeper, sealing
from ceremonies.process.client import CeremonyProcess, HolderGroup, RecipientKind
from ceremonies.shamir import SetRecord
from keys.crypto import receiving
from keys.crypto.hpke import X25519_SUITE
from keys.keyholder import wire
from keys.models import Key, KeyExport, KeyVersion, ProviderIntent
from keys.services import materials
from keys.services.providers import registration
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, DecryptRefused, NotFound, PermissionRefused, ValidationFailed
from tests.boot.processes import wait_until
from tests.ceremonies.conftest import MADE, SCRIPT
from tests.providers.place_pkcs11 import MODULE, PIN, initialise
from tests.shop import fresh_caches, organisation

__all__ = ["fresh_caches", "organisation"]
pytestmark = pytest.mark.django_db(transaction=True)
PEOPLE = ("ann", "ben", "cleo", "dan", "eva")
HOLDERS = dict(enumerate(PEOPLE, 1))


class Ceremony:
    """One ceremony as the room holds it: ids, a nonce, ciphertexts."""

    def __init__(self, client: CeremonyProcess, *, practice: bool = False) -> None:
        self.client, self.id = client, uuid4()
        self.opening = client.begin(ceremony_id=self.id, script_hash=SCRIPT, practice=practice)
        self.session = {"ceremony_id": self.id, "nonce": self.opening.nonce}

    def sealed(self, who: str, text: str, step: str = "give") -> bytes:
        public = x25519.X25519PublicKey.from_public_bytes(self.opening.public_key)
        bound = sealing.context(ceremony_id=self.id, script_hash=SCRIPT, step=step, custodian_id=who)
        return bytes(X25519_SUITE.encrypt(public, text.encode(), bound))

    def escrow(self, version_id: int, person_id) -> tuple[SetRecord, bytes, dict[str, str]]:
        self.client.make_escrow_key(**self.session)
        self.client.wrap_master_key(**self.session, version_id=version_id, person_id=person_id)
        record = self.client.split(**self.session, generation=1, groups=[HolderGroup(3, PEOPLE)], iteration_exponent=0)
        cards = {}
        for index, who in HOLDERS.items():
            mine = receiving.ReceivingKey()
            given = self.client.sealed_share_for(
                **self.session, index=index, custodian_id=who, step="show", kind=RecipientKind.PAGE, key=mine.public
            )
            bound = sealing.context(ceremony_id=self.id, script_hash=SCRIPT, step="show", custodian_id=who)
            cards[who] = mine.open(given.ciphertext, bound).reveal().decode().splitlines()[0]
            self.confirm(who, " ".join(cards[who].split()[position - 1] for position in given.positions))
        return record, self.client.package(**self.session, **MADE), cards

    def confirm(self, who: str, typed: str) -> int:
        ciphertext = self.sealed(who, typed, "confirm")
        return self.client.confirm(**self.session, custodian_id=who, step="confirm", ciphertext=ciphertext)

    def gather(self, record: SetRecord, cards: dict[str, str]) -> str:
        attempt = self.client.open_attempt(**self.session, record=record, holders=HOLDERS)
        for who in ("dan", "ann", "eva"):
            progress = self.client.take_share(
                ceremony_id=self.id,
                attempt=attempt,
                custodian_id=who,
                step="give",
                ciphertext=self.sealed(who, cards[who]),
            )
        assert (progress.given, progress.missing) == ((1, 4, 5), 0)
        return attempt

    def recover(self, record: SetRecord, package: bytes, cards: dict[str, str]):
        self.client.reconstruct(
            ceremony_id=self.id, attempt=self.gather(record, cards), escrow_check=packages.read(package).escrow_check
        )
        return self.client.unwrap(**self.session, package=package)


@pytest.fixture
def ada(organisation):
    return organisation.people["ada"].pk


@pytest.fixture
def root(organisation):
    """The version in use of the master key."""
    return materials.active_version(organisation.keys["root"])


@pytest.fixture
def hsm(organisation, tmp_path, monkeypatch, settings):
    """An empty token, registered as the provider `hsm`; returns what another process must be told of it."""
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    conf, pin = tmp_path / "softhsm2.conf", tmp_path / "pin"
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin.write_text(PIN)
    pin.chmod(0o600)
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    initialise("recovery", PIN)
    settings.PKCS11_MODULES = [MODULE]
    registration.register_provider(
        actor=organisation.actor("ada"), kind="pkcs11", alias="hsm", title="The new HSM",
        values={"module": MODULE, "token": "recovery", "pin_source": f"file:{pin}"},
    )  # fmt: skip
    return {"SOFTHSM2_CONF": str(conf), "PKCS11_MODULES": MODULE}


@pytest.mark.needs_softhsm
def test_escrow_loss_and_recovery_into_an_hsm(organisation, root, ada, hsm, start_process):
    old = materials.cipher(root).encrypt(b"data of before", b"aad")
    running = start_process(**hsm)
    first = Ceremony(running.client)
    record, package, cards = first.escrow(root.pk, ada)
    assert running.client.destroy(ceremony_id=first.id)
    assert KeyExport.objects.get().method == "escrow"
    # The loss: nothing that stood on the master key opens any more, the portal's own sealed values among it.
    KeyVersion.objects.filter(pk=root.pk).update(wrapped_material=secrets.token_bytes(64))
    materials.forget()
    with pytest.raises(DecryptRefused):
        materials.material(materials.active_version(organisation.keys["kek"]))
    second = Ceremony(running.client)
    master = second.recover(record, package, cards)
    assert (master.key_id, master.key_version, master.key_name) == (root.key_id, root.key_version, "root")
    handed = running.client.hand_over(**second.session, provider="hsm", person_id=ada)
    assert running.client.hand_over(**second.session, provider="hsm", person_id=ada) == handed
    running.client.destroy(ceremony_id=second.id)
    recovered = Key.objects.get(pk=handed.key_id)
    intent = ProviderIntent.objects.get(version_id=handed.version_id)
    assert (intent.pk, intent.state, intent.sealed_material) == (handed.intent_id, "done", None)
    assert (recovered.provider, recovered.name, recovered.kind) == ("hsm", "root-recovered-1", "master")
    assert materials.cipher(materials.active_version(recovered)).decrypt(old, b"aad") == b"data of before"
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"key.escrow", "key.import", "key.create", "provider.import"} <= actions


def test_what_the_services_refuse_comes_through(organisation, root, ada, start_process):
    client = start_process().client
    ceremony = Ceremony(client)
    client.make_escrow_key(**ceremony.session)
    wrap = {**ceremony.session, "version_id": root.pk}
    with pytest.raises(PermissionRefused, match=r"key\.export"):
        client.wrap_master_key(**wrap, person_id=organisation.people["dana"].pk)
    with pytest.raises(PermissionRefused):
        client.wrap_master_key(**wrap, person_id=uuid4())
    with pytest.raises(NotFound):
        client.wrap_master_key(**ceremony.session, version_id=10**9, person_id=ada)
    with pytest.raises(Conflict, match="may not be exported"):
        client.wrap_master_key(
            **ceremony.session, version_id=materials.active_version(organisation.keys["kek"]).pk, person_id=ada
        )
    with pytest.raises(SplitRefused, match="two shares"):
        client.split(**ceremony.session, generation=1, groups=[HolderGroup(2, ("ann", "ann"))])
    record, package, cards = ceremony.escrow(root.pk, ada)
    client.destroy(ceremony_id=ceremony.id)
    again = Ceremony(client)
    again.recover(record, package, cards)
    with pytest.raises(ValidationFailed) as caught:
        client.hand_over(**again.session, provider="nowhere", person_id=ada)
    assert "provider" in caught.value.errors
    handed = client.hand_over(**again.session, provider="local", person_id=ada)
    assert handed.intent_id is None
    made = Key.objects.get(pk=handed.key_id).versions.get()
    assert materials.material(made) == materials.material(root)


def test_killed_between_reconstruction_and_import_nothing_is_lost(organisation, root, ada, start_process):
    running = start_process()
    record, package, cards = (first := Ceremony(running.client)).escrow(root.pk, ada)
    running.client.destroy(ceremony_id=first.id)
    second = Ceremony(running.client)
    second.recover(record, package, cards)
    keys_before = Key.objects.count()
    running.kill()
    with pytest.raises(ProcessUnavailable):
        running.client.hand_over(**second.session, provider="local", person_id=ada)
    client = start_process().client
    with pytest.raises(SessionOver):
        client.hand_over(**second.session, provider="local", person_id=ada)
    assert Key.objects.count() == keys_before
    third = Ceremony(client)
    third.recover(record, package, cards)
    handed = client.hand_over(**third.session, provider="local", person_id=ada)
    assert materials.material(Key.objects.get(pk=handed.key_id).versions.get()) == materials.material(root)


def test_killed_after_the_import_it_is_not_imported_twice(organisation, root, ada, start_process):
    running = start_process()
    record, package, cards = (first := Ceremony(running.client)).escrow(root.pk, ada)
    running.client.destroy(ceremony_id=first.id)
    second = Ceremony(running.client)
    second.recover(record, package, cards)
    handed = running.client.hand_over(**second.session, provider="local", person_id=ada)
    running.kill()
    client = start_process().client
    opening = client.begin(ceremony_id=second.id, script_hash=SCRIPT)
    second.client, second.opening, second.session = client, opening, {"ceremony_id": second.id, "nonce": opening.nonce}
    second.recover(record, package, cards)
    assert client.hand_over(**second.session, provider="local", person_id=ada) == handed
    assert Key.objects.filter(name__startswith="root-recovered").count() == 1


def test_a_session_ends_when_nobody_says_anything(start_process):
    client = start_process(PORTAL_CEREMONY_IDLE_SECONDS="2").client
    ceremony = Ceremony(client)
    wait_until(lambda: not client.status(ceremony_id=ceremony.id).begun, "two seconds without a sign of life")
    with pytest.raises(SessionOver):
        client.make_escrow_key(**ceremony.session)


def test_sessions_end_on_abort_and_stop(start_process):
    running = start_process()
    client, ceremony = running.client, Ceremony(running.client)
    with pytest.raises(SessionOpen):
        client.begin(ceremony_id=ceremony.id, script_hash=SCRIPT)
    client.make_escrow_key(**ceremony.session)
    status = client.status(ceremony_id=ceremony.id)
    assert status.begun
    assert status.has_escrow_key
    aborted = Ceremony(client)
    assert client.destroy(ceremony_id=aborted.id)
    assert not client.destroy(ceremony_id=aborted.id)
    with pytest.raises(SessionOver):
        client.make_escrow_key(**aborted.session)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    assert not client.path.exists()
    with pytest.raises(ProcessUnavailable):
        client.status(ceremony_id=ceremony.id)


def test_a_share_can_go_to_its_custodians_own_key(start_process):
    client = start_process().client
    ceremony = Ceremony(client, practice=True)
    client.make_escrow_key(**ceremony.session)
    record = client.split(
        **ceremony.session, generation=1, groups=[HolderGroup(2, ("ann", "ben", "cleo"))], iteration_exponent=0
    )
    hpke, big = x25519.X25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = big.public_key().public_bytes(serialization.Encoding.PEM, spki)
    small = rsa.generate_private_key(65537, 1024).public_key().public_bytes(serialization.Encoding.DER, spki)
    ask = {**ceremony.session, "step": "deal"}
    for kind, key in (
        (RecipientKind.HPKE_X25519, bytes(32)), (RecipientKind.HPKE_X25519, b"short"), (RecipientKind.RSA_OAEP, small),
        (RecipientKind.RSA_OAEP, b"-----BEGIN nonsense"), (RecipientKind.RSA_OAEP, b""),
    ):  # fmt: skip
        with pytest.raises(ShareRefused, match="public key"):
            client.sealed_share_for(**ask, index=1, custodian_id="ann", kind=kind, key=key)
    with pytest.raises(ShareOfAnotherPerson):
        client.sealed_share_for(**ask, index=1, custodian_id="ben", kind=RecipientKind.RSA_OAEP, key=pem)
    ann = client.sealed_share_for(
        **ask, index=1, custodian_id="ann", kind=RecipientKind.HPKE_X25519, key=hpke.public_key().public_bytes_raw()
    )
    bound = sealing.context(ceremony_id=ceremony.id, script_hash=SCRIPT, step="deal", custodian_id="ann")
    words = X25519_SUITE.decrypt(hpke, ann.ciphertext, bound).decode()
    assert offline.commitment(words, record.salt) == record.commitments[0]
    assert ceremony.confirm("ann", words) == 1
    ben = client.sealed_share_for(**ask, index=2, custodian_id="ben", kind=RecipientKind.RSA_OAEP, key=pem)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    passing = big.decrypt(ben.ciphertext[:256], oaep)
    bound = sealing.context(ceremony_id=ceremony.id, script_hash=SCRIPT, step="deal", custodian_id="ben")
    words = AESGCM(passing).decrypt(bytes(12), ben.ciphertext[256:], bound).decode()
    assert offline.commitment(words, record.salt) == record.commitments[1]
    with pytest.raises(NotReady):
        client.package(**ceremony.session, **MADE)


def gpg(home: Path, *arguments: str, data: bytes = b"") -> bytes:
    batch = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quiet"]
    return subprocess.run([*batch, *arguments], input=data, capture_output=True, check=True).stdout


def test_a_share_can_go_to_an_openpgp_certificate(start_process, tmp_path):
    """GnuPG opens it, where that is installed; the library itself everywhere."""
    client = start_process().client
    ceremony = Ceremony(client, practice=True)
    client.make_escrow_key(**ceremony.session)
    record = client.split(
        **ceremony.session, generation=1, groups=[HolderGroup(2, ("ann", "ben"))], iteration_exponent=0
    )
    ask = {**ceremony.session, "step": "deal", "kind": RecipientKind.OPENPGP}
    for nonsense in (b"", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n=x\n", secrets.token_bytes(100)):
        with pytest.raises(ShareRefused, match="public key"):
            client.sealed_share_for(**ask, index=1, custodian_id="ann", key=nonsense)
    tsk = pysequoia.Tsk.generate("Ann <ann@example.org>")
    sealed = client.sealed_share_for(**ask, index=1, custodian_id="ann", key=bytes(tsk.extract_certificate()))
    words = pysequoia.decrypt(decryptor=tsk.decryptor(), bytes=sealed.ciphertext).bytes
    assert offline.commitment(words.decode(), record.salt) == record.commitments[0]
    assert ceremony.confirm("ann", words.decode()) == 1
    if shutil.which("gpg") is None:
        return
    with tempfile.TemporaryDirectory(prefix="kvp-", dir="/tmp") as folder:
        home = Path(folder)
        gpg(home, "--quick-gen-key", "ben@example.org", "default", "default", "never")
        sealed = client.sealed_share_for(
            **ask, index=2, custodian_id="ben", key=gpg(home, "--export", "ben@example.org")
        )
        words = gpg(home, "--decrypt", data=sealed.ciphertext)
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False)
    assert offline.commitment(words.decode(), record.salt) == record.commitments[1]


# The socket.


def test_its_memory_cannot_be_dumped(start_process):
    running = start_process()
    proc = Path(f"/proc/{running.process.pid}")
    assert "Max core file size        0                    0" in (proc / "limits").read_text()
    locked = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("VmLck"))
    assert int(locked.split()[1]) > 0 or os.geteuid() != 0
    assert running.client.path.stat().st_mode & 0o777 == 0o600


def test_another_user_is_not_answered(start_process):
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    path = start_process().client.path
    for place, mode in ((path.parent.parent, 0o755), (path.parent, 0o755), (path, 0o666)):
        place.chmod(mode)
    for user, heard in ((65534, False), (os.getuid(), True)):
        child = os.fork()
        if child == 0:
            os.setuid(user)
            os._exit(0 if _is_answered(path) else 1)
        assert (os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0) == heard


def _is_answered(path: Path) -> bool:
    try:
        CeremonyProcess(path).status(ceremony_id=uuid4())
    except ProcessUnavailable:
        return False
    return True


def asked(path: Path, *frames: dict) -> dict:
    """The last answer to these frames, sent one after the other as the answers come."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        for frame in frames:
            wire.send(connection, frame)
            answer = wire.receive(connection)
        return answer


def test_nonsense_is_answered_and_does_no_harm(start_process):
    running = start_process()
    path = running.client.path
    for head in (
        {},
        {"op": "status"},
        {"op": "status", "ceremony_id": 7},
        {"op": "begin", "ceremony_id": str(uuid4())},
    ):
        assert asked(path, head)["error"] == "validation_failed"
    bad_script = {"op": "begin", "ceremony_id": str(uuid4()), "script_hash": "x", "practice": False}
    assert asked(path, bad_script)["error"] == "validation_failed"
    assert asked(path, {"op": "split", "ceremony_id": str(uuid4())})["error"] == "session_over"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(secrets.token_bytes(64))
    ceremony = Ceremony(running.client, practice=True)
    head = {"op": "split", "ceremony_id": str(ceremony.id)}
    nonce = {"nonce": ceremony.opening.nonce}
    for more in (
        {},
        nonce,
        nonce | {"groups": "x"},
        nonce | {"groups": [[1]]},
        nonce | {"groups": [["x", []]], "generation": None},
    ):
        assert asked(path, head, more)["error"] == "validation_failed"
    assert asked(path, head | {"op": "nothing"}, nonce)["error"] == "validation_failed"
    assert asked(path, head, {"nonce": "wrong"})["error"] == "session_over"
    with socket.socket(socket.AF_UNIX) as connection:  # announced, and never asked
        connection.connect(str(path))
        wire.send(connection, head)
    assert running.client.make_escrow_key(**ceremony.session)


def test_each_ceremony_has_a_process_of_its_own(start_process):
    running = start_process()
    parent = psutil.Process(running.process.pid)
    three = [Ceremony(running.client, practice=True) for _ in range(3)]
    own = parent.children()
    assert len(own) == 3
    for process in own:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
        assert Path(f"/proc/{process.pid}/mem").stat().st_uid == 0  # not to be traced by its own user
    # One that dies takes only its own ceremony along.
    own[1].kill()
    psutil.wait_procs([own[1]], timeout=60)
    ended = [ceremony for ceremony in three if not running.client.status(ceremony_id=ceremony.id).begun]
    assert len(ended) == 1
    with pytest.raises(SessionOver):
        running.client.make_escrow_key(**ended[0].session)
    running.client.begin(ceremony_id=ended[0].id, script_hash=SCRIPT)
    left = parent.children()
    running.kill()
    gone, alive = psutil.wait_procs(left, timeout=60)
    assert (len(gone), alive) == (3, []), "no ceremony outlives its doorkeeper"


def test_the_bound_on_ceremonies(tmp_path, monkeypatch):
    monkeypatch.setattr(doorkeeper, "MAX_CEREMONIES", 0)
    with tempfile.TemporaryDirectory(prefix="kvp-", dir="/tmp") as folder:
        listening = doorkeeper.Doorkeeper(Path(folder) / "run" / "s.sock", lambda: None, users={os.getuid()})
        with listening:
            answer = listening._answer(
                {"op": "begin", "ceremony_id": str(uuid4()), "script_hash": SCRIPT, "practice": True}, None
            )
    assert answer["error"] == "throttled"
