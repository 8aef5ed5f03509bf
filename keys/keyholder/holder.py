"""The root while it is unsealed, and the shares of an attempt to unseal it; no sockets, no database."""

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest, digest

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.share import Share

from keys.crypto.aead import Aead
from keys.crypto.errors import CryptoError, DecryptFailed
from keys.crypto.receiving import ReceivingKey
from keys.crypto.secret import SecretBytes

ALGORITHM = "AES-256-GCM"
ROOT_BYTES = 32


class HolderError(Exception):
    """Refused; `code` is stable, the text holds no secret."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class SharedSeal:
    """A seal opened by shares: the root wrapped under what they make together, and what is needed to know them."""

    wrapped: bytes
    context: bytes
    identifier: int
    threshold: int


@dataclass
class _Attempt:
    """Shares are sealed to `key`, which nobody has but this process, and nobody once the attempt is over."""

    nonce: str
    shares: dict[int, str] = field(default_factory=dict)
    key: ReceivingKey = field(default_factory=ReceivingKey)

    def numbers(self) -> list[int]:
        """Of the shares given, as people count them."""
        return sorted(index + 1 for index in self.shares)


def check_value(root: SecretBytes) -> bytes:
    """What is kept of a root to know it again: eight bytes of HMAC-SHA-256, which say nothing about the key."""
    return digest(root.reveal(), b"keyvault-portal root check value", "sha256")[:8]


def split_root(root: SecretBytes, context: bytes, threshold: int, count: int) -> tuple[bytes, list[str]]:
    """A new seal of `count` shares, any `threshold` of which open it: the root wrapped under a fresh key, and the shares.

    The shares are SLIP-39 mnemonics of that key (one group); the key itself is forgotten here.
    """
    under = SecretBytes(os.urandom(ROOT_BYTES))
    try:
        wrapped = Aead(ALGORITHM, under).encrypt(root.reveal(), context)
        return wrapped, generate_mnemonics(1, [(threshold, count)], under.reveal())[0]
    finally:
        under.wipe()


class Holder:
    """Sealed until somebody brings the root whose check value is known; wiped when sealed again. Safe for threads."""

    def __init__(self, check: bytes | None = None) -> None:
        self._check = check
        self._root: SecretBytes | None = None
        self._cipher: Aead | None = None
        self._attempt: _Attempt | None = None
        self._lock = threading.RLock()
        self.epoch = 0  # rises with every sealing, so that others drop what they derived

    @property
    def sealed(self) -> bool:
        return self._cipher is None

    def unseal(self, root: SecretBytes) -> None:
        """Take `root`; raises HolderError("wrong_root") for another one than was sealed."""
        with self._lock:
            self._refuse_another(root)
            self._check = check_value(root)
            self._root, self._cipher, self._attempt = root, Aead(ALGORITHM, root), None

    def seal(self) -> None:
        """Forget the root and every share, at once."""
        with self._lock:
            root, self._root, self._cipher, self._attempt = self._root, None, None, None
            if root is not None:
                root.wipe()
                self.epoch += 1

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """`secret` under the root, bound to `context`; raises HolderError("sealed")."""
        return self._unsealed().encrypt(secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """What `wrap` made; raises HolderError "sealed" or "decrypt_failed"."""
        cipher = self._unsealed()
        try:
            return cipher.decrypt_joined(wrapped, context)
        except CryptoError:
            raise HolderError("decrypt_failed", "Decryption failed.") from None

    def with_root[T](self, use: Callable[[SecretBytes], T]) -> T:
        """What `use` makes of the root, for another seal of it; raises HolderError("sealed").

        It gets a copy of its own, wiped afterwards: a provider may take its time, and sealing must not wait for it.
        """
        with self._lock:
            if self._root is None:
                raise HolderError("sealed", "The portal is sealed.")
            copy = SecretBytes(self._root)
        with copy:
            return use(copy)

    def begin(self) -> str:
        """A new attempt to unseal with shares; the one before is thrown away with its shares. Returns its nonce."""
        with self._lock:
            if not self.sealed:
                raise HolderError("unsealed", "The portal is not sealed.")
            self._attempt = _Attempt(secrets.token_urlsafe(16))
            return self._attempt.nonce

    def offer(
        self, nonce: str, sealed: bytes, bound_to: bytes, seal: SharedSeal, before: Callable[[list[int]], None]
    ) -> int:
        """Take one share, sealed to the attempt's `public_key`; returns how many are still missing, 0 once unsealed.

        `before` gets the numbers of the shares that open it, before it is open; if it raises, it stays sealed and the attempt is
        over. Raises HolderError: "no_attempt" for another nonce, "sealed_wrongly" for what was sealed to another key or context,
        "wrong_share" for words that are no share of this seal, "given" for one given before, "wrong_root" when the quorum does
        not open the seal (the attempt is over).
        """
        with self._lock:
            attempt = self._attempt
            if attempt is None or not compare_digest(attempt.nonce, nonce):
                raise HolderError("no_attempt", "This attempt is over; begin again.")
            try:
                with attempt.key.open(sealed, bound_to) as words:
                    mnemonic = words.reveal().decode()
                share = Share.from_mnemonic(mnemonic)
            except DecryptFailed:
                raise HolderError("sealed_wrongly", "This was not sealed for the present attempt.") from None
            except (MnemonicError, ValueError):
                raise HolderError("wrong_share", "These words are not a share: one of them is mistyped.") from None
            if share.identifier != seal.identifier:
                raise HolderError("wrong_share", "This share belongs to another set.")
            if share.index in attempt.shares:
                raise HolderError("given", f"Share {share.index + 1} was given already.")
            attempt.shares[share.index] = mnemonic
            missing = seal.threshold - len(attempt.shares)
            if missing <= 0:
                self._open(attempt, seal, before)
            return max(0, missing)

    @property
    def nonce(self) -> str:
        """Of the attempt under way, empty when there is none."""
        attempt = self._attempt
        return attempt.nonce if attempt else ""

    @property
    def public_key(self) -> str:
        """Of the attempt under way, raw X25519 in hex: shares are sealed to it where they are typed. Empty when there is none."""
        attempt = self._attempt
        return attempt.key.public.hex() if attempt else ""

    def given(self) -> list[int]:
        """Numbers of the shares of the attempt under way."""
        with self._lock:
            return self._attempt.numbers() if self._attempt else []

    def _open(self, attempt: _Attempt, seal: SharedSeal, before: Callable[[list[int]], None]) -> None:
        self._attempt = None
        try:
            under = SecretBytes(combine_mnemonics(attempt.shares.values()))
            root = SecretBytes(Aead(ALGORITHM, under).decrypt_joined(seal.wrapped, seal.context))
        except (MnemonicError, CryptoError):
            raise HolderError("wrong_root", "These shares together do not open the seal; begin again.") from None
        try:
            self._refuse_another(root)
            before(attempt.numbers())
        except BaseException:
            root.wipe()
            raise
        self.unseal(root)

    def _refuse_another(self, root: SecretBytes) -> None:
        if len(root) != ROOT_BYTES or (self._check is not None and not compare_digest(check_value(root), self._check)):
            raise HolderError("wrong_root", "This is not the root of this portal.")

    def _unsealed(self) -> Aead:
        cipher = self._cipher
        if cipher is None:
            raise HolderError("sealed", "The portal is sealed.")
        return cipher
