"""AWS KMS played by moto over real HTTP, with its check of signatures and policies switched on.

It detects tampering, which ministack does not; import, states and regions are proved on ministack.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
import requests

from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.hosts import HostRule
from keys.providers.aws_kms import AwsKmsProvider
from keys.providers.base import TAG
from tests.providers.place import Place, guide_block
from tests.providers.troubled import answering

REGION = "eu-central-1"
LOOPBACK = HostRule(("127.0.0.0/8",))


ROLE = "arn:aws:iam::123456789012:role/keys"


def _user(endpoint: str) -> tuple[str, str]:
    """An access key with the rights that the guide names, and those for what the tests do behind the portal's back."""
    iam = boto3.client(
        "iam", region_name=REGION, endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="x"
    )
    made = iam.create_user(UserName="portal")
    policy = json.loads(guide_block("json"))
    policy["Statement"][0]["Action"] += ["kms:CreateAlias", "kms:EnableKeyRotation", "sts:AssumeRole"]
    document = json.dumps(policy)
    iam.put_user_policy(UserName="portal", PolicyName="keys", PolicyDocument=document)
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": made["User"]["Arn"]}}
    trusted = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName="keys", AssumeRolePolicyDocument=trusted)
    iam.put_role_policy(RoleName="keys", PolicyName="keys", PolicyDocument=document)
    key = iam.create_access_key(UserName="portal")["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _forget(opaque: str) -> None:
    from moto.kms.models import kms_backends

    _, _, _, region, account, rest = opaque.split(":")
    kms_backends[account][region].keys.pop(rest.removeprefix("key/"))


STRANGER = {
    "Sid": "stranger", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::999999999999:root"}, "Action": "kms:Decrypt", "Resource": "*",
}  # fmt: skip


def change_metadata(provider: AwsKmsProvider, opaque: str) -> None:
    """One more statement in the policy, one more tag, and one that was there gone; in the region of the ARN."""
    client = provider._connection.client_for(opaque)
    policy = json.loads(client.get_key_policy(KeyId=opaque, PolicyName="default")["Policy"])
    policy["Statement"].append(STRANGER)
    client.put_key_policy(KeyId=opaque, PolicyName="default", Policy=json.dumps(policy))
    client.tag_resource(KeyId=opaque, Tags=[{"TagKey": "team", "TagValue": "web shop"}])
    client.untag_resource(KeyId=opaque, TagKeys=[TAG])


@contextmanager
def running() -> Iterator[Place]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of moto's own imports
        from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    access_key, secret = _user(endpoint)
    requests.post(f"{endpoint}/moto-api/reset-auth", data="0", timeout=60).raise_for_status()
    defaults: dict[str, Any] = {
        "region": REGION, "endpoint": endpoint, "access_key_id": access_key, "secret_access_key": secret, "rule": LOOPBACK, "timeout": 60,
    }  # fmt: skip

    def make(**changed: Any) -> AwsKmsProvider:
        return AwsKmsProvider("aws_kms", **{**defaults, **changed})

    try:
        with answering(silent=True) as silent:
            yield Place(
                kind="aws_kms",
                provider=make(),
                make=make,
                bad_credentials={"secret_access_key": "wrong-and-secret-all-the-same"},
                dead_address={"endpoint": "http://127.0.0.1:1"},
                slow_address=partial(dict, endpoint=silent.address),
                delete_behind_our_back=_forget,
                change_metadata=lambda opaque: change_metadata(make(), opaque),
                secrets=[secret],
                untested={
                    "disabled": "moto goes on using a disabled key; proved on ministack",
                    "pending_deletion": "moto goes on using a key that waits for its deletion; proved on ministack",
                    "import": "moto has no key import; proved on ministack",
                    "rotation_period": "moto forgets the period; proved on ministack",
                    **{
                        name: "moto hashes the digest once more; proved on ministack"
                        for name in AwsKmsProvider.algorithms
                        if ALGORITHMS[name].kind is Kind.SIGNATURE
                    },
                    **{
                        f"RSA-{bits}-OAEP-SHA256": "moto decrypts symmetric keys only; proved on ministack"
                        for bits in (2048, 3072, 4096)
                    },
                },
            )
    finally:
        server.stop()
