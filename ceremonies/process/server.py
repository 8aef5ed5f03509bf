"""One ceremony's own process: what may be asked of its session, and nothing else."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, NoReturn
from uuid import UUID

import orjson

from ceremonies.packages import WRAPPING
from ceremonies.process.contract import HolderGroup, RecipientKind, SealedRoot, Wrapped
from ceremonies.process.session import Session
from ceremonies.process.sessions import Sessions
from ceremonies.shamir import SetRecord
from keys.keyholder import wire
from keyvault_portal.errors import PortalError, ValidationFailed

logger = logging.getLogger("ceremonies.process")
LOOK_EVERY = 1.0  # seconds between looks at whether the session is over its time
TIMEOUT = 30.0  # for a question that was announced
MAX_HEAD = 4096
type Message = dict[str, Any]


def serve(
    session_of: Callable[[], Sessions], begin: Message, connection: socket.socket, channel: socket.socket
) -> NoReturn:
    """One ceremony's process, from the fork to its end: begin, answer that on `connection`, then what comes over `channel`.

    Each packet on the channel is the head of a question, with the connection it came on. Never returns: with the session
    ends the process, and with the process everything that was ever in its memory.
    """
    try:
        sessions = session_of()
        ceremony_id = UUID(begin["ceremony_id"])
        session = sessions.begin(ceremony_id, begin["script_hash"], practice=begin["practice"])
        opening = {"nonce": session.nonce, "public_key": wire.to_text(session.public_key)}
        wire.send(connection, opening | {"idle_seconds": sessions.idle_seconds, "life_seconds": sessions.life_seconds})
        connection.close()
        channel.settimeout(LOOK_EVERY)
        converse_until_over(sessions, ceremony_id, channel)
    except BaseException as error:  # its text could quote what it was about
        logger.error("ceremony %s: its process failed: %s", begin["ceremony_id"], type(error).__name__)
    finally:
        os._exit(0)


def converse_until_over(sessions: Sessions, ceremony_id: UUID, channel: socket.socket) -> None:
    """Until the session or the doorkeeper is gone; whoever was passed on before that still gets an answer."""
    speaking: list[threading.Thread] = []
    over = False
    while True:
        if not over and sessions.find(ceremony_id) is None:
            over = True
            logger.warning("ceremony %s: nobody gave a sign of life; everything of it is erased", ceremony_id)
            channel.shutdown(socket.SHUT_RD)  # from here the doorkeeper answers; what stands in line is still read
        try:
            head, descriptors, _, _ = socket.recv_fds(channel, MAX_HEAD, 1)
        except TimeoutError:
            continue
        if not head:
            break
        asked = socket.socket(fileno=descriptors[0])
        speaker = threading.Thread(
            target=_converse, args=(sessions, ceremony_id, orjson.loads(head), asked), daemon=True
        )
        speaker.start()
        speaking = [*(thread for thread in speaking if thread.is_alive()), speaker]
    for thread in speaking:
        thread.join(LOOK_EVERY)


def _converse(sessions: Sessions, ceremony_id: UUID, head: Message, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError, wire.WireError):
        connection.settimeout(TIMEOUT)
        if head["op"] == "status":
            wire.send(connection, _status(sessions, ceremony_id))
            return
        wire.send(connection, {"go": True})
        wire.send(connection, answer(sessions, ceremony_id, str(head["op"]), wire.receive(connection)))


def answer(sessions: Sessions, ceremony_id: UUID, operation: str, message: Message) -> Message:
    """One question, one answer; a refusal is an answer with `error`, `detail`, `hint` and `extra`."""
    try:
        if operation in _UNDER_NONCE:
            return _UNDER_NONCE[operation](sessions.under(ceremony_id, str(message["nonce"])), message)
        if operation in _UNDER_ATTEMPT:
            return _UNDER_ATTEMPT[operation](sessions.under(ceremony_id, None), message)
        raise ValidationFailed("There is no such operation.")
    except PortalError as error:
        return refused(error)
    except (KeyError, TypeError, ValueError, wire.WireError):
        return refused(ValidationFailed("The question cannot be read."))


def refused(error: PortalError) -> Message:
    """How a refusal crosses the socket."""
    return {"error": error.code, "detail": error.detail, "hint": error.hint, "extra": error.extra}


def _status(sessions: Sessions, ceremony_id: UUID) -> Message:
    session = sessions.find(ceremony_id)
    return {"begun": False} if session is None else {**session.status(), "idle_seconds": sessions.idle_left(session)}


def _make_escrow_key(session: Session, message: Message) -> Message:
    return {"check": session.make_escrow_key()}


def _wrap_master_key(session: Session, message: Message) -> Message:
    version, person = message["version_id"], message["person_id"]
    return _wrapped(
        session.wrap_master_key(
            version_id=int(version) if version is not None else None, person_id=UUID(person) if person else None,
            approval_id=_approval(message),
        )
    )  # fmt: skip


def _seal_passphrase(session: Session, message: Message) -> Message:
    session.seal_passphrase(**_sealed(message))
    return {}


def _split(session: Session, message: Message) -> Message:
    groups = [HolderGroup(int(threshold), tuple(map(str, people))) for threshold, people in message["groups"]]
    record = session.split(
        generation=int(message["generation"]), groups=groups, group_threshold=int(message["group_threshold"]),
        iteration_exponent=int(message["iteration_exponent"]), extendable=bool(message["extendable"]),
        avoid={int(set_id) for set_id in message["avoid"]},
    )  # fmt: skip
    return {"record": record.as_json()}


def _split_root(session: Session, message: Message) -> Message:
    person = message["person_id"]
    record, sealed = session.split_root(
        custodians=[str(custodian) for custodian in message["custodians"]], threshold=int(message["threshold"]),
        person_id=UUID(person) if person else None,
    )  # fmt: skip
    return {"record": record.as_json(), "sealed": None if sealed is None else _sealed_root(sealed)}


def _sealed_root(sealed: SealedRoot) -> Message:
    return {
        "seal_id": str(sealed.seal_id), "wrapped": wire.to_text(sealed.wrapped), "check": wire.to_text(sealed.check),
        "threshold": sealed.threshold, "count": sealed.count, "identifier": sealed.identifier,
    }  # fmt: skip


def _sealed_share_for(session: Session, message: Message) -> Message:
    ciphertext, positions, check = session.sealed_share_for(
        index=int(message["index"]), custodian_id=str(message["custodian_id"]), step=str(message["step"]),
        kind=RecipientKind(message["kind"]), key=wire.to_bytes(message["key"]),
    )  # fmt: skip
    return {"ciphertext": wire.to_text(ciphertext), "positions": positions, "check": check}


def _confirm(session: Session, message: Message) -> Message:
    return {"index": session.confirm(**_sealed(message))}


def _package(session: Session, message: Message) -> Message:
    made = session.package(made_by=str(message["made_by"]), made_at=str(message["made_at"]))
    return {"package": wire.to_text(made)}


def _open_attempt(session: Session, message: Message) -> Message:
    attempt = session.open_attempt(
        record=SetRecord.from_json(message["record"]), older=[SetRecord.from_json(old) for old in message["older"]],
        holders={int(index): str(custodian) for index, custodian in message["holders"]},
    )  # fmt: skip
    return {"attempt": attempt}


def _verify_new_shares(session: Session, message: Message) -> Message:
    return {"attempt": session.verify_new_shares()}


def _take_share(session: Session, message: Message) -> Message:
    progress = session.take_share(attempt=str(message["attempt"]), **_sealed(message))
    return {
        "index": progress.index, "given": progress.given, "missing": progress.missing, "verified": progress.verified,
    }  # fmt: skip


def _cancel_attempt(session: Session, message: Message) -> Message:
    session.cancel_attempt()
    return {}


def _reissue(session: Session, message: Message) -> Message:
    session.reissue(
        attempt=str(message["attempt"]), index=int(message["index"]), custodian_id=str(message["custodian_id"])
    )
    return {}


def _reconstruct(session: Session, message: Message) -> Message:
    return {"check": session.reconstruct(attempt=str(message["attempt"]), escrow_check=str(message["escrow_check"]))}


def _unwrap(session: Session, message: Message) -> Message:
    return _wrapped(session.unwrap(package=wire.to_bytes(message["package"])))


def _hand_over(session: Session, message: Message) -> Message:
    handed = session.hand_over(
        provider=str(message["provider"]), person_id=UUID(message["person_id"]), approval_id=_approval(message)
    )
    intent = str(handed.intent_id) if handed.intent_id else None
    return {"key_id": str(handed.key_id), "version_id": handed.version_id, "intent_id": intent}


def _take_component(session: Session, message: Message) -> Message:
    session.take_component(
        **_sealed(message), import_id=UUID(message["import_id"]), number=int(message["number"]), person_id=UUID(message["person_id"])
    )  # fmt: skip
    return {}


def _approval(message: Message) -> UUID | None:
    return UUID(message["approval_id"]) if message["approval_id"] else None


def _sealed(message: Message) -> dict[str, Any]:
    return {
        "custodian_id": str(message["custodian_id"]), "step": str(message["step"]),
        "ciphertext": wire.to_bytes(message["ciphertext"]),
    }  # fmt: skip


def _wrapped(made: Wrapped) -> Message:
    key = made.key
    return {
        "key_id": str(key.key_id), "key_version": key.version, "key_name": key.name, "key_algorithm": key.algorithm,
        "provider": key.provider, "check": key.check, "wrapped": wire.to_text(made.wrapped),
        "escrow_check": made.escrow_check, "wrap_algorithm": WRAPPING,
    }  # fmt: skip


_UNDER_NONCE: dict[str, Callable[[Session, Message], Message]] = {
    "make_escrow_key": _make_escrow_key, "wrap_master_key": _wrap_master_key, "seal_passphrase": _seal_passphrase,
    "split": _split, "split_root": _split_root, "sealed_share_for": _sealed_share_for, "confirm": _confirm,
    "package": _package, "open_attempt": _open_attempt, "verify_new_shares": _verify_new_shares,
    "cancel_attempt": _cancel_attempt, "unwrap": _unwrap, "hand_over": _hand_over, "take_component": _take_component,
}  # fmt: skip
# An attempt has a nonce of its own, which is the one that whoever hands in a share knows.
_UNDER_ATTEMPT: dict[str, Callable[[Session, Message], Message]] = {
    "take_share": _take_share, "reconstruct": _reconstruct, "reissue": _reissue,
}  # fmt: skip
