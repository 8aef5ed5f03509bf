"""Copies of a multi-region key: one for each region of the settings, each with a state, a policy and tags of its own."""

import json
from typing import Any

from botocore.exceptions import ClientError

from keys.providers.aws_kms import metadata
from keys.providers.aws_kms.connection import Connection, Place, in_region, is_multi_region, key_id
from keys.providers.aws_kms.errors import aws_errors, error_code
from keys.providers.base import KeyMissing, RemoteState, Replica

STATES = {
    "Enabled": RemoteState.ENABLED,
    "Updating": RemoteState.ENABLED,
    "PendingImport": RemoteState.PENDING_IMPORT,
    "PendingDeletion": RemoteState.PENDING_DELETION,
    "PendingReplicaDeletion": RemoteState.PENDING_DELETION,
}


def places_of(connection: Connection, arn: str) -> tuple[Place, ...]:
    """Where copies of the key should be; nowhere for a key that was made without, which AWS never gives any."""
    return connection.replicas if is_multi_region(arn) else ()


def look(connection: Connection, arn: str) -> list[Replica]:
    """How each copy is; raises as `describe` does."""
    return [
        Replica(place.region, _state_in(connection, place, arn), in_region(arn, place.region))
        for place in places_of(connection, arn)
    ]


def _state_in(connection: Connection, place: Place, arn: str) -> RemoteState | None:
    try:
        with aws_errors():
            found = connection.client(place).describe_key(KeyId=in_region(arn, place.region))
    except KeyMissing:
        return None
    return STATES.get(found["KeyMetadata"]["KeyState"], RemoteState.DISABLED)


def make(connection: Connection, arn: str, **kept: Any) -> None:
    """Give the key a copy in every region that has none; `kept` is its policy and tags where they are not the default."""
    for place in places_of(connection, arn):
        with aws_errors():
            _replicate_to(connection, place, arn, kept)


def _replicate_to(connection: Connection, place: Place, arn: str, kept: dict[str, Any]) -> None:
    try:
        connection.client().replicate_key(KeyId=arn, ReplicaRegion=place.region, **kept)
    except ClientError as error:
        if error_code(error) != "AlreadyExistsException":
            raise


def align(connection: Connection, arn: str, state: RemoteState, days: int) -> None:
    """Missing copies are made, as usable as KMS makes them; the others are brought to `state`, one region after the other."""
    copies = look(connection, arn)
    if state is not RemoteState.PENDING_DELETION and any(copy.state is None for copy in copies):
        make(connection, arn, **_kept(connection, arn))
    for place, copy in zip(places_of(connection, arn), copies, strict=True):
        if copy.state is None or copy.state is state:
            continue  # a fresh copy takes no order yet
        client, name = connection.client(place), key_id(arn)
        with aws_errors():
            if copy.state is RemoteState.PENDING_DELETION:
                client.cancel_key_deletion(KeyId=name)  # it is disabled then
            if state is RemoteState.ENABLED:
                client.enable_key(KeyId=name)
            elif state is RemoteState.PENDING_DELETION:
                client.schedule_key_deletion(KeyId=name, PendingWindowInDays=days)
            elif copy.state is RemoteState.ENABLED:
                client.disable_key(KeyId=name)


def _kept(connection: Connection, arn: str) -> dict[str, Any]:
    """The key's own policy and tags; raises CredentialsRefused where they cannot be read, because a copy without would be open wider."""
    client = connection.client()
    with aws_errors():
        policy, tags = metadata.policy_of(client, arn), metadata.tags_of(client, arn)
    return {
        "Policy": json.dumps(policy),
        "Tags": [
            {"TagKey": name, "TagValue": tags[name]} for name in tags if not name.startswith("aws:")
        ],  # those are Amazon's
    }
