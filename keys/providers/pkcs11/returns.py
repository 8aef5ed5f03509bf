"""What the library's errors mean: the one place where a return value gets the portal's word. Runs in the child."""

from typing import Any

from pkcs11 import Attribute, exceptions

from keys.providers.pkcs11 import wire
from keys.providers.pkcs11.wire import Refused

_FUNCTION_NOT_PERMITTED = "Unmapped error code 0x68"  # CKR_KEY_FUNCTION_NOT_PERMITTED has no class in the library

# PKCS#11 v2.40, 5.1: what each return value means to the portal.
_MISSING = (exceptions.KeyHandleInvalid, exceptions.ObjectHandleInvalid, exceptions.NoSuchKey,
            exceptions.WrappingKeyHandleInvalid, exceptions.UnwrappingKeyHandleInvalid)  # fmt: skip
_LOST = (exceptions.SessionHandleInvalid, exceptions.SessionClosed, exceptions.DeviceRemoved, exceptions.DeviceError,
         exceptions.TokenNotPresent, exceptions.TokenNotRecognised, exceptions.SlotIDInvalid,
         exceptions.UserNotLoggedIn, exceptions.GeneralError)  # fmt: skip
_PIN = (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange, exceptions.PinLocked,
        exceptions.PinExpired, exceptions.UserPinNotInitialized)  # fmt: skip
_UNSUPPORTED = (exceptions.MechanismInvalid, exceptions.MechanismParamInvalid, exceptions.FunctionNotSupported,
                exceptions.AttributeReadOnly, exceptions.AttributeTypeInvalid, exceptions.KeySizeRange,
                exceptions.TemplateInconsistent, exceptions.KeyTypeInconsistent)  # fmt: skip
_BUSY = (exceptions.SessionCount, exceptions.DeviceMemory, exceptions.HostMemory)
_NOT_OPENED = (exceptions.EncryptedDataInvalid, exceptions.EncryptedDataLenRange, exceptions.WrappedKeyInvalid,
               exceptions.WrappedKeyLenRange, exceptions.DataInvalid, exceptions.DataLenRange,
               exceptions.ArgumentsBad)  # fmt: skip
_CODES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (_MISSING, wire.MISSING), (_LOST, wire.LOST), (_PIN, wire.PIN), (_UNSUPPORTED, wire.UNSUPPORTED),
    (_BUSY, wire.BUSY), ((exceptions.DataLenRange,), wire.TOO_LARGE), ((exceptions.NoSuchToken,), wire.ABSENT),
)  # fmt: skip


def named(error: Exception) -> Refused:
    """The one place where the library's errors get the portal's words; its own text never leaves the child."""
    if isinstance(error, Refused):
        return error
    if str(error) == _FUNCTION_NOT_PERMITTED:
        return Refused(wire.UNUSABLE)
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return Refused(code, type(error).__name__)
    return Refused(wire.FAULT, type(error).__name__)


class Opening:
    """Around opening: SoftHSM says a plain "general error" for a wrong tag, and also when the token is gone.

    If the key can still be read, the token is there, and what is wrong is the ciphertext.
    """

    def __init__(self, key: Any) -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _NOT_OPENED):
            raise Refused(wire.DECRYPTION) from None
        if isinstance(error, exceptions.GeneralError | exceptions.FunctionFailed):
            try:
                _ = self._key[Attribute.CLASS]
            except exceptions.PKCS11Error:
                raise error from None
            raise Refused(wire.DECRYPTION) from None
