"""The database itself refuses to change what is recorded, for the application's own role."""

import psycopg
import pytest
from psycopg.errors import RestrictViolation

from .conftest import TABLES, connect_arguments

CHANGES = [
    *(f"DELETE FROM {table}" for table in TABLES),
    *(f"TRUNCATE {table}" for table in TABLES),
    "UPDATE audit_event SET actor_label = 'nobody'",
    "UPDATE audit_event SET leaf = leaf",
    "UPDATE audit_tile SET hash = hash",
    "UPDATE audit_checkpoint SET note = ''",
    "UPDATE audit_signer SET name = ''",
    "UPDATE audit_head SET size = size - 1",
    "UPDATE audit_head SET root = sha256('x')",
    "UPDATE audit_head SET size = size + 1, at = 'epoch'",
]


@pytest.mark.parametrize("change", CHANGES)
def test_refused(fill, change):
    fill(300, group=150)
    with psycopg.connect(**connect_arguments()) as connection, pytest.raises(RestrictViolation):
        connection.execute(change)
