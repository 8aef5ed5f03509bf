"""One ceremony's secrets while it lasts, and the rules about them; no sockets, no tables, no clock but a monotonic one.

A session is safe for threads: one method at a time. Everything secret is wiped by `destroy`, which may be called at any time.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ceremonies import offline, packages, shamir
from ceremonies.errors import (
    AttemptOver,
    NotReady,
    PackageRefused,
    SecretNotRecovered,
    ShareRefused,
    SplitRefused,
)
from ceremonies.packages import MasterKey
from ceremonies.process import sealing
from ceremonies.process.contract import (
    HandedOver,
    HolderGroup,
    KeyServices,
    Progress,
    RecipientKind,
    SealedRoot,
    Wrapped,
)
from ceremonies.process.gathering import Attempt
from ceremonies.process.handing import Handout
from ceremonies.process.inbox import Inbox
from ceremonies.process.tries import WrongTries
from ceremonies.process.turns import one_at_a_time
from ceremonies.shamir import SetRecord
from keys.crypto.secret import SecretBytes

ESCROW_KEY_BYTES = 32
PRACTICE_KEY = MasterKey(UUID(int=0), 1, "PRACTICE", "AES-256-GCM", "none", "")


class Session:
    """Begun for one ceremony and one script; `nonce` tells it from an earlier session of the same ceremony."""

    def __init__(
        self,
        ceremony_id: UUID,
        script_hash: str,
        services: KeyServices,
        *,
        practice: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ceremony_id, self.script_hash, self.practice = ceremony_id, script_hash, practice
        self.nonce = secrets.token_urlsafe(16)
        self.lock, self.clock, self.ended = threading.RLock(), clock, False
        self.begun_at = self.last_sign = clock()
        self._services = services
        self._inbox, self._tries = Inbox(ceremony_id, script_hash), WrongTries(clock)
        self.public_key = self._inbox.public_key
        self._escrow: SecretBytes | None = None
        self._passphrase: SecretBytes | None = None
        self._master: tuple[MasterKey, SecretBytes] | None = None
        self._wrapped: Wrapped | None = None
        self._handout: Handout | None = None
        self._attempt: Attempt | None = None
        self._handed: HandedOver | None = None
        self._recovered = self._verified = self._packaged = False

    def status(self) -> dict[str, Any]:
        """What may be said aloud; no sign of life."""
        with self.lock:
            handout, attempt = self._handout, self._attempt
            return {
                "begun": not self.ended, "has_escrow_key": self._escrow is not None,
                "has_master_key": self._master is not None or self._wrapped is not None,
                "set_id": handout.made.record.set_id if handout else None,
                "shown": sorted(handout.positions) if handout else [],
                "confirmed": sorted(handout.confirmed) if handout else [], "verified": self._verified,
                "attempt": attempt is not None, "given": sorted(attempt.given) if attempt else [],
                "missing": attempt.missing if attempt else 0,
            }  # fmt: skip

    def destroy(self) -> None:
        """Wipe everything; nothing that was sealed to this session opens any more."""
        with self.lock:
            self.ended = True
            self._inbox.forget()
            self._drop_attempt()
            self._drop_handout()
            for secret in (self._escrow, self._passphrase, self._master[1] if self._master else None):
                if secret is not None:
                    secret.wipe()
            self._escrow = self._passphrase = self._master = self._wrapped = None

    # Escrow.

    @one_at_a_time
    def make_escrow_key(self) -> str:
        """A fresh one, in place of any other; its check value."""
        self._refuse_packaged()
        self._drop_handout()
        self._take_escrow(SecretBytes(secrets.token_bytes(ESCROW_KEY_BYTES)))
        return self._check()

    @one_at_a_time
    def wrap_master_key(
        self, *, version_id: int | None = None, person_id: UUID | None = None, approval_id: UUID | None = None
    ) -> Wrapped:
        """Wrap the key unwrapped here if there is one, in practice a throw-away key, else the version's material."""
        escrow = self._need_escrow()
        self._refuse_packaged()
        if self._master is not None:
            key, material = self._master
            wrapped = packages.wrap_master(escrow, material)
        elif self.practice:
            with SecretBytes(secrets.token_bytes(ESCROW_KEY_BYTES)) as throw_away:
                key = replace(PRACTICE_KEY, check=offline.check_value(throw_away.reveal()))
                wrapped = packages.wrap_master(escrow, throw_away)
        elif version_id is not None and person_id is not None:
            key, wrapped = self._services.export(
                version_id=version_id, person_id=person_id, approval_id=approval_id, escrow_key=escrow
            )
        else:
            raise NotReady("There is no master key here; name the version to be wrapped.")
        self._wrapped = Wrapped(key, wrapped, self._check())
        return self._wrapped

    @one_at_a_time
    def seal_passphrase(self, *, custodian_id: str, step: str, ciphertext: bytes) -> None:
        """The SLIP-39 passphrase of the next split or reconstruction; raises SplitRefused for other than printable ASCII."""
        with self._tries.counted(custodian_id):
            phrase = self._inbox.open(custodian_id, step, ciphertext)
            shamir.phrase_of(phrase)
        if self._passphrase is not None:
            self._passphrase.wipe()
        self._passphrase = phrase

    @one_at_a_time
    def split(
        self,
        *,
        generation: int,
        groups: Sequence[HolderGroup],
        group_threshold: int,
        iteration_exponent: int,
        extendable: bool,
        avoid: Collection[int],
    ) -> SetRecord:
        """Split the escrow key; the set before, if any, is void."""
        escrow = self._need_escrow()
        self._refuse_packaged()
        people = [custodian for group in groups for custodian in group.custodians]
        if len(set(people)) != len(people):
            raise SplitRefused("Nobody may hold two shares of one set.")
        made = shamir.split(
            escrow, groups=[(group.threshold, len(group.custodians)) for group in groups],
            group_threshold=group_threshold, passphrase=self._passphrase, iteration_exponent=iteration_exponent,
            extendable=extendable, generation=generation, avoid=avoid,
        )  # fmt: skip
        self._drop_handout()
        self._handout = Handout(made, dict(enumerate(people, 1)))
        return made.record

    @one_at_a_time
    def split_root(
        self, *, custodians: Sequence[str], threshold: int, person_id: UUID | None = None
    ) -> tuple[SetRecord, SealedRoot | None]:
        """New shares of the portal's seal, to be handed out and verified as any others; in practice of a throw-away secret."""
        if len(set(custodians)) != len(custodians):
            raise SplitRefused("Nobody may hold two shares of one set.")
        sealed = None
        if self.practice:
            throw_away = SecretBytes(secrets.token_bytes(ESCROW_KEY_BYTES))
            made = shamir.split(throw_away, groups=[(threshold, len(custodians))])
        elif person_id is not None:
            sealed, words = self._services.split_root(threshold=threshold, count=len(custodians), person_id=person_id)
            made = shamir.known_set(words, threshold)
        else:
            raise NotReady("Say who has the root split.")
        self._drop_handout()
        self._take_escrow(shamir.recover(made.shares[:threshold]))
        self._handout = Handout(made, dict(enumerate(custodians, 1)))
        return made.record, sealed

    @one_at_a_time
    def sealed_share_for(
        self, *, index: int, custodian_id: str, step: str, kind: RecipientKind, key: bytes
    ) -> tuple[bytes, tuple[int, ...], str]:
        """The words, once, under a key of the custodian's; which to type back; what the card is known by.

        A key that cannot be used costs nothing.
        """
        handout = self._need_handout()
        words = handout.unshown(index, custodian_id)
        ciphertext = sealing.seal_to(kind, key, words, self._inbox.context(custodian_id, step))
        return ciphertext, *handout.note_shown(index)

    @one_at_a_time
    def confirm(self, *, custodian_id: str, step: str, ciphertext: bytes) -> int:
        """Compare what was typed, and sealed, with the words asked for, or with all; then they are erased here."""
        handout = self._need_handout()
        index = handout.to_confirm(custodian_id)
        if index not in handout.confirmed:
            with self._tries.counted(custodian_id), self._inbox.open(custodian_id, step, ciphertext) as told:
                handout.confirm(index, told)
        return index

    @one_at_a_time
    def package(self, *, made_by: str, made_at: str) -> bytes:
        """The offline package, once everything about the new set is proven; the set is final then."""
        escrow, handout, wrapped = self._need_escrow(), self._need_confirmed(), self._wrapped
        if wrapped is None:
            raise NotReady("The master key was not wrapped under this escrow key yet.")
        if self._recovered and not self._verified:
            raise NotReady("The new shares were not verified yet: the old generation stays valid until then.")
        made = packages.make(
            escrow_key=escrow, key=wrapped.key, wrapped=wrapped.wrapped, record=handout.made.record,
            ceremony_id=self.ceremony_id, script_hash=self.script_hash, made_by=made_by, made_at=made_at,
            practice=self.practice,
        )  # fmt: skip
        self._packaged = True
        return made.data

    # Gathering.

    @one_at_a_time
    def open_attempt(self, *, record: SetRecord, holders: Mapping[int, str], older: Sequence[SetRecord] = ()) -> str:
        """A new attempt; the one before is thrown away with its shares."""
        self._drop_attempt()
        self._attempt = Attempt(record, holders, older)
        return self._attempt.nonce

    @one_at_a_time
    def verify_new_shares(self) -> str:
        """An attempt that wants every share of the set made here."""
        handout = self._need_confirmed()
        self._drop_attempt()
        self._attempt = Attempt(handout.made.record, handout.holders, all_of_them=True)
        return self._attempt.nonce

    @one_at_a_time
    def take_share(self, *, attempt: str, custodian_id: str, step: str, ciphertext: bytes) -> Progress:
        """Open, identify and keep one share; whatever is wrong with it is said, counted, and changes nothing."""
        gathering = self._need_attempt(attempt)
        with self._tries.counted(custodian_id), self._inbox.open(custodian_id, step, ciphertext) as words:
            index = gathering.take(words, custodian_id)
        given, missing = tuple(sorted(gathering.given)), gathering.missing
        if gathering.all_of_them and not missing:
            self._verify(gathering)
        return Progress(index, given, missing, self._verified)

    @one_at_a_time
    def cancel_attempt(self) -> None:
        """Nothing but the shares gathered so far is lost."""
        self._drop_attempt()

    @one_at_a_time
    def reissue(self, *, attempt: str, index: int, custodian_id: str) -> None:
        """A lost share again, out of the quorum just gathered: `sealed_share_for` gives it once to its new holder."""
        gathering = self._need_attempt(attempt)
        gathering.need_quorum()
        words = shamir.reissue(gathering.given.values(), gathering.record, index)
        self._drop_handout()
        self._handout = Handout.again(gathering.record, index, words, custodian_id)

    # Recovery.

    @one_at_a_time
    def reconstruct(self, *, attempt: str, escrow_check: str = "") -> str:
        """The escrow key out of the quorum. After a wrong passphrase the shares stay, and another can be tried."""
        gathering = self._need_attempt(attempt)
        if gathering.all_of_them:
            raise NotReady("This attempt verifies new shares.")
        gathering.need_quorum()
        with self._tries.counted("reconstruct"):
            found = gathering.recover(self._passphrase)
            if escrow_check and offline.check_value(found.reveal()) != escrow_check:
                found.wipe()
                raise SecretNotRecovered(
                    "The shares are right, and make another key than the package's.",
                    hint="Give the passphrase that they were made with.",
                )
        self._drop_attempt()
        self._drop_handout()
        self._take_escrow(found)
        self._recovered = True
        return self._check()

    @one_at_a_time
    def unwrap(self, *, package: bytes) -> Wrapped:
        """Open the package with the recovered escrow key and keep what is in it."""
        escrow = self._need_escrow()
        if not self._recovered:
            raise NotReady("Reconstruct the escrow key first.")
        read = packages.read(package)
        if read.practice != self.practice:
            raise PackageRefused("A rehearsal opens packages of rehearsals only, and a real ceremony real ones.")
        material = read.open(escrow)
        if self._master is not None:
            self._master[1].wipe()
        self._master = read.key, material
        return Wrapped(read.key, read.wrapped, read.escrow_check)

    @one_at_a_time
    def hand_over(self, *, provider: str, person_id: UUID, approval_id: UUID | None = None) -> HandedOver:
        """Import the master key; a second call says what the first one did. In practice nothing is imported."""
        if self._handed is not None:
            return self._handed
        if self._master is None:
            raise NotReady("Unwrap the package first.")
        key, material = self._master
        if self.practice:
            self._handed = HandedOver(key.key_id, 0, None)
        else:
            self._handed = self._services.hand_over(
                key=key, material=material, provider=provider, person_id=person_id, approval_id=approval_id,
                ceremony_id=self.ceremony_id,
            )  # fmt: skip
        return self._handed

    @one_at_a_time
    def take_component(
        self, *, custodian_id: str, step: str, ciphertext: bytes, import_id: UUID, number: int, person_id: UUID
    ) -> None:
        """Open one component of a key and enter it with its custodian's rights; raises ShareRefused for what is no hexadecimal."""
        with self._tries.counted(custodian_id), self._inbox.open(custodian_id, step, ciphertext) as typed:
            try:
                component = SecretBytes(bytes.fromhex("".join(typed.reveal().decode().split())))
            except ValueError:
                raise ShareRefused("Hexadecimal digits only, two for each byte.") from None
            with component:
                self._services.enter_component(
                    import_id=import_id, number=number, person_id=person_id, component=component
                )

    # Inside.

    def _verify(self, gathering: Attempt) -> None:
        """All came back: they must make the escrow key."""
        found = gathering.recover(self._passphrase)
        same = found == self._need_escrow()
        found.wipe()
        self._drop_attempt()
        if not same:
            raise SecretNotRecovered("The new shares do not make the escrow key; split it again.")
        self._verified = True

    def _need_escrow(self) -> SecretBytes:
        if self._escrow is None:
            raise NotReady("There is no escrow key yet.")
        return self._escrow

    def _need_handout(self) -> Handout:
        if self._handout is None:
            raise NotReady("The escrow key was not split yet.")
        return self._handout

    def _need_confirmed(self) -> Handout:
        handout = self._need_handout()
        if not handout.complete:
            raise NotReady("Not every custodian has confirmed the share yet.")
        return handout

    def _need_attempt(self, nonce: str) -> Attempt:
        if self._attempt is None or not self._attempt.is_under(nonce):
            raise AttemptOver(hint="Load the page again: another attempt was begun, or this one was cancelled.")
        return self._attempt

    def _refuse_packaged(self) -> None:
        if self._packaged:
            raise NotReady("The package was made: this set of shares is final.")

    def _take_escrow(self, key: SecretBytes) -> None:
        if self._escrow is not None:
            self._escrow.wipe()
        self._escrow, self._verified, self._wrapped = key, False, None

    def _check(self) -> str:
        return offline.check_value(self._need_escrow().reveal())

    def _drop_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.wipe()
        self._attempt = None

    def _drop_handout(self) -> None:
        if self._handout is not None:
            self._handout.wipe()
        self._handout, self._verified = None, False
