"""The offline package: the master key wrapped under the escrow key, with all that is needed to open it but the shares.

Pure. The format, its checks and the opening are in `ceremonies.offline`, which works without the portal; here it is made.
As a file it is a zip that holds the package as JSON, the offline tool, and a page of instructions with the printed lines.
"""

import base64
import io
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from ceremonies import offline
from ceremonies.errors import PackageRefused, SecretNotRecovered
from ceremonies.shamir import SetRecord
from keys.crypto.secret import SecretBytes

WRAPPING = offline.WRAPPING
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's own: the same package is the same file
_REQUIREMENTS = "cryptography>=45\nshamir-mnemonic>=0.3\n"


def tool() -> bytes:
    """The offline tool: one file, which needs nothing of the portal."""
    return Path(offline.__file__).read_bytes()


@dataclass(frozen=True, slots=True)
class MasterKey:
    """What a package says of the key inside: `check` is `offline.check_value` of its material."""

    key_id: UUID
    version: int
    name: str
    algorithm: str
    provider: str
    check: str


@dataclass(frozen=True, slots=True)
class Package:
    """One package, read and whole; `data` is its canonical JSON."""

    data: bytes
    key: MasterKey
    record: SetRecord
    wrapped: bytes
    escrow_check: str
    practice: bool
    ceremony_id: UUID
    script_hash: str
    made_by: str
    made_at: str

    @property
    def manifest_sha256(self) -> str:
        """What is read aloud, printed and written into the minutes."""
        return str(_json(self.data)["manifest_sha256"])

    def open(self, escrow_key: SecretBytes) -> SecretBytes:
        """The master key; raises SecretNotRecovered for another escrow key, PackageRefused for a changed manifest."""
        try:
            return SecretBytes(offline.open_package(_json(self.data), escrow_key.reveal()))
        except offline.Problem as problem:
            if problem.code == "package_changed":
                raise PackageRefused(str(problem)) from None
            raise SecretNotRecovered(str(problem)) from None

    def printed(self) -> str:
        """The page of instructions and lines to be printed, and typed back on a bad day (`offline.read_package` reads it)."""
        key, share_set = self.key, self.record
        thresholds = ", ".join(f"{threshold} of {count}" for threshold, count in share_set.groups)
        head = f"""\
            {"PRACTICE. A rehearsal with a throw-away key. " if self.practice else ""}Escrow package of a master key.

            Key: {key.name}, version {key.version}, {key.algorithm}, at {key.provider}, id {key.key_id}
            Check value of the key: {key.check}; of the escrow key: {self.escrow_check}
            Shares: set {offline.set_name(share_set.set_id)}, generation {share_set.generation}, {thresholds}
            Groups needed: {share_set.group_threshold} of {len(share_set.groups)}
            Passphrase: {"NEEDED BESIDES THE SHARES; the tool asks for it" if share_set.with_passphrase else "none"}
            Made: {self.made_at} by {self.made_by}
            Ceremony: {self.ceremony_id}, script {self.script_hash}
            Manifest SHA-256: {self.manifest_sha256}

            To open it without the portal: a computer with Python 3.10 or newer and no network,
            pip install {" ".join(_REQUIREMENTS.split())} (bring the wheels along),
            python3 offline.py recover {offline.PACKAGE_NAME} --out master.key

            From paper: type the lines below into a text file, and give that file in place of {offline.PACKAGE_NAME}.
            """
        # Only the lines below may begin with a digit: so they are found again among the words above.
        return textwrap.dedent(head) + "\n" + "\n".join(offline.printed_lines(self.data)) + "\n"

    def file(self) -> bytes:
        """The zip file for offline media: package, tool, instructions, checksums."""
        files = {
            offline.PACKAGE_NAME: self.data,
            "offline.py": tool(),
            "requirements.txt": _REQUIREMENTS.encode(),
            "READ-ME.txt": self.printed().encode(),
        }
        sums = "".join(f"{offline.sha256(content)}  {name}\n" for name, content in files.items())
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {**files, "SHA256SUMS": sums.encode()}.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
        return packed.getvalue()


def wrap_master(escrow_key: SecretBytes, material: SecretBytes) -> bytes:
    """The material under the escrow key by AES key wrap with padding (RFC 5649)."""
    return offline.wrap(escrow_key.reveal(), material.reveal())


def make(
    *,
    escrow_key: SecretBytes,
    key: MasterKey,
    wrapped: bytes,
    record: SetRecord,
    ceremony_id: UUID,
    script_hash: str,
    made_by: str,
    made_at: str,
    practice: bool,
) -> Package:
    """The package of a key wrapped under `escrow_key`, whose shares `record` describes."""
    manifest: dict[str, Any] = {
        "practice": practice, "ceremony": str(ceremony_id), "script_hash": script_hash, "made_by": made_by, "made_at": made_at,
        "key": {
            "id": str(key.key_id), "version": key.version, "name": key.name, "algorithm": key.algorithm,
            "provider": key.provider, "check": key.check,
        },
        "set": record.as_json(),
        "wrap": {
            "algorithm": WRAPPING, "escrow_check": offline.check_value(escrow_key.reveal()), "sha256": offline.sha256(wrapped),
        },
    }  # fmt: skip
    package = {
        "format": offline.FORMAT, "manifest": manifest, "manifest_sha256": offline.sha256(offline.canonical(manifest)),
        "wrapped": base64.b64encode(wrapped).decode(), "seal": offline.package_seal(escrow_key.reveal(), manifest),
    }  # fmt: skip
    return read(offline.canonical(package))


def read(data: bytes) -> Package:
    """A package from its zip file, JSON or printed lines, with every checksum verified; raises PackageRefused."""
    try:
        package = offline.read_package(data)
        manifest = package["manifest"]
        key = manifest["key"]
        return Package(
            offline.canonical(package),
            MasterKey(UUID(key["id"]), key["version"], key["name"], key["algorithm"], key["provider"], key["check"]),
            SetRecord.from_json(manifest["set"]), base64.b64decode(package["wrapped"]), manifest["wrap"]["escrow_check"],
            manifest["practice"], UUID(manifest["ceremony"]), manifest["script_hash"], manifest["made_by"], manifest["made_at"],
        )  # fmt: skip
    except offline.Problem as problem:
        raise PackageRefused(str(problem)) from None
    except ValueError:
        raise PackageRefused("A value of the package is not in its encoding.") from None


def _json(data: bytes) -> dict[str, Any]:
    return offline.read_package(data)
