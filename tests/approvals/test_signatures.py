"""Agreement that people sign themselves: accepted forms, everything that is refused, and what the evidence pack proves of it offline."""

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pysequoia import SignatureMode, Tsk, sign

from ceremonies import offline
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.passkeys import jwk_of
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import execution, services, signatures, signing_keys
from keyvault_portal.approvals.errors import QuorumUnreachable, SignatureNeeded, SignatureRefused
from keyvault_portal.approvals.models import ApprovalRequest, Decision, SigningKey
from keyvault_portal.audit.evidence import signatures as offline_signatures
from keyvault_portal.audit.evidence import verifier
from keyvault_portal.audit.evidence.pack import write_pack
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ApprovalRequired, Conflict, PermissionRefused, ValidationFailed
from tests.approvals.conftest import at_rest, unguarded
from tests.authenticator import SoftPasskey

pytestmark = pytest.mark.django_db
VECTORS = json.loads((Path(__file__).parents[1] / "vectors/agreements.json").read_text())
OFFICER = [{"role": "security_officer", "threshold": 1, "signed": True}]


def challenge(request):
    return signatures.challenge(bytes(request.act))


def approve(actor, request, signature=""):
    with at_rest():
        return services.approve(actor=actor, request_id=request.pk, act_hash=request.act_hash, signature=signature)


def own_key(actor, text, officer, celery_eager=None):
    """Register a key of `actor`, as `officer` agrees to it."""
    with pytest.raises(ApprovalRequired) as asked:
        signing_keys.ask_for_key(actor=actor, name="Safe", public_key=text)
    request = ApprovalRequest.objects.get(pk=asked.value.request_id)
    approve(officer, request)
    assert execution.execute(request.pk) == "executed"
    return SigningKey.objects.get(person_id=actor.id, removed_at=None)


def ssh_line(key):
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def sshsig(key, message, namespace=b"keyvault-portal-agreement"):
    """PROTOCOL.sshsig of OpenSSH."""

    def strings(*parts):
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    public = strings(b"ssh-ed25519", key.public_key().public_bytes_raw())
    signed = key.sign(b"SSHSIG" + strings(namespace, b"", b"sha512", hashlib.sha512(message).digest()))
    blob = b"SSHSIG\0\0\0\1" + strings(public, namespace, b"", b"sha512", strings(b"ssh-ed25519", signed))
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.encodebytes(blob).decode()}-----END SSH SIGNATURE-----\n"


@pytest.mark.parametrize("algorithm", ["es256", "eddsa", "rs256"])
def test_a_passkey_signs_the_act_and_the_record_keeps_all_that_proves_it(ask, oskar, algorithm):
    passkey = SoftPasskey(algorithm)
    passkey.register(oskar.id)
    request = ask(groups=OFFICER)
    options = json.loads(signatures.options_for(oskar.id, bytes(request.act)))
    assert options["rpId"] == "localhost"
    assert options["userVerification"] == "required"
    assert offline_signatures.unbase64(options["challenge"]) == challenge(request)
    approve(oskar, request, passkey.sign(challenge(request)))
    found = Decision.objects.get(request=request)
    assert found.signature["method"] == "passkey"
    assert signatures.fits(found.signature, bytes(request.act))
    event = json.loads(AuditEvent.objects.get(action="approval.approve").leaf)
    assert event["details"]["signature"] == found.signature
    assert execution.execute(request.pk) == "executed"


def test_where_a_signature_is_asked_for_nothing_else_counts(ask, oskar, settings):
    with pytest.raises(QuorumUnreachable, match="security officer"):
        ask(groups=OFFICER)  # nobody could sign
    SoftPasskey().register(oskar.id)
    request = ask(groups=OFFICER)
    with pytest.raises(SignatureNeeded):
        approve(oskar, request)
    settings.APPROVALS_SIGNED = ["*"]
    assert ask(text="c", groups=[{"role": "security_officer", "threshold": 1}]).groups[0]["signed"] is True


