"""What is asked of PostgreSQL about a table, not of its rows."""

# Each column with its type, whether it alone tells rows apart, and whether it is never NULL.
DESCRIBE = """
    SELECT a.attname, format_type(a.atttypid, NULL), coalesce(i.indisunique AND i.indnkeyatts = 1, false),
           a.attnotnull AND NOT EXISTS (SELECT 1 FROM pg_constraint o WHERE o.conrelid = c.oid AND o.contype = 'n'
                                        AND o.conkey[1] = a.attnum AND NOT o.convalidated)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN LATERAL (SELECT indisunique, indnkeyatts FROM pg_index WHERE indrelid = c.oid AND indkey[0] = a.attnum
                       AND indisunique AND indpred IS NULL ORDER BY indnkeyatts LIMIT 1) i ON true
    WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
"""
# What the role may do with the table, and which of the columns it may not write.
RIGHTS = """
    SELECT row_security_active(c.oid), has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'),
           current_setting('transaction_read_only')::bool,
           array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = ANY(%s::text[])
                 AND NOT has_column_privilege(c.oid, a.attnum, 'UPDATE') ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""

# Bytes of the table with its partitions, and of a block.
SIZE = """
    SELECT sum(pg_relation_size(relid))::bigint, current_setting('block_size')::bigint
    FROM (SELECT relid FROM pg_partition_tree(%s) UNION SELECT %s::regclass) parts
"""
# Bytes of the cells that are kept out of their rows.
OUT_OF_LINE = """
    SELECT coalesce(sum(pg_relation_size(nullif(part.reltoastrelid, 0))), 0)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT relid::oid FROM pg_partition_tree(c.oid) UNION SELECT c.oid) parts
    JOIN pg_class part ON part.oid = parts.relid WHERE n.nspname = %s AND c.relname = %s
"""
