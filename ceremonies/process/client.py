"""Asking the ceremony process. Every method raises PortalErrors of `ceremonies.errors`, ProcessUnavailable among them.

Usual order, escrow: begin, make_escrow_key, wrap_master_key, split, sealed_share_for (each custodian), confirm (each), package, destroy.
Recovery: begin, open_attempt, take_share (until `missing` is 0), reconstruct, unwrap, hand_over, destroy.
Refresh: begin, the old quorum as in recovery up to unwrap, then make_escrow_key, wrap_master_key, split, sealed_share_for, confirm,
verify_new_shares, take_share (all N), package, destroy.

A session lives in memory only. It ends with `destroy`, after `idle_seconds` without a call, after `life_seconds` in all, and with
the process; whatever was in it is then gone, and every method but `begin` raises SessionOver.
"""

import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from ceremonies.errors import ProcessUnavailable
from ceremonies.process.contract import (
    HandedOver,
    HolderGroup,
    Opening,
    Progress,
    RecipientKind,
    SealedRoot,
    SealedShare,
    SessionStatus,
    WrappedMaster,
)
from ceremonies.shamir import SetRecord
from keys.keyholder import wire
from keyvault_portal.errors import PortalError

__all__ = [
    "CeremonyProcess", "HandedOver", "HolderGroup", "Opening", "Progress", "RecipientKind", "SealedRoot", "SealedShare", "SessionStatus",
    "WrappedMaster",
]  # fmt: skip
TIMEOUT = 60.0  # a split with a high iteration exponent, or an HSM that imports, takes a while