@pytest.mark.parametrize(
    ("misuse", "said"),
    [
        ({"origin": "https://evil.example"}, "another address"),
        ({"rp": hashlib.sha256(b"evil.example").digest()}, "another site"),
        ({"verified": False}, "did not verify you"),
        ({"kind": "webauthn.create"}, "cannot be read"),
    ],
)
def test_an_assertion_made_for_something_else_is_refused(ask, oskar, misuse, said):
    passkey = SoftPasskey()
    passkey.register(oskar.id)
    request = ask()
    with pytest.raises(SignatureRefused, match=said):
        approve(oskar, request, passkey.sign(challenge(request), **misuse))
    assert not request.decisions.exists()


def test_a_signature_fits_one_act_one_person_and_one_registered_passkey(ask, oskar, otto):
    passkey = SoftPasskey()
    row = passkey.register(oskar.id)
    first, second = ask(), ask(text="c")
    answer = passkey.sign(challenge(first))
    with pytest.raises(SignatureRefused, match="signed something else"):
        approve(oskar, second, answer)
    with pytest.raises(SignatureRefused, match="none of the passkeys"):
        approve(otto, first, answer)
    stranger = SoftPasskey(identifier=passkey.identifier)
    with pytest.raises(SignatureRefused, match="not of the registered key"):
        approve(oskar, first, stranger.sign(challenge(first)))
    approve(oskar, first, answer)
    row.delete()
    with pytest.raises(SignatureRefused, match="none of the passkeys"):
        approve(oskar, second, passkey.sign(challenge(second)))


def test_a_counter_that_went_back_is_refused(ask, oskar):
    passkey = SoftPasskey()
    passkey.register(oskar.id)
    first, second = ask(), ask(text="c")
    approve(oskar, first, passkey.sign(challenge(first)))
    passkey.count -= 1
    with pytest.raises(SignatureRefused, match="counter went back"):
        approve(oskar, second, passkey.sign(challenge(second)))
    approve(oskar, second, passkey.sign(challenge(second)))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"id": 3}',
        "[]",
        "nonsense",
        "-----BEGIN SSH SIGNATURE-----\nAAAA\n",
        "-----BEGIN PGP SIGNATURE-----",
        "{" * 100_000,
    ],
)
def test_what_is_no_signature_is_refused(ask, oskar, otto, text):
    own_key(oskar, ssh_line(Ed25519PrivateKey.generate()), otto)
    SoftPasskey().register(oskar.id)
    request = ask()
    with pytest.raises(SignatureRefused):
        approve(oskar, request, text)


def test_a_signature_is_read_up_to_the_length_that_is_said(oskar):
    for length, said in ((signatures.LONGEST, "No key of this kind"), (signatures.LONGEST + 1, "too long")):
        with pytest.raises(SignatureRefused, match=said):
            signatures.check(oskar.id, b"act", "A" * length)


def test_an_ed25519_key_signs_offline_by_the_tool_and_by_openssh(ask, oskar, otto, tmp_path, capsys):
    key = Ed25519PrivateKey.generate()
    registered = own_key(oskar, ssh_line(key), otto)
    assert registered.fingerprint.startswith("SHA256:")
    first, second = ask(), ask(text="c")
    file, private = tmp_path / "act.txt", tmp_path / "key.pem"
    file.write_bytes(offline_signatures.statement(bytes(first.act)))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    assert offline.main(["sign-act", str(file), "--key", str(private)]) == 0
    said = capsys.readouterr()
    assert first.act_hash in said.err
    approve(oskar, first, said.out)
    statement = offline_signatures.statement(bytes(second.act))
    for wrong in (said.out, sshsig(key, statement, b"file"), sshsig(Ed25519PrivateKey.generate(), statement)):
        with pytest.raises(SignatureRefused, match="fits this act with none"):
            approve(oskar, second, wrong)
    approve(oskar, second, sshsig(key, statement))
    assert [d.signature["method"] for d in Decision.objects.filter(person_id=oskar.id).order_by("at")] == [
        "ed25519",
        "ssh",
    ]
    file.write_text("something else")
    assert offline.main(["sign-act", str(file), "--key", str(private)]) == 1


