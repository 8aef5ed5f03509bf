"""The offline package and the tool that opens it, alone: an interpreter of its own, without the project."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from django.core.management import call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremonies import offline, packages, shamir
from ceremonies.errors import PackageRefused, SecretNotRecovered
from ceremonies.process.contract import HolderGroup
from keys.crypto import keycheck, receiving
from keys.crypto.secret import SecretBytes
from tests.ceremonies.conftest import HOLDERS, MADE, MASTER
from tests.conftest import ROOT
from tests.mistyped import mistyped

GUIDE = ROOT / "keyvault_portal" / "docs" / "escrow.md"


@pytest.fixture(scope="session")
def lonely(tmp_path_factory):
    """A Python that can import `cryptography` and `shamir-mnemonic` and what they need, and nothing of the project."""
    home = tmp_path_factory.mktemp("lonely")
    venv.create(home, symlinks=True, with_pip=False)
    (site,) = (home / "lib").glob("python3*/site-packages")
    ours = Path(offline.MnemonicError.__module__ and sys.modules["shamir_mnemonic"].__file__).parent.parent
    for name in ("cryptography", "cffi", "_cffi_backend", "shamir_mnemonic", "pycparser"):
        for found in [*ours.glob(name), *ours.glob(f"{name}.*.so")]:
            (site / found.name).symlink_to(found)
    return home / "bin" / "python"


@pytest.fixture
def run(lonely, escrowed, tmp_path):
    """run(arguments, typed lines): the tool out of the package's own zip, isolated, in a folder with that package."""
    _, _, package = escrowed
    folder = tmp_path / "usb"
    with zipfile.ZipFile(io.BytesIO(packages.read(package).file())) as archive:
        archive.extractall(folder)

    def go(*arguments, typed=()):
        return subprocess.run(
            [str(lonely), "-I", "offline.py", *map(str, arguments)], cwd=folder, input="".join(f"{line}\n" for line in typed),
            env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    go.folder = folder
    return go


def test_the_lonely_interpreter_knows_nothing_of_the_project(lonely):
    for module, found in (("cryptography", 0), ("shamir_mnemonic", 0), ("django", 1), ("keys", 1), ("ceremonies", 1)):
        done = subprocess.run([str(lonely), "-I", "-c", f"import {module}"], capture_output=True, cwd=ROOT, check=False)
        assert done.returncode == found, done.stderr


def test_inspect_says_what_is_inside(run, escrowed):
    _, record, package = escrowed
    done = run("inspect", "package.json")
    assert (done.returncode, done.stderr) == (0, "")
    read = packages.read(package)
    for fact in (
        "root, version 3",
        "3 of 5",
        read.manifest_sha256,
        read.key.check,
        f"set {offline.set_name(record.set_id)}",
        "agree",
    ):
        assert fact in done.stdout


def test_recover_with_any_quorum(run, escrowed):
    room, _, _ = escrowed
    typed = [room.cards[who] for who in ("dan", "ben", "eva")]
    done = run("recover", "package.json", "--out", "master.key", typed=typed)
    assert done.returncode == 0, done.stderr
    key = run.folder / "master.key"
    assert key.read_bytes() == MASTER
    assert key.stat().st_mode & 0o777 == 0o600
    assert "Share 4 is right." in done.stdout
    shown = done.stdout + done.stderr
    assert not any(card in shown for card in room.cards.values())
    assert MASTER.hex() not in shown
    again = run("recover", "package.json", "--out", "master.key", typed=typed)
    assert again.returncode == 1
    assert "name a new file" in again.stderr


def test_recover_says_what_is_wrong_and_asks_on(run, escrowed):
    room, record, _ = escrowed
    ann = room.cards["ann"]
    other = shamir.split(SecretBytes(bytes(32)), groups=[(3, 5)], avoid=[record.set_id]).shares[0].reveal().decode()
    typed = [mistyped(ann, 9), other, ann.upper(), ann, room.cards["ben"], room.cards["cleo"]]
    done = run("recover", "package.json", "--out", "k", typed=typed)
    assert done.returncode == 0
    for sentence in ("mistyped", "is of the set", "Share 1 was given already"):
        assert sentence in done.stderr
    assert (run.folder / "k").read_bytes() == MASTER


def test_recover_without_a_quorum_writes_nothing(run, escrowed):
    room, _, _ = escrowed
    done = run("recover", "package.json", "--out", "k", typed=[room.cards["ann"], room.cards["ben"]])
    assert done.returncode == 1
    assert "nothing was written" in done.stderr
    assert not (run.folder / "k").exists()


def test_recover_for_the_hsm_that_will_import_it(run, escrowed):
    room, _, _ = escrowed
    receiver = rsa.generate_private_key(65537, 3072)
    pem = receiver.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (run.folder / "hsm.pem").write_bytes(pem)
    cards = [room.cards[who] for who in ("ann", "ben", "cleo")]
    done = run("recover", "package.json", "--out", "k", "--for", "hsm.pem", typed=cards)
    assert done.returncode == 0, done.stderr
    wrapped = (run.folder / "k").read_bytes()
    assert MASTER not in wrapped
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    assert aes_key_unwrap_with_padding(receiver.decrypt(wrapped[:384], oaep), wrapped[384:]) == MASTER
    (run.folder / "bad.pem").write_text("nonsense")
    assert "RSA public key" in run("recover", "package.json", "--out", "x", "--for", "bad.pem", typed=cards).stderr


def test_groups_and_a_passphrase(escrowed, run):
    room = escrowed[0].next_session()
    room.session.seal_passphrase(custodian_id="ann", step="p", ciphertext=room.sealed("ann", "correct horse", step="p"))
    room.escrow(
        [HolderGroup(2, ("ann", "ben", "cleo")), HolderGroup(1, ("law", "lex")), HolderGroup(1, ("ceo",))],
        group_threshold=2,
    )
    (run.folder / "groups.json").write_bytes(room.session.package(**MADE))
    cards = [room.cards[who] for who in ("ceo", "ann", "cleo")]
    assert "Passphrase    needed besides the shares" in run("inspect", "groups.json").stdout
    assert "Passphrase: NEEDED BESIDES THE SHARES" in packages.read((run.folder / "groups.json").read_bytes()).printed()
    done = run("recover", "groups.json", "--out", "k", typed=[*cards, "correct horse"])
    assert done.returncode == 0, done.stderr
    assert "Passphrase: needed besides the shares" in done.stdout
    assert (run.folder / "k").read_bytes() == MASTER
    done = run("recover", "groups.json", "--out", "l", "--passphrase", typed=[*cards, "battery staple"])
    assert done.returncode == 1
    assert "passphrase" in done.stderr
    extra = [room.cards["ann"], room.cards["ben"], room.cards["cleo"], room.cards["lex"], "correct horse"]
    done = run("recover", "groups.json", "--out", "m", "--passphrase", typed=extra)
    assert "group is complete" in done.stderr
    assert (run.folder / "m").read_bytes() == MASTER


def test_a_package_of_before_says_nothing_of_a_passphrase(package):
    """Such as were made by an older portal; the set then says that it has none, and the tool asks when it is told to."""
    before = json.loads(package.data)
    del before["manifest"]["set"]["passphrase"]
    before["manifest_sha256"] = offline.sha256(offline.canonical(before["manifest"]))
    assert packages.read(offline.canonical(before)).record.with_passphrase is False
    before["manifest"]["set"]["more"] = True
    before["manifest_sha256"] = offline.sha256(offline.canonical(before["manifest"]))
    with pytest.raises(PackageRefused):
        packages.read(offline.canonical(before))


def test_seal_writes_what_a_page_would_send(run):
    page, bound = receiving.ReceivingKey(), receiving.context(ceremony="1", custodian="ann", script="2", step="give")
    asked = ("seal", "--to", page.public.hex(), "--bound", bound.decode())
    for typed, flags, sealed in (
        ("  Academic  ACID ", (), b"academic acid"), ("Blue Monday ", ("--as-typed",), b"Blue Monday "), ("00 ff", (), b"00 ff"),
    ):  # fmt: skip
        done = run(*asked, *flags, typed=[typed])
        assert done.returncode == 0, done.stderr
        assert page.open(base64.b64decode(done.stdout), bound).reveal() == sealed
    assert "64 hexadecimal digits" in run("seal", "--to", "abcd", "--bound", "x", typed=["words"]).stderr


def test_prove_for_a_roll_call(run, escrowed):
    room, record, _ = escrowed
    challenge = shamir.roll_call_challenge(
        nonce="n", roll_call_id="r", custodian_id="cleo", set_id=record.set_id, generation=record.generation
    )
    asked = base64.b64encode(challenge).decode()
    done = run("prove", "package.json", "--challenge", asked, typed=[room.cards["cleo"]])
    assert done.returncode == 0, done.stderr
    assert shamir.whose_proof(challenge, base64.b64decode(done.stdout), record) == shamir.RollCall(3, 1)
    salt = ("--salt", record.salt.hex())
    without = run("prove", *salt, "--challenge", asked, typed=[room.cards["cleo"]])
    assert (without.returncode, without.stdout) == (0, done.stdout), "who has no package proves the same"
    assert f"a share of set {offline.set_name(record.set_id)}" in without.stderr
    assert run("prove", "--salt", "no hex", "--challenge", asked, typed=[room.cards["cleo"]]).returncode == 1
    assert run("prove", "package.json", *salt, "--challenge", asked).returncode == 2
    assert run("prove", "--challenge", asked).returncode == 2
    assert run("prove", "package.json", "--challenge", "not base64!", typed=[room.cards["cleo"]]).returncode == 1
    assert run("prove", "package.json", "--challenge", asked, typed=["hello"]).returncode == 1
    assert run("prove", "package.json", "--challenge", asked).returncode == 1


def test_words_are_not_echoed_on_a_terminal(run, lonely, escrowed):
    room, _, _ = escrowed
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [str(lonely), "-I", "offline.py", "recover", "package.json", "--out", "k"], cwd=run.folder, stdin=terminal, stdout=terminal,
        stderr=terminal, start_new_session=True, env={"PATH": "/usr/bin:/bin", "TERM": "dumb"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        for who in ("ann", "ben", "cleo"):
            while not shown.endswith(b"next share: "):
                shown += os.read(main, 4096)
            os.write(main, room.cards[who].encode() + b"\n")
            shown += os.read(main, 1)
        while True:
            try:
                more = os.read(main, 4096)
            except OSError:
                break
            if not more:
                break
            shown += more
        assert process.wait(60) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(main)
    assert (run.folder / "k").read_bytes() == MASTER
    text = shown.decode()
    assert "Share 3 is right." in text
    assert not any(" ".join(room.cards[who].split()[5:8]) in text for who in HOLDERS.values())


def test_the_same_by_manage_py(escrowed, tmp_path, capsys, monkeypatch):
    room, _, package = escrowed
    (tmp_path / "p.json").write_bytes(package)
    call_command("offline", "inspect", str(tmp_path / "p.json"))
    assert "All checksums agree." in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{room.cards[who]}\n" for who in ("ann", "ben", "cleo"))))
    call_command("offline", "recover", str(tmp_path / "p.json"), "--out", str(tmp_path / "k"))
    assert (tmp_path / "k").read_bytes() == MASTER
    with pytest.raises(SystemExit) as ended:
        call_command("offline", "inspect", str(tmp_path / "none.json"))
    assert ended.value.code == 1
    assert "No such file" in capsys.readouterr().err


# The package itself.


@pytest.fixture
def package(escrowed):
    return packages.read(escrowed[2])


def test_every_form_is_the_same_package(package):
    for form in (
        package.data,
        package.file(),
        package.printed().encode(),
        json.dumps(json.loads(package.data), indent=2).encode(),
    ):
        assert packages.read(form) == package
    assert package.file() == package.file()


def test_a_mistyped_line_is_named(package):
    lines = package.printed().splitlines()
    numbered = [place for place, line in enumerate(lines) if line[:3].isdigit()]
    assert len(numbered) < 60
    place = numbered[4]
    broken = list(lines)
    letter = broken[place][5]
    broken[place] = broken[place][:5] + ("A" if letter != "A" else "B") + broken[place][6:]
    with pytest.raises(PackageRefused, match="Line 005"):
        packages.read("\n".join(broken).encode())
    with pytest.raises(PackageRefused, match="Line 006"):
        packages.read("\n".join(lines[:place] + lines[place + 1 :]).encode())
    for missing in range(1, 4):
        with pytest.raises(PackageRefused):
            packages.read("\n".join(lines[:-missing]).encode())


def leaves(value, path=()):
    """The path of every value that is no object."""
    if not isinstance(value, dict):
        yield path
        return
    for key in value:
        yield from leaves(value[key], (*path, key))


def altered(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value + value[:1] if isinstance(value, list) else ("0" if value[0] != "0" else "1") + value[1:]


def test_every_changed_field_is_noticed(package, escrowed):
    """First by a checksum; and with the checksums made anew, by the seal that only the escrow key can make."""
    room, _, _ = escrowed
    escrow_key = shamir.recover([SecretBytes(room.cards[who].encode()) for who in ("ann", "ben", "cleo")])
    assert package.open(escrow_key) == MASTER
    paths = list(leaves(json.loads(package.data)))
    assert len(paths) > 20
    for path in paths:
        changed = json.loads(package.data)
        *above, last = path
        inner = changed
        for name in above:
            inner = inner[name]
        inner[last] = altered(inner[last])
        if path != ("seal",):
            with pytest.raises(PackageRefused):
                packages.read(json.dumps(changed).encode())
        if path[0] == "manifest":
            changed["manifest_sha256"] = offline.sha256(offline.canonical(changed["manifest"]))
        if path == ("wrapped",):
            changed["manifest"]["wrap"]["sha256"] = offline.sha256(base64.b64decode(changed["wrapped"]))
            changed["manifest_sha256"] = offline.sha256(offline.canonical(changed["manifest"]))
        with pytest.raises((PackageRefused, SecretNotRecovered)):
            packages.read(json.dumps(changed).encode()).open(escrow_key)


def test_another_escrow_key_opens_nothing(package):
    with pytest.raises(SecretNotRecovered):
        package.open(SecretBytes(bytes(32)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_anything_else_is_refused(data):
    for start in (b"", b"PK\x03\x04", b'{"format":', b"001  ABCD  0000\n"):
        with pytest.raises(PackageRefused):
            packages.read(start + data)


def test_a_bomb_is_refused():
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("package.json", b" " * 10_000_000)
    with pytest.raises(PackageRefused, match="too large"):
        packages.read(bomb.getvalue())
    with pytest.raises(PackageRefused):
        packages.read("\n".join(offline.printed_lines(b" " * 10_000_000)).encode())
    with pytest.raises(PackageRefused, match="too large"):
        packages.read(b" " * (1 << 21))


@pytest.mark.parametrize("algorithm", ["AES-256-GCM", "HMAC-SHA256"])
def test_check_values_begin_as_the_portals_do(algorithm):
    material = bytes(range(32))
    assert offline.check_value(material, algorithm)[:6] == keycheck.check_value(algorithm, SecretBytes(material)).hex()


def test_check_value_is_aes_cmac():
    """NIST SP 800-38B's own example of AES-256 begins elsewhere; a block of zeros by two ways is what is checked here."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = bytes(range(32))

    def encrypt(block: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)

    first = int.from_bytes(encrypt(bytes(16)), "big")
    k1 = ((first << 1) & (2**128 - 1)) ^ (0x87 if first >> 127 else 0)
    assert offline.check_value(key) == encrypt(k1.to_bytes(16, "big"))[:5].hex()


# The drill.


def test_every_command_of_the_guide_works(run, escrowed):
    """The guide's blocks, in its order, in a folder as the guide describes it."""
    room, record, _ = escrowed
    text = GUIDE.read_text()
    commands = [
        line for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines() if line.strip()
    ]
    assert len(commands) >= 6
    challenge = shamir.roll_call_challenge(
        nonce="n", roll_call_id="r", custodian_id="ann", set_id=record.set_id, generation=1
    )
    lines = {
        "seal": ["academic acid"],
        "prove": [room.cards["ann"]],
        "recover": [room.cards[who] for who in ("ann", "ben", "cleo")],
    }
    receiver = rsa.generate_private_key(65537, 3072).public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (run.folder / "hsm.pem").write_bytes(receiver.public_bytes(serialization.Encoding.PEM, spki))
    (run.folder / "typed.txt").write_text(packages.read(escrowed[2]).printed())
    tried = set()
    for command in commands:
        words = (
            command.replace("CHALLENGE", base64.b64encode(challenge).decode())
            .replace("KEY", "09" + "00" * 31)
            .replace("SALT", record.salt.hex())
            .split()
        )
        if words[:2] == ["python3", "offline.py"]:
            done = run(*words[2:], typed=lines.get(words[2], ()))
        elif words[:2] == ["./manage.py", "offline"]:
            done = subprocess.run(
                [sys.executable, str(ROOT / "manage.py"), *words[1:]], cwd=run.folder, capture_output=True, text=True, check=False,
                input="".join(f"{line}\n" for line in lines.get(words[2], ())), env=os.environ | {"PORTAL_NO_BOOTSTRAP": "1"},
            )  # fmt: skip
        elif words[0] in {"sha256sum", "shred", "unzip"}:
            if words[0] == "unzip":
                continue  # the folder is what it makes
            done = subprocess.run(words, cwd=run.folder, capture_output=True, text=True, check=False)
        elif words[:3] == ["python3", "-m", "pip"]:
            assert "--require" not in command
            continue  # a machine without a network gets its wheels by hand
        else:
            raise AssertionError(f"no test knows {command}")
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        tried.add((words[0], words[2]) if words[0] != "sha256sum" else "sha256sum")
    assert {("python3", "inspect"), ("python3", "prove"), ("python3", "recover"), "sha256sum"} <= tried
