"""The key policy and the tags of a KMS key."""

import json
from typing import Any

from keys.providers.aws_kms.errors import aws_errors
from keys.providers.base import TAG, OperationUnsupported
from keys.providers.metadata import UNREADABLE, digest, readable, without_mark

PERIODS = range(90, 2561)  # days


def tags_of(client: Any, key: str) -> dict[str, str]:
    """Every tag; raises botocore's errors."""
    pages = client.get_paginator("list_resource_tags").paginate(KeyId=key)
    return {tag["TagKey"]: tag["TagValue"] for page in pages for tag in page["Tags"]}


def policy_of(client: Any, key: str) -> Any:
    """The key policy; raises the portal's errors."""
    with aws_errors():
        return json.loads(client.get_key_policy(KeyId=key, PolicyName="default")["Policy"])


def read(client: Any, key: str) -> dict[str, Any]:
    """The document; a role that may use keys often may not read their policies."""

    def tags() -> dict[str, str]:
        with aws_errors():
            return without_mark(tags_of(client, key))

    return {"policy": readable(lambda: policy_of(client, key)), "tags": readable(tags)}


def restore(client: Any, key: str, wanted: dict[str, Any], mark: str) -> None:
    """Policy first: who may not be there is out before the tags are seen to."""
    if wanted["policy"] != UNREADABLE and digest(wanted["policy"]) != digest(policy_of(client, key)):
        with aws_errors():
            client.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(wanted["policy"]))
    if wanted["tags"] == UNREADABLE:
        return
    with aws_errors():
        there, right = tags_of(client, key), wanted["tags"] | ({TAG: mark} if mark else {})
        if extra := [name for name in there if name not in right and name != TAG]:
            client.untag_resource(KeyId=key, TagKeys=extra)
        if changed := {name: value for name, value in right.items() if there.get(name) != value}:
            tags = [{"TagKey": name, "TagValue": value} for name, value in changed.items()]
            client.tag_resource(KeyId=key, Tags=tags)


def set_rotation(client: Any, key: str, days: int | None) -> None:
    """KMS's own rotation; raises OperationUnsupported for a period it has not."""
    if days is not None and days not in PERIODS:
        raise OperationUnsupported(f"AWS KMS rotates by itself every {PERIODS[0]} to {PERIODS[-1]} days.")
    with aws_errors():
        if days is None:
            client.disable_key_rotation(KeyId=key)
        else:
            client.enable_key_rotation(KeyId=key, RotationPeriodInDays=days)
