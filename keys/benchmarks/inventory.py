"""An inventory as large as it gets, made inside PostgreSQL: keys, versions and audit events by INSERT ... SELECT."""

from django.db import connection

from keys.benchmarks import Tell
from keys.benchmarks.scratch import bulk_settings

VERSIONS_A_KEY = 10
RINGS = 20
LONG_SHARE = 100  # one key has this share (1/100) of all versions, so that a list of versions has depth too

_RINGS = """
INSERT INTO accounts_keyring (id, name, title, description, created_at)
SELECT gen_random_uuid(), 'ring-' || i, 'Ring ' || i, '', now() FROM generate_series(1, %s) i
"""
_KEYS = """
WITH ring AS (SELECT id, row_number() OVER (ORDER BY name) - 1 AS number FROM accounts_keyring)
INSERT INTO keys_key (id, ring_id, name, title, purpose, kind, algorithm, parent_id, provider, exportable,
                      next_rotation_at, labels, created_at, created_by)
SELECT gen_random_uuid(), ring.id, 'key-' || lpad(i::text, 9, '0'), 'Key ' || i, '',
       CASE WHEN i = 1 THEN 'master' WHEN i %% 100 = 0 THEN 'kek' ELSE 'dek' END, 'AES-256-GCM', NULL, 'local', false,
       now() + (i %% 1000) * interval '1 day', '{}', now(), 'benchmark'
FROM generate_series(1, %s) i JOIN ring ON ring.number = i %% %s
"""
_VERSIONS = """
WITH numbered AS (SELECT id, row_number() OVER (ORDER BY name) AS place FROM keys_key),
spread AS (SELECT id, CASE WHEN place = 1 THEN %(long)s ELSE %(each)s END AS versions FROM numbered)
INSERT INTO encryption_keys (key_id, key_version, kms_key_arn, provider, status, created_at, activated_at, re_encrypt_done,
                             handle, uses_reserved, last_used_by, suspended_from, compromise_reason, compromise_note,
                             deletion_from, deletion_halted_by, generated_here, never_extractable)
SELECT id, v, 'local:key/' || id || '/' || v, 'local', CASE WHEN v = versions THEN 'active' ELSE 'decrypt_only' END,
       now(), now(), false, '', 0, '', '', '', '', '', '', true, true
FROM spread CROSS JOIN LATERAL generate_series(1, versions) v
"""
_POLICIES = """
INSERT INTO keys_keypolicy (key_id, version, auto_rotate, rotate_roles, destroy_roles, rotate_groups, destroy_groups,
                            grace_days, minimum_grace_days, allowed_algorithms, use_share_due,
                            publish_before_use_hours, token_lifetime_hours, initiator_may_enter, updated_at)
SELECT id, 1, false, '[]', '[]', '[]', '[]', 30, 7, '[]', 50, 24, 24, false, now() FROM keys_key
"""
_CURRENT = """
UPDATE keys_key SET current_id = v.id FROM encryption_keys v WHERE v.key_id = keys_key.id AND v.status = 'active'
"""
# The leaves are of true size and form; their tree is not built, because no list reads it.
_EVENTS = """
WITH start AS (SELECT size FROM audit_head),
event AS (
    SELECT size + i - 1 AS seq, date_trunc('milliseconds', now()) - (%(count)s - i) * interval '1 second' AS at,
           'person-' || i %% 200 AS actor,
           (ARRAY['key.encrypt', 'key.rotate', 'key.create', 'token.use'])[1 + i %% 4] AS action,
           'key-' || i %% 100000 AS target, CASE WHEN i %% 50 = 0 THEN 'refused' ELSE 'success' END AS outcome
    FROM start, generate_series(1, %(count)s) i
),
leaf AS (
    SELECT event.*, convert_to(json_build_object(
        'action', action, 'actor', json_build_object('id', actor, 'kind', 'person', 'label', actor), 'at', at,
        'details', json_build_object('digest', md5(seq::text)), 'outcome', outcome, 'ring', NULL, 'seq', seq,
        'target', json_build_object('type', 'key', 'id', target, 'label', target), 'v', 1)::text, 'UTF8') AS bytes
    FROM event
)
INSERT INTO audit_event (seq, at, actor_id, actor_label, action, target_type, target_id, ring_id, outcome, leaf,
                         leaf_hash)
SELECT seq, at, actor, actor, action, 'key', target, NULL, outcome, bytes, sha256('\\x00'::bytea || bytes) FROM leaf
"""
# A frontier has one hash for each bit of the size; later appends only need room for theirs.
_HEAD = """
UPDATE audit_head SET at = now(), size = size + %(count)s,
       frontier = decode(repeat('00', 32 * bit_count((size + %(count)s)::bit(64))::int), 'hex')
"""


def fill(keys: int, tell: Tell) -> None:
    """`keys` keys, ten times as many versions and as many events; statistics gathered as autovacuum would."""
    bulk_settings()
    versions = keys * VERSIONS_A_KEY
    long = max(VERSIONS_A_KEY, versions // LONG_SHARE)
    with connection.cursor() as cursor:
        tell(f"making {keys:,} keys")
        cursor.execute(_RINGS, [RINGS])
        cursor.execute(_KEYS, [keys, RINGS])
        tell(f"making {versions:,} versions")
        cursor.execute(_VERSIONS, {"long": long, "each": VERSIONS_A_KEY})
        cursor.execute(_CURRENT)
        cursor.execute(_POLICIES)
        tell(f"making {versions:,} audit events")
        cursor.execute(_EVENTS, {"count": versions})
        cursor.execute(_HEAD, {"count": versions})
        tell("gathering statistics")
        cursor.execute("VACUUM (ANALYZE) keys_key, encryption_keys, audit_event")