def test_an_openpgp_key_signs_offline(ask, oskar, otto):
    secret = Tsk.generate("Oskar <oskar@example.org>")
    own_key(oskar, str(secret.extract_certificate()), otto)
    request = ask()
    statement = offline_signatures.statement(bytes(request.act))
    other = Tsk.generate("Eve <eve@example.org>")
    for signer, message in ((other, statement), (secret, statement + b" ")):
        with pytest.raises(SignatureRefused):
            approve(oskar, request, sign(signer.signer(), message, mode=SignatureMode.DETACHED).decode())
    approve(oskar, request, sign(secret.signer(), statement, mode=SignatureMode.DETACHED).decode())
    assert Decision.objects.get(request=request, person_id=oskar.id).signed_with == "an OpenPGP key"


def test_signatures_of_openssh_and_gnupg_themselves():
    act = VECTORS["statement"].removeprefix("keyvault-portal agreement v1\n").encode()
    ssh, pgp = (signing_keys.read_public_key(VECTORS[name]) for name in ("ssh_public_key", "openpgp_certificate"))
    good = {"method": "ssh", "key": ssh.text, "signature": VECTORS["ssh_signature"]}
    assert signatures.fits(good, act)
    assert not signatures.fits(good | {"signature": VECTORS["ssh_signature_other_namespace"]}, act)
    assert not signatures.fits(good, act + b" ")
    good = {"method": "openpgp", "key": pgp.text, "signature": VECTORS["openpgp_signature"]}
    assert signatures.fits(good, act)
    assert not signatures.fits(good, act + b" ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519 AAAA",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
    ],
)
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(ValidationFailed):
        signing_keys.read_public_key(text)


def test_private_halves_and_other_kinds_of_keys_are_refused():
    from cryptography.hazmat.primitives.asymmetric import ec

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for text in (
        pem.decode(),
        str(Tsk.generate("Eve <eve@example.org>")),
        ssh_line(ec.generate_private_key(ec.SECP256R1())),
    ):
        with pytest.raises(ValidationFailed):
            signing_keys.read_public_key(text)


def test_a_key_belongs_to_one_person_by_agreement_and_signs_nothing_once_removed(ask, oskar, otto, olga, make):
    key = Ed25519PrivateKey.generate()
    found = own_key(oskar, ssh_line(key), otto)
    with pytest.raises(Conflict):
        signing_keys.ask_for_key(actor=otto, name="Mine", public_key=ssh_line(key))
    params = ApprovalRequest.objects.get(pk=found.approval_id).params
    with pytest.raises(PermissionRefused):
        signing_keys.add_key(actor=oskar, params=params, approval_id=found.approval_id)
    with pytest.raises(PermissionRefused):
        signing_keys.ask_for_key(
            actor=make("una", "custodian", second_factor=False),
            name="Mine",
            public_key=ssh_line(Ed25519PrivateKey.generate()),
        )
    with pytest.raises(PermissionRefused):
        signing_keys.remove_key(actor=make("carl", "custodian"), key_id=found.pk)
    signing_keys.remove_key(actor=oskar, key_id=found.pk)
    request = ask()
    with pytest.raises(SignatureRefused, match="No key of this kind"):
        approve(oskar, request, base64.b64encode(key.sign(offline_signatures.statement(bytes(request.act)))).decode())


def test_the_executor_checks_the_signature_again(ask, oskar, otto):
    passkey = SoftPasskey()
    passkey.register(oskar.id)
    request = ask(groups=OFFICER)
    approve(oskar, request, passkey.sign(challenge(request)))
    found = Decision.objects.get(request=request)
    with unguarded():
        other = SoftPasskey()
        forged = json.loads(other.sign(challenge(request)))["response"]["signature"]
        Decision.objects.filter(pk=found.pk).update(signature=found.signature | {"signature": forged})
    assert execution.execute(request.pk) == "stale"


def test_a_guessed_approval_without_signature_is_not_performed(ask, oskar):
    SoftPasskey().register(oskar.id)
    request = ask(groups=OFFICER)
    Decision.objects.create(
        request=request, requester_id=request.requester_id, person_id=oskar.id, person_label="Oskar", groups=[0], verdict="approve",
        act_hash=request.act_hash,
    )  # fmt: skip
    ApprovalRequest.objects.filter(pk=request.pk).update(state="approved")
    assert execution.execute(request.pk) == "stale"


