"""Keys in AWS KMS, through boto3."""

from keys.providers.aws_kms.provider import AwsKmsProvider

__all__ = ["AwsKmsProvider"]
