"""What crosses the pipe between the portal and the process that holds the HSM's library: JSON, bytes in base64.

Plain data only: a library gone wrong in the child can send nonsense, never code.
"""

import base64
import json
from typing import Any


class Refused(Exception):
    """What the child tells the parent instead of an answer: one of a few words, never text of the library."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


# The words of `Refused`.
MISSING, UNUSABLE, UNSUPPORTED = "missing", "unusable", "unsupported"
DECRYPTION, TOO_LARGE, FAULT = "decryption", "too_large", "fault"
PIN, LAST_TRY, LOST, ABSENT, BUSY = "pin", "last_try", "lost", "absent", "busy"
CRASHED, TIMED_OUT = "crashed", "timed_out"  # said by the parent


def _encoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} does not cross the pipe")


def _decoded(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["b64"]) if value.keys() == {"b64"} else value


def dumps(value: Any) -> bytes:
    return json.dumps(value, default=_encoded).encode()


def loads(frame: bytes) -> Any:
    return json.loads(frame, object_hook=_decoded)
