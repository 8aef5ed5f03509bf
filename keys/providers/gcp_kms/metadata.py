"""The IAM policy and the labels of a crypto key."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.iam.v1 import policy_pb2
from google.protobuf.json_format import MessageToDict

from keys.providers.base import TAG
from keys.providers.gcp_kms.connection import Connection
from keys.providers.metadata import UNREADABLE, readable, without_mark

_CONDITIONAL = 3  # the version of a policy whose bindings may carry conditions


def _policy(connection: Connection, key: str) -> policy_pb2.Policy:
    request = {"resource": key, "options": {"requested_policy_version": _CONDITIONAL}}
    policy: policy_pb2.Policy = connection.call("get_iam_policy", request)
    return policy


def read(connection: Connection, key: str) -> dict[str, Any]:
    """The document; most roles that use a key may not read who else may."""
    labels = dict(connection.call("get_crypto_key", {"name": key}).labels)
    access = readable(lambda: MessageToDict(_policy(connection, key)).get("bindings", []))
    return {"access": access, "labels": without_mark(labels)}


def restore(connection: Connection, key: str, wanted: dict[str, Any], mark: str) -> None:
    """Who may use it first; the policy's etag is sent back, so that a change made meanwhile is not undone unseen."""
    if wanted["access"] != UNREADABLE:
        policy = _policy(connection, key)
        right = {"bindings": wanted["access"], "etag": policy.etag, "version": _CONDITIONAL}
        connection.call("set_iam_policy", {"resource": key, "policy": right})
    labels = wanted["labels"] | ({TAG: mark} if mark else {})
    request = {"crypto_key": {"name": key, "labels": labels}, "update_mask": {"paths": ["labels"]}}
    connection.call("update_crypto_key", request)


def set_rotation(connection: Connection, key: str, days: int | None) -> None:
    """Both fields or neither: Cloud KMS takes no period without the time of the first rotation."""
    schedule: dict[str, Any] = {"name": key}
    if days is not None:
        period = timedelta(days=days)
        schedule |= {"rotation_period": period, "next_rotation_time": datetime.now(UTC) + period}
    request = {"crypto_key": schedule, "update_mask": {"paths": ["rotation_period", "next_rotation_time"]}}
    connection.call("update_crypto_key", request)
