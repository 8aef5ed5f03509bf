"""Where to encrypt: each scope, what it costs, who holds the keys, and against whom it helps. Rows only.

The costs are starting points of the usual sizes; measure your own load before you decide by them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Helps(StrEnum):
    YES = "yes"
    PARTLY = "partly"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Threat:
    """Who reads what they should not."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Scope:
    """`cost` is per cent from-to of what `cost_of` says; `helps` names every threat; `page` is the portal's part, `""` for none."""

    id: str
    title: str
    method: str
    use_case: str
    cost: tuple[int, int]
    cost_of: str
    keys: str
    helps: Mapping[str, Helps]
    here: str
    page: str = ""


THREATS = (
    Threat("medium", "Stolen medium", "A disk, a snapshot or a backup gets into other hands."),
    Threat("database", "Reader in the database", "Somebody reads tables: an administrator, a dump, SQL injection."),
    Threat("network", "Listener on the network", "Somebody records what passes between machines."),
    Threat("middle", "Reader on the way", "A proxy, a queue or a partner on the way sees what it passes on."),
    Threat("server", "Taken server", "Somebody acts as the application, with its memory and its rights."),
)

_YES, _PART, _NO = Helps.YES, Helps.PARTLY, Helps.NO


def _helps(medium: Helps, database: Helps, network: Helps, middle: Helps, server: Helps) -> Mapping[str, Helps]:
    return {"medium": medium, "database": database, "network": network, "middle": middle, "server": server}


SCOPES = (
    Scope(
        "disk",
        "At rest, the whole disk or database",
        "LUKS, BitLocker, TDE",
        "Everything on a medium, without a change to the application",
        (5, 10),
        "input and output",
        "The system or the database holds them while it runs.",
        _helps(_YES, _NO, _NO, _NO, _NO),
        "Keep the wrapping key of the volume at a provider of the portal.",
        "keys:provider-list",
    ),
    Scope(
        "column",
        "At rest, a column",
        "pgcrypto, encrypted columns of the database",
        "Few sensitive columns of an application that cannot be changed much",
        (15, 25),
        "a query",
        "The application sends them with the query, or the database fetches them.",
        _helps(_YES, _PART, _NO, _NO, _NO),
        "Prefer envelopes: with pgcrypto the key passes through the database's own memory and logs.",
    ),
    Scope(
        "application",
        "At rest, by the application",
        "Envelope encryption",
        "The most control, the same in every cloud",
        (20, 30),
        "an operation",
        "A provider holds the wrapping key; data keys lie wrapped beside the data.",
        _helps(_YES, _YES, _PART, _PART, _NO),
        "Register the table: the portal counts what stands on which version, and re-encrypts it.",
        "keys:store-list",
    ),
    Scope(
        "transit",
        "In transit, the connection",
        "TLS 1.3",
        "All traffic between machines",
        (2, 5),
        "processor time",
        "Certificates and their authorities.",
        _helps(_NO, _NO, _YES, _NO, _NO),
        "Certificates, their renewal and the configuration of servers.",
        "tls:configuration",
    ),
    Scope(
        "payload",
        "In transit, the message",
        "HPKE, JWE, NaCl box",
        "Messages that pass others on the way to their reader",
        (10, 15),
        "a message",
        "A key pair for each receiver.",
        _helps(_PART, _PART, _YES, _YES, _NO),
        "Make the receivers' key pairs here and close with the public half.",
        "keys:key-list",
    ),
    Scope(
        "field",
        "A field, at the client",
        "Client-side field-level encryption",
        "What the server must never see: personal data, health, secrets of customers",
        (30, 50),
        "a field",
        "The client's own key management; the portal or an HSM, never the server.",
        _helps(_YES, _YES, _YES, _YES, _YES),
        "The client takes a data key under its own token; the server's token lacks the right to decrypt.",
        "accounts:token-list",
    ),
)


def against(threats: Collection[str]) -> list[Scope]:
    """The scopes that help wholly against each of the threats (their ids), the cheapest first."""
    fitting = (scope for scope in SCOPES if all(scope.helps[threat] is Helps.YES for threat in threats))
    return sorted(fitting, key=lambda scope: scope.cost)
