"""Who may issue for a name, as its zone says (RFC 8659), down to the account and the method (RFC 8657)."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from certificates.acme.errors import AcmeError

_CRITICAL = 128
_KNOWN = {"issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"}
_VALUE = re.compile(r"[ \t]*(?P<domain>[A-Za-z0-9.-]*)[ \t]*(?:;(?P<parameters>.*))?")
_PARAMETER = re.compile(r"(?P<tag>[A-Za-z0-9]+)[ \t]*=[ \t]*(?P<value>[\x21-\x3a\x3c-\x7e]*)")


@dataclass(frozen=True, slots=True)
class Record:
    """One CAA record."""

    flags: int
    tag: str
    value: str


@dataclass(frozen=True, slots=True)
class Question:
    """Whether an authority that goes by `identities` may issue to `account` after a proof by `method`."""

    identities: Sequence[str]
    account: str
    method: str
    wildcard: bool


def check(name: str, question: Question, look_up: Callable[[str], Iterable[Record]]) -> None:
    """Climb from `name` to the first records there are and obey them; raises AcmeError (caa). No record permits."""
    labels = name.split(".")
    for start in range(len(labels)):
        where = ".".join(labels[start:])
        if records := list(look_up(where)):
            if reason := refusal(records, question):
                raise AcmeError("caa", f"The CAA records of {where} do not let this authority issue: {reason}.")
            return


def refusal(records: Sequence[Record], question: Question) -> str:
    """Why these records forbid it, or nothing (RFC 8659, 4.1 to 4.3)."""
    for record in records:
        if record.flags & _CRITICAL and record.tag.lower() not in _KNOWN:
            return f"the critical property {record.tag[:30]} is not understood"
    wanted = [record for record in records if record.tag.lower() == "issue"]
    if question.wildcard and (wild := [record for record in records if record.tag.lower() == "issuewild"]):
        wanted = wild
    if not wanted:
        return ""
    reasons = [_against(record.value, question) for record in wanted]
    return "" if "" in reasons else reasons[0]


def _against(value: str, question: Question) -> str:
    found = _VALUE.fullmatch(value)
    if found is None:
        return "a value cannot be read"
    if found["domain"].lower().rstrip(".") not in {name.lower() for name in question.identities} or not found["domain"]:
        return "other authorities are named"
    parameters: list[tuple[str, str]] = []
    for part in (found["parameters"] or "").split(";"):
        if not (text := part.strip(" \t")):
            continue
        parameter = _PARAMETER.fullmatch(text)
        if parameter is None:
            return "a parameter cannot be read"
        parameters.append((parameter["tag"].lower(), parameter["value"]))
    accounts = [value for tag, value in parameters if tag == "accounturi"]
    if accounts and accounts != [question.account]:
        return "another account is named"
    methods = [value.split(",") for tag, value in parameters if tag == "validationmethods"]
    if methods and (len(methods) > 1 or question.method not in methods[0]):
        return "another method of proof is named"
    return ""