@pytest.fixture
def pack(ask, oskar, otto, tmp_path):
    """A pack with one act that two people signed, each in another way."""
    passkey, key = SoftPasskey(), Ed25519PrivateKey.generate()
    passkey.register(oskar.id)
    own_key(otto, ssh_line(key), oskar)
    request = ask()
    approve(oskar, request, passkey.sign(challenge(request)))
    approve(otto, request, sshsig(key, offline_signatures.statement(bytes(request.act))))
    path = tmp_path / "pack.zip"
    with path.open("w+b") as file:
        write_pack(system_actor("auditor", Permission.AUDIT_EXPORT), file)
    return path


def test_the_pack_s_own_verifier_checks_signatures_with_nothing_installed(pack, tmp_path):
    with zipfile.ZipFile(pack) as archive:
        archive.extract("verify.py", tmp_path)
    command = [sys.executable, "-I", "-S", tmp_path / "verify.py", pack]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agreement: 2 signatures of people fit the acts they agreed to." in done.stdout
    assert "the record does not show whose the keys of 1 of them are" in done.stdout  # the passkey's was not recorded


def changed(pack, change):
    """What agreement_lines says of the pack after `change(last line of approvals.jsonl)`."""
    with zipfile.ZipFile(pack) as old:
        members = {name: old.read(name) for name in old.namelist()}
    lines = members["approvals.jsonl"].splitlines()
    row = json.loads(lines[-1])
    change(row)
    members["approvals.jsonl"] = b"\n".join([*lines[:-1], json.dumps(row).encode()])
    with zipfile.ZipFile(pack, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    with zipfile.ZipFile(pack) as read, pytest.raises(verifier.Problem) as caught:
        verifier.agreement_lines(read)
    return str(caught.value)


def test_the_verifier_names_an_agreement_that_was_tampered_with(pack):
    def act(row):
        row["act"] = row["act"].replace("ring reads", "ring fails")

    assert "does not have the recorded hash" in changed(pack, act)


def test_the_verifier_names_a_signature_that_is_not_the_recorded_one(pack):
    assert "not signed as the record says" in changed(pack, lambda row: row["decisions"][0].update(signature=None))


def test_the_verifier_names_an_agreement_about_another_act(pack):
    assert "about another act" in changed(pack, lambda row: row["decisions"][0].update(act_hash="0" * 64))


@pytest.mark.parametrize(
    ("misuse", "fits"),
    [
        ({}, True), ({"verified": False}, False), ({"kind": "webauthn.create"}, False), ({"origin": "https://evil.example"}, False),
        ({"rp": hashlib.sha256(b"evil.example").digest()}, False), ({"challenge": b"another act"}, False),
    ],
)  # fmt: skip
def test_every_part_of_an_assertion_is_checked_again_offline(settings, misuse, fits):
    passkey, act = SoftPasskey(), b'{"request":"1"}'
    answer = json.loads(passkey.sign(**({"challenge": signatures.challenge(act)} | misuse)))["response"]
    evidence = {
        "method": "passkey", "key_id": "x", "jwk": jwk_of(passkey.credential.public_key), "rp_id": "localhost", "origin": settings.PORTAL_ORIGIN,
        "client_data": answer["clientDataJSON"], "authenticator_data": answer["authenticatorData"], "signature": answer["signature"],
    }  # fmt: skip
    assert signatures.fits(evidence, act) is fits
    assert not signatures.fits(evidence | {"jwk": jwk_of(SoftPasskey().credential.public_key)}, act)


@pytest.mark.parametrize("lacking", ["jwk", "client_data", "signature", "authenticator_data", "rp_id", "origin"])
def test_evidence_that_lacks_something_fits_nothing(lacking):
    evidence = dict.fromkeys(("jwk", "client_data", "signature", "authenticator_data", "rp_id", "origin"), "AA")
    assert not signatures.fits(
        {"method": "passkey", **{name: value for name, value in evidence.items() if name != lacking}}, b"act"
    )
