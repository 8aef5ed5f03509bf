CREATE TABLE audit_event (
    seq         bigint      PRIMARY KEY CHECK (seq >= 0),
    at          timestamptz NOT NULL,
    actor_id    text        NOT NULL,
    actor_label text        NOT NULL,
    action      text        NOT NULL,
    target_type text        NOT NULL,
    target_id   text        NOT NULL,
    ring_id     uuid,
    outcome     text        NOT NULL,
    leaf        bytea       NOT NULL,
    leaf_hash   bytea       NOT NULL CHECK (octet_length(leaf_hash) = 32)
);
CREATE INDEX audit_event_at     ON audit_event (at, seq);
CREATE INDEX audit_event_actor  ON audit_event (actor_id, seq);
CREATE INDEX audit_event_action ON audit_event (action, seq);
CREATE INDEX audit_event_target ON audit_event (target_type, target_id, seq);
CREATE INDEX audit_event_ring   ON audit_event (ring_id, seq) WHERE ring_id IS NOT NULL;
CREATE INDEX audit_event_unsuccessful ON audit_event (outcome, seq) WHERE outcome <> 'success';

CREATE TABLE audit_tile (
    level smallint NOT NULL CHECK (level > 0),
    index bigint   NOT NULL CHECK (index >= 0),
    hash  bytea    NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, index)
);

CREATE TABLE audit_checkpoint (
    tree_size bigint      PRIMARY KEY,
    at        timestamptz NOT NULL,
    root_hash bytea       NOT NULL CHECK (octet_length(root_hash) = 32),
    note      text        NOT NULL
);

CREATE TABLE audit_signer (
    key_id     text        PRIMARY KEY,
    public_key bytea       NOT NULL UNIQUE CHECK (octet_length(public_key) = 32),
    name       text        NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE audit_head (
    id       smallint    PRIMARY KEY CHECK (id = 1),
    size     bigint      NOT NULL CHECK (size >= 0),
    frontier bytea       NOT NULL,
    root     bytea       NOT NULL CHECK (octet_length(root) = 32),
    at       timestamptz NOT NULL
);
INSERT INTO audit_head VALUES (1, 0, '', sha256(''), 'epoch');

-- What is recorded stays recorded: these hold for every role, the application's own included.
CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION audit_head_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.size <= OLD.size OR NEW.at < OLD.at THEN
        RAISE EXCEPTION 'audit_head only moves forward' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_tile FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_tile FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_checkpoint FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_signer FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_signer FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER forward_only BEFORE UPDATE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_head_forward();
CREATE TRIGGER no_delete BEFORE DELETE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_head FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
