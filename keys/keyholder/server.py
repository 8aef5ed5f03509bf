"""The keyholder behind its socket."""

from collections.abc import Callable, Set
from pathlib import Path
from typing import Any
from uuid import UUID

from shamir_mnemonic.share import Share

from keys.crypto.errors import InvalidKey
from keys.crypto.receiving import seal
from keys.crypto.secret import SecretBytes
from keys.keyholder import wire
from keys.keyholder.holder import Holder, HolderError, SharedSeal, check_value, split_root
from keys.keyholder.peers import PeerServer
from keyvault_portal.errors import PortalError

# Of the errors that say "not now", these do not pass by themselves.
_LASTING = {"provider_credentials_refused", "provider_kind_unavailable", "sealed"}


class KeyholderServer(PeerServer):
    """Serves one Holder at `path` to processes of `users`; the socket is for its owner's eyes only.

    `shared_seal` says what shares open at present, None where none is registered; `refresh` unseals by itself where a seal
    allows it; `opened` puts on record that these shares (their numbers) open it, before they do; `wrap_with` wraps the root
    for a seal under a key version (their ids, the root); `check` raises unless the seal of this id opens.
    """

    def __init__(
        self,
        path: Path,
        holder: Holder,
        *,
        users: Set[int],
        shared_seal: Callable[[], SharedSeal | None],
        refresh: Callable[[], None],
        opened: Callable[[list[int]], None],
        wrap_with: Callable[[UUID, int, SecretBytes], bytes],
        check: Callable[[UUID], None],
    ) -> None:
        super().__init__(path, users=users)
        self.holder = holder
        self.shared_seal, self.refresh, self.opened = shared_seal, refresh, opened
        self.wrap_with, self.check = wrap_with, check

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer; refusals are answers with `error` and `detail`."""
        act = _ACTS.get(str(message.get("op")))
        try:
            if act is None:
                raise HolderError("unknown", "There is no such operation.")
            return act(self, message)
        except HolderError as error:
            return {"error": error.code, "detail": str(error)}
        except PortalError as error:
            passing = error.status == 503 and error.code not in _LASTING
            return {"error": "provider" if passing else "refused", "detail": error.detail}
        except (ValueError, InvalidKey, wire.WireError):
            return {"error": "malformed", "detail": "The question cannot be read."}


def _status(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    holder, seal = server.holder, server.shared_seal() if server.holder.sealed else None
    return {
        "sealed": holder.sealed, "epoch": holder.epoch, "given": holder.given(), "threshold": seal.threshold if seal else 0,
        "nonce": holder.nonce, "public_key": holder.public_key,
    }  # fmt: skip


def _wrap(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    wrapped = server.holder.wrap(wire.to_bytes(message.get("secret")), wire.to_bytes(message.get("context")))
    return {"wrapped": wire.to_text(wrapped)}


def _unwrap(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    secret = server.holder.unwrap(wire.to_bytes(message.get("wrapped")), wire.to_bytes(message.get("context")))
    return {"secret": wire.to_text(secret)}


def _seal(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    server.holder.seal()
    return {}


def _begin(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    return {"nonce": server.holder.begin()}


def _offer(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    shared = server.shared_seal()
    if shared is None:
        raise HolderError("no_seal", "No seal of this portal is opened by shares.")
    sealed, bound_to = wire.to_bytes(message.get("sealed")), wire.to_bytes(message.get("bound_to"))
    return {"missing": server.holder.offer(str(message.get("nonce")), sealed, bound_to, shared, server.opened)}


def _split(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    context = wire.to_bytes(message.get("context"))
    threshold, count = int(message.get("threshold", 0)), int(message.get("count", 0))
    recipient = wire.to_bytes(message["recipient"]) if message.get("recipient") else None
    wrapped, shares = server.holder.with_root(lambda root: split_root(root, context, threshold, count))
    check = server.holder.with_root(check_value)
    return {
        "wrapped": wire.to_text(wrapped), "check": wire.to_text(check), "identifier": Share.from_mnemonic(shares[0]).identifier,
        "shares": [wire.to_text(words.encode() if recipient is None else seal(recipient, words.encode(), context)) for words in shares],
    }  # fmt: skip


def _wrap_root(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    seal, version = UUID(str(message.get("seal"))), int(message.get("version", 0))
    wrapped = server.holder.with_root(lambda root: server.wrap_with(seal, version, root))
    return {"wrapped": wire.to_text(wrapped), "check": wire.to_text(server.holder.with_root(check_value))}


def _check_seal(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    server.check(UUID(str(message.get("seal"))))
    return {}


def _refresh(server: KeyholderServer, message: dict[str, Any]) -> dict[str, Any]:
    server.refresh()
    return {"sealed": server.holder.sealed}


_ACTS: dict[str, Callable[[KeyholderServer, dict[str, Any]], dict[str, Any]]] = {
    "status": _status, "wrap": _wrap, "unwrap": _unwrap, "seal": _seal, "begin": _begin, "offer": _offer, "refresh": _refresh,
    "split": _split, "wrap_root": _wrap_root, "check_seal": _check_seal,
}  # fmt: skip
