"""Asking the keyholder: one connection a thread, made anew after a fork and after the keyholder was restarted."""

import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from keys.crypto.secret import SecretBytes
from keys.keyholder import wire
from keyvault_portal.errors import Conflict, DecryptRefused, ProviderUnavailable, Sealed, ValidationFailed

TIMEOUT = 5.0
PATIENCE = 60.0  # where the keyholder asks providers, each with a deadline of its own
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Split:
    """The root wrapped under a key that exists in shares only; `shares` are kept nowhere else."""

    wrapped: bytes
    shares: tuple[SecretBytes, ...]
    check: bytes
    identifier: int


class RootNotOpened(Conflict):
    """A seal does not open the root, and trying again does not help before somebody acts."""

    code, title = "seal_does_not_open", "This seal does not open the portal"


class Keyholder:
    """The process behind the socket at `path`; every method raises Sealed when it is sealed or does not answer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def status(self) -> dict[str, Any]:
        """`sealed`, `epoch`, `threshold`, and of the attempt under way `given` (numbers of shares), `nonce` and `public_key`."""
        return self._ask({"op": "status"})

    def wrap(self, secret: SecretBytes, context: bytes) -> bytes:
        """`secret` under the root, bound to `context`."""
        answer = self._ask({"op": "wrap", "secret": wire.to_text(secret.reveal()), "context": wire.to_text(context)})
        return wire.to_bytes(answer["wrapped"])

    def unwrap(self, wrapped: bytes, context: bytes) -> SecretBytes:
        """What `wrap` made; raises DecryptRefused."""
        answer = self._ask({"op": "unwrap", "wrapped": wire.to_text(wrapped), "context": wire.to_text(context)})
        return SecretBytes(wire.to_bytes(answer["secret"]))

    def seal(self) -> None:
        """Forget the root now."""
        self._ask({"op": "seal"})

    def begin(self) -> str:
        """The nonce of a new attempt to unseal with shares; raises Conflict when nothing is sealed."""
        return str(self._ask({"op": "begin"})["nonce"])

    def offer(self, nonce: str, sealed: bytes, bound_to: bytes) -> int:
        """Pass on a share that was sealed to the attempt's `public_key` where it was typed; how many are still missing.

        Raises ValidationFailed naming what is wrong with this one, Conflict.
        """
        message = {"op": "offer", "nonce": nonce, "sealed": wire.to_text(sealed), "bound_to": wire.to_text(bound_to)}
        return int(self._ask(message)["missing"])

    def split(self, context: bytes, threshold: int, count: int, recipient: bytes | None = None) -> Split:
        """A seal of shares, each sealed to the raw X25519 key `recipient` (bound to `context`), or as words without one."""
        answer = self._ask({
            "op": "split", "context": wire.to_text(context), "threshold": threshold, "count": count,
            "recipient": wire.to_text(recipient) if recipient is not None else "",
        })  # fmt: skip
        shares = tuple(SecretBytes(wire.to_bytes(share)) for share in answer["shares"])
        return Split(
            wire.to_bytes(answer["wrapped"]), shares, wire.to_bytes(answer["check"]), int(answer["identifier"])
        )

    def wrap_root(self, seal_id: UUID, version_id: int) -> tuple[bytes, bytes]:
        """The root wrapped for a seal under a key version, and its check value.

        Raises ProviderUnavailable for what passes, RootNotOpened for what does not.
        """
        answer = self._ask({"op": "wrap_root", "seal": str(seal_id), "version": version_id}, patience=PATIENCE)
        return wire.to_bytes(answer["wrapped"]), wire.to_bytes(answer["check"])

    def check_seal(self, seal_id: UUID) -> None:
        """Return if the seal opens the root, whether or not it is sealed now; raises as `wrap_root` does."""
        self._ask({"op": "check_seal", "seal": str(seal_id)}, patience=PATIENCE)

    def refresh(self) -> bool:
        """Have it unseal by itself where a seal allows that; returns whether it is still sealed."""
        return bool(self._ask({"op": "refresh"}, patience=PATIENCE)["sealed"])

    def close(self) -> None:
        """End this thread's connection."""
        self._drop()

    def _ask(self, message: dict[str, Any], patience: float = TIMEOUT) -> dict[str, Any]:
        for fresh in (False, True):
            try:
                connection = self._connection(fresh)
                connection.settimeout(patience)
                wire.send(connection, message)
                answer = wire.receive(connection)
                break
            except TimeoutError:  # it is at work, and must not get the same work twice
                self._drop()
                raise Sealed("The keyholder does not answer in time.", hint="Try again in a moment.") from None
            except (OSError, wire.WireError):
                self._drop()
        else:
            raise Sealed("The keyholder does not answer.", hint="Start it: ./manage.py keyholder")
        if "error" in answer:
            raise _error(str(answer["error"]), str(answer.get("detail", "")))
        return answer

    def _connection(self, fresh: bool) -> socket.socket:
        kept = getattr(_local, "kept", None)
        if kept is not None and not fresh and kept[:2] == (os.getpid(), self.path):
            return kept[2]  # type: ignore[no-any-return]
        self._drop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        _local.kept = (os.getpid(), self.path, connection)
        return connection

    def _drop(self) -> None:
        kept, _local.kept = getattr(_local, "kept", None), None
        if kept is not None:
            kept[2].close()


def _error(code: str, detail: str) -> Exception:
    match code:
        case "sealed":
            return Sealed(detail, hint="Custodians unseal it on the page /sealed/.")
        case "decrypt_failed":
            return DecryptRefused()
        case "provider":
            return ProviderUnavailable(detail)
        case "refused":
            return RootNotOpened(detail)
        case "wrong_share" | "given" | "wrong_root" | "no_seal" | "sealed_wrongly":
            hint = "Load the page again and type it once more." if code == "sealed_wrongly" else ""
            return ValidationFailed(detail, errors={"sealed": [detail]}, hint=hint)
        case _:
            return Conflict(detail)