class CeremonyProcess:
    """The process behind the socket at `path` (settings.CEREMONY_SOCKET). One connection a call: nothing is kept here."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # The session.

    def begin(self, *, ceremony_id: UUID, script_hash: str, practice: bool = False) -> Opening:
        """Begin a session bound to the ceremony and its script; raises SessionOpen while one is under way."""
        answer = self._ask("begin", ceremony_id, script_hash=script_hash, practice=practice)
        return Opening(
            str(answer["nonce"]),
            wire.to_bytes(answer["public_key"]),
            int(answer["idle_seconds"]),
            int(answer["life_seconds"]),
        )

    def status(self, *, ceremony_id: UUID) -> SessionStatus:
        """How far the session is; `begun` is False when there is none. Does not count as a sign of life."""
        answer = self._ask("status", ceremony_id)
        if not answer["begun"]:
            return SessionStatus(begun=False)
        tuples = {name: tuple(answer[name]) for name in ("shown", "confirmed", "given")}
        return SessionStatus(**{**answer, **tuples})

    def destroy(self, *, ceremony_id: UUID) -> bool:
        """Erase everything of this ceremony, at any time, from anybody; returns whether there was a session."""
        return bool(self._ask("destroy", ceremony_id)["was"])

    # Escrow.

    def make_escrow_key(self, *, ceremony_id: UUID, nonce: str) -> str:
        """Make a fresh AES-256 escrow key; a set split before in this session is void. Returns its check value."""
        return str(self._ask("make_escrow_key", ceremony_id, nonce=nonce)["check"])

    def wrap_master_key(
        self,
        *,
        ceremony_id: UUID,
        nonce: str,
        version_id: int | None = None,
        person_id: UUID | None = None,
        approval_id: UUID | None = None,
    ) -> WrappedMaster:
        """Have the key version `version_id` (KeyVersion.pk) exported under the escrow key (AES-KWP, RFC 5649).

        Done by the keys services with the rights of `person_id`. Where a package was unwrapped in this session (a refresh) the
        key in it is wrapped, and in a practice session a throw-away key; then nothing is read and both may be left out. Raises
        NotReady without an escrow key, and what the services raise.
        """
        answer = self._ask(
            "wrap_master_key", ceremony_id, nonce=nonce, version_id=version_id, person_id=str(person_id) if person_id else None,
            approval_id=str(approval_id) if approval_id else None,
        )  # fmt: skip
        return _wrapped_master(answer)

    def seal_passphrase(
        self, *, ceremony_id: UUID, nonce: str, custodian_id: str, step: str, ciphertext: bytes
    ) -> None:
        """Set the SLIP-39 passphrase of the next split or reconstruction, sealed in the browser as a share is."""
        self._ask(
            "seal_passphrase",
            ceremony_id,
            nonce=nonce,
            custodian_id=custodian_id,
            step=step,
            ciphertext=wire.to_text(ciphertext),
        )

    def split(
        self,
        *,
        ceremony_id: UUID,
        nonce: str,
        generation: int,
        groups: Sequence[HolderGroup],
        group_threshold: int = 1,
        iteration_exponent: int = 1,
        extendable: bool = True,
        avoid: Collection[int] = (),
    ) -> SetRecord:
        """Split the escrow key; returns public commitments only. `avoid`: set ids of this key's older generations.

        May be repeated until `package`: the set before is void, and its shares are erased. Raises SplitRefused, NotReady.
        """
        answer = self._ask(
            "split", ceremony_id, nonce=nonce, generation=generation, group_threshold=group_threshold,
            groups=[[group.threshold, list(group.custodians)] for group in groups], iteration_exponent=iteration_exponent,
            extendable=extendable, avoid=sorted(avoid),
        )  # fmt: skip
        return SetRecord.from_json(answer["record"])

    def split_root(
        self, *, ceremony_id: UUID, nonce: str, custodians: Sequence[str], threshold: int, person_id: UUID | None = None
    ) -> tuple[SetRecord, SealedRoot | None]:
        """New shares of the portal's seal with the rights of `person_id`; None for the sealed root in a practice session.

        They go from the keyholder straight into the process, and out as `sealed_share_for` says. Nothing is in use before the services
        are told. Raises what `seals.split_root` does.
        """
        answer = self._ask(
            "split_root", ceremony_id, nonce=nonce, custodians=list(custodians), threshold=threshold,
            person_id=str(person_id) if person_id else None,
        )  # fmt: skip
        sealed = answer["sealed"]
        return SetRecord.from_json(answer["record"]), None if sealed is None else SealedRoot(
            UUID(sealed["seal_id"]), wire.to_bytes(sealed["wrapped"]), wire.to_bytes(sealed["check"]), int(sealed["threshold"]),
            int(sealed["count"]), int(sealed["identifier"]),
        )  # fmt: skip

    def sealed_share_for(
        self,
        *,
        ceremony_id: UUID,
        nonce: str,
        index: int,
        custodian_id: str,
        step: str,
        kind: RecipientKind,
        key: bytes,
    ) -> SealedShare:
        """One share, once, for the custodian it was split for, under a key of theirs: no server on the way sees the words.

        A browser makes a key for this one answer (ceremony-seal.js: `receiver()`), or the key is a custodian's own. Raises
        ShareRefused for a key that cannot be used, ShareShownAlready, ShareOfAnotherPerson, NotReady.
        """
        answer = self._ask(
            "sealed_share_for", ceremony_id, nonce=nonce, index=index, custodian_id=custodian_id, step=step, kind=kind.value,
            key=wire.to_text(key),
        )  # fmt: skip
        return SealedShare(index, wire.to_bytes(answer["ciphertext"]), tuple(answer["positions"]), str(answer["check"]))

    def confirm(self, *, ceremony_id: UUID, nonce: str, custodian_id: str, step: str, ciphertext: bytes) -> int:
        """Whether the custodian typed back the words asked for (those at `positions`, in order), or all of them.

        What was typed was sealed in the browser (sealing.context). Returns the index confirmed; its words are then erased here.
        Raises SealedWrongly, ShareRefused, TooManyTries, NotReady.
        """
        answer = self._ask(
            "confirm",
            ceremony_id,
            nonce=nonce,
            custodian_id=custodian_id,
            step=step,
            ciphertext=wire.to_text(ciphertext),
        )
        return int(answer["index"])

    def package(self, *, ceremony_id: UUID, nonce: str, made_by: str, made_at: str) -> bytes:
        """The offline package, once every share is confirmed; raises NotReady.

        Canonical JSON, which `ceremonies.packages.read` takes, to make the file and the print of it.
        `made_at` is RFC 3339 in UTC. After a refresh it also wants `verified`. Public but for the wrapped key in it.
        """
        return wire.to_bytes(
            self._ask("package", ceremony_id, nonce=nonce, made_by=made_by, made_at=made_at)["package"]
        )

    # Gathering shares.

    def open_attempt(
        self,
        *,
        ceremony_id: UUID,
        nonce: str,
        record: SetRecord,
        holders: Mapping[int, str],
        older: Sequence[SetRecord] = (),
    ) -> str:
        """Begin to gather a quorum of the set `record`; an attempt before is thrown away with its shares. Returns its nonce.

        `holders` says whose share each index is (a deputy stands in by being named here); `older` lets a share of an ended
        generation be named as such.
        """
        answer = self._ask(
            "open_attempt", ceremony_id, nonce=nonce, record=record.as_json(), older=[old.as_json() for old in older],
            holders=[[index, custodian] for index, custodian in holders.items()],
        )  # fmt: skip
        return str(answer["attempt"])

    def verify_new_shares(self, *, ceremony_id: UUID, nonce: str) -> str:
        """Begin to gather all N shares of the set split here, under a second nonce, which is returned. Raises NotReady.

        `take_share` with the last one sets `verified`. Cancelling it leaves everything as it was.
        """
        return str(self._ask("verify_new_shares", ceremony_id, nonce=nonce)["attempt"])

    def take_share(
        self, *, ceremony_id: UUID, attempt: str, custodian_id: str, step: str, ciphertext: bytes
    ) -> Progress:
        """Take a share that a browser sealed for exactly this ceremony, script, step and custodian (sealing.context).

        Raises SealedWrongly, ShareMistyped, ShareOfAnotherSet, ShareOfOldGeneration, ShareUnknown, ShareOfAnotherPerson,
        ShareGivenAlready, AttemptOver, TooManyTries. A refused share changes nothing.
        """
        answer = self._ask(
            "take_share",
            ceremony_id,
            attempt=attempt,
            custodian_id=custodian_id,
            step=step,
            ciphertext=wire.to_text(ciphertext),
        )
        return Progress(int(answer["index"]), tuple(answer["given"]), int(answer["missing"]), bool(answer["verified"]))

    def cancel_attempt(self, *, ceremony_id: UUID, nonce: str) -> None:
        """Erase the shares gathered so far."""
        self._ask("cancel_attempt", ceremony_id, nonce=nonce)

    # Recovery.

    def reconstruct(self, *, ceremony_id: UUID, attempt: str, escrow_check: str = "") -> str:
        """The escrow key out of the quorum; the shares are erased. Returns its check value.

        With `escrow_check` (of the package) a wrong passphrase is told at once. Raises QuorumMissing, SecretNotRecovered.
        """
        return str(self._ask("reconstruct", ceremony_id, attempt=attempt, escrow_check=escrow_check)["check"])

    def unwrap(self, *, ceremony_id: UUID, nonce: str, package: bytes) -> WrappedMaster:
        """Open the package with the reconstructed escrow key; the master key stays in the process.

        Its checksums, set and both check values are verified. Raises PackageRefused, SecretNotRecovered, NotReady.
        """
        return _wrapped_master(self._ask("unwrap", ceremony_id, nonce=nonce, package=wire.to_text(package)))

    def hand_over(
        self, *, ceremony_id: UUID, nonce: str, provider: str, person_id: UUID, approval_id: UUID | None = None
    ) -> HandedOver:
        """Import the unwrapped master key at `provider` by the keys services, with the rights of `person_id`.

        Returns when the provider has it and the new version is in use. Asked again, in this session or a later one of the same
        ceremony, it says what it did before. Raises NotReady, and what services and provider raise; the master key then stays
        in the process, for another try or another provider.
        """
        answer = self._ask(
            "hand_over", ceremony_id, nonce=nonce, provider=provider, person_id=str(person_id),
            approval_id=str(approval_id) if approval_id else None,
        )  # fmt: skip
        intent = answer["intent_id"]
        return HandedOver(UUID(answer["key_id"]), int(answer["version_id"]), UUID(intent) if intent else None)

    def reissue(self, *, ceremony_id: UUID, attempt: str, index: int, custodian_id: str) -> None:
        """Make a lost share again out of the quorum just gathered, for `custodian_id`; then `sealed_share_for` gives it once.

        Before `reconstruct`. Raises QuorumMissing when its own group is not complete.
        """
        self._ask("reissue", ceremony_id, attempt=attempt, index=index, custodian_id=custodian_id)

    def take_component(
        self, *, ceremony_id: UUID, nonce: str, custodian_id: str, step: str, ciphertext: bytes, import_id: UUID, number: int,
        person_id: UUID,
    ) -> None:  # fmt: skip
        """Take one component of a key, sealed in the browser as a share is, and enter it with the rights of `person_id`.

        Raises SealedWrongly, ShareRefused, TooManyTries, and as `imports.enter_component`.
        """
        self._ask(
            "take_component", ceremony_id, nonce=nonce, custodian_id=custodian_id, step=step, ciphertext=wire.to_text(ciphertext),
            import_id=str(import_id), number=number, person_id=str(person_id),
        )  # fmt: skip

    def _ask(self, operation: str, ceremony_id: UUID, **arguments: Any) -> dict[str, Any]:
        head = {"op": operation, "ceremony_id": str(ceremony_id)}
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(TIMEOUT)
                connection.connect(str(self.path))
                # What may be secret is sent only when the ceremony's own process is at the other end.
                wire.send(connection, head | (arguments if operation == "begin" else {}))
                answer = wire.receive(connection)
                if "go" in answer:
                    wire.send(connection, arguments)
                    answer = wire.receive(connection)
        except (OSError, wire.WireError):
            raise ProcessUnavailable(hint="Start it: ./manage.py ceremony_process") from None
        if "error" in answer:
            raise _refusal(answer)
        return answer


def _refusal(answer: Mapping[str, Any]) -> PortalError:
    """The error as it was raised over there: the services' own, ApprovalRequired among them, come through as they are."""
    kinds = {kind.code: kind for kind in _kinds(PortalError)}
    kind, extra = kinds.get(str(answer["error"]), PortalError), dict(answer.get("extra") or {})
    error = kind.__new__(kind)
    PortalError.__init__(error, str(answer.get("detail", "")), hint=str(answer.get("hint", "")), **extra)
    for name, value in extra.items():  # what some kinds keep as an attribute, too
        setattr(error, name, value)
    return error


def _kinds(kind: type[PortalError]) -> Iterator[type[PortalError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def _wrapped_master(answer: Mapping[str, Any]) -> WrappedMaster:
    return WrappedMaster(
        UUID(answer["key_id"]), int(answer["key_version"]), str(answer["key_name"]), str(answer["key_algorithm"]),
        str(answer["provider"]), str(answer["wrap_algorithm"]), wire.to_bytes(answer["wrapped"]), str(answer["check"]),
        str(answer["escrow_check"]),
    )  # fmt: skip
