"""To-be-signed certificates by template: what one profile of one issuer always says is encoded once, by the library.

End entities differ in their serial number, validity, common name, public key, its identifier and their alternative names;
only these are encoded here, into the library's own bytes, to what the library would have made (RFC 5280, 4.1).
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography.x509.oid import ExtensionOID, NameOID

from certificates import encoding
from certificates.names import Name

_VALUE = encoding.object_identifier(ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string)
_KEY = encoding.object_identifier(ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string)
_COMMON_NAME = encoding.object_identifier(NameOID.COMMON_NAME.dotted_string)
_TAGS = {"email": 1, "dns": 2, "uri": 6, "ip": 7}  # of GeneralName (RFC 5280, 4.2.1.6)


@dataclass(frozen=True, slots=True)
class Template:
    """Encoded pieces around what varies; the extensions come in three runs, around the key's identifier and the names."""

    version: bytes
    issuer: bytes  # the signature's algorithm and the issuer's name
    subject: bytes  # what stands above the common name
    extensions: tuple[bytes, bytes, bytes]
    named: bool  # there are alternative names, critical or not
    critical: bytes

    @classmethod
    def of(cls, to_be_signed: bytes, *, common_name: bool) -> Self:
        """From what the library built of one such certificate, whose subject ends with a common name or has none."""
        version, _, algorithm, issuer, _, subject, _, tagged = encoding.parts(to_be_signed, exactly=8)
        attributes = encoding.parts(subject)
        runs: list[list[bytes]] = [[]]
        critical, named = b"", False
        for extension in encoding.parts(encoding.content(tagged)):
            members = encoding.parts(extension)
            if members[0] in {_KEY, _VALUE}:
                runs.append([])
            else:
                runs[-1].append(extension)
            if members[0] == _VALUE:
                critical, named = b"".join(members[1:-1]), True
        first, second, *third = [b"".join(run) for run in runs]
        above = b"".join(attributes[:-1] if common_name else attributes)
        return cls(version, algorithm + issuer, above, (first, second, b"".join(third)), named, critical)

    def fill(
        self, *, serial: int, not_before: datetime, not_after: datetime, common_name: str, public_key: bytes,
        key_identifier: bytes, names: Sequence[Name],
    ) -> bytes:  # fmt: skip
        """The to-be-signed certificate; raises ValueError for a name that is not ASCII."""
        first, second, third = self.extensions
        identifier = encoding.sequence(_KEY, encoding.octets(encoding.octets(key_identifier)))
        extensions = [first, identifier, second]
        if self.named:
            general = encoding.sequence(*map(_general_name, names))
            extensions += [encoding.sequence(_VALUE, self.critical, encoding.octets(general)), third]
        subject = [self.subject]
        if common_name:
            subject.append(encoding.one(encoding.sequence(_COMMON_NAME, encoding.utf8(common_name))))
        return encoding.sequence(
            self.version, encoding.integer(serial), self.issuer,
            encoding.sequence(encoding.time(not_before), encoding.time(not_after)), encoding.sequence(*subject), public_key,
            encoding.tagged(3, encoding.sequence(*extensions)),
        )  # fmt: skip


def _general_name(name: Name) -> bytes:
    kind, value = name
    content = ipaddress.ip_address(value).packed if kind == "ip" else value.encode("ascii")
    return encoding.tagged(_TAGS[kind], content, constructed=False)
