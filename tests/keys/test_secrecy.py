"""No key material and no plaintext in any table, log line or repr."""

import base64
import logging

import pytest
from django.apps import apps
from django.db import connection

from keys.models import KeyVersion
from keys.services import lifecycle, materials, operations, sealing
from keyvault_portal.errors import PortalError

PLAINTEXT = b"4111 1111 1111 1111"


def forms(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode()]


def whole_flow(tree, service):
    made = operations.encrypt(service, tree.dek.pk, PLAINTEXT, {"a": "b"})
    opened = operations.decrypt(service, tree.dek.pk, made.ciphertext, {"a": "b"})
    data_key = operations.generate_data_key(service, tree.kek.pk)
    envelope = operations.envelope_encrypt(service, tree.kek.pk, PLAINTEXT)
    operations.envelope_decrypt(service, envelope)
    operations.sign(service, tree.token.pk, PLAINTEXT)
    sealing.seal_value(tree.officer, purpose="dsn", plaintext=PLAINTEXT, key=tree.dek)
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=True)
    operations.rewrap(service, tree.dek.pk, made.ciphertext, {"a": "b"})
    _, segment = materials.new_data_key(materials.active_version(tree.dek), "tenant")
    with pytest.raises(PortalError) as caught:
        operations.decrypt(service, tree.dek.pk, made.ciphertext)
    versions = KeyVersion.objects.select_related(*materials.CHAIN).order_by("id")
    secrets = [materials.material(version).reveal() for version in versions]
    secrets += [data_key.plaintext.reveal(), segment.reveal(), sealing.root_key().reveal(), PLAINTEXT]
    shown = [repr(value) for value in (made, opened, data_key, segment, caught.value, materials.cipher(versions[0]))]
    return secrets, shown


def test_secrets_are_in_no_log_and_no_repr(tree, service, caplog):
    caplog.set_level(logging.DEBUG)
    secrets, shown = whole_flow(tree, service)
    text = (caplog.text + "".join(shown)).encode()
    for secret in secrets:
        assert not any(form in text for form in forms(secret))


def test_secrets_are_in_no_table(tree, service):
    secrets, _ = whole_flow(tree, service)
    tables = [model._meta.db_table for model in apps.get_models(include_auto_created=True)]
    raw = b""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f'SELECT t.* FROM "{table}" AS t')
            for row in cursor.fetchall():
                raw += b"".join(bytes(v) if isinstance(v, bytes | memoryview) else str(v).encode() for v in row)
    assert bytes(KeyVersion.objects.first().wrapped_material) in raw
    for secret in secrets:
        assert not any(form in raw for form in forms(secret))
