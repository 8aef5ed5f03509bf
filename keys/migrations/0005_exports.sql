-- What nobody can set back, whoever writes the SQL: the services keep the same rules, this is the second lock.

CREATE FUNCTION keys_guard_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.exportable AND NOT OLD.exportable THEN
        RAISE EXCEPTION 'a key becomes exportable when it is made, or never' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_export BEFORE UPDATE ON keys_key FOR EACH ROW EXECUTE FUNCTION keys_guard_key();

CREATE FUNCTION keys_guard_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.never_extractable AND (SELECT exportable FROM keys_key WHERE id = NEW.key_id) THEN
            RAISE EXCEPTION 'a version of an exportable key is extractable' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.generated_here AND NOT OLD.generated_here) OR (NEW.never_extractable AND NOT OLD.never_extractable) THEN
        RAISE EXCEPTION 'where a key has been cannot be unmade' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.exported_at IS NOT NULL AND NEW.exported_at IS DISTINCT FROM OLD.exported_at THEN
        RAISE EXCEPTION 'a key that was given out stays one' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_export BEFORE INSERT OR UPDATE ON encryption_keys FOR EACH ROW EXECUTE FUNCTION keys_guard_version();

CREATE FUNCTION keys_guard_export() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE owner keys_key%ROWTYPE;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'an export is never deleted' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        SELECT k.* INTO owner FROM keys_key k JOIN encryption_keys v ON v.key_id = k.id WHERE v.id = NEW.version_id;
        IF NOT owner.exportable AND NOT (NEW.method = 'escrow' AND owner.kind = 'master') THEN
            RAISE EXCEPTION 'this key may not be exported' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.id, NEW.version_id, NEW.method, NEW.recipient, NEW.recipient_key, NEW.fingerprint, NEW.wrapping_version_id, NEW.reason,
        NEW.approval_id, NEW.requested_by, NEW.created_at)
        IS DISTINCT FROM
       (OLD.id, OLD.version_id, OLD.method, OLD.recipient, OLD.recipient_key, OLD.fingerprint, OLD.wrapping_version_id, OLD.reason,
        OLD.approval_id, OLD.requested_by, OLD.created_at) THEN
        RAISE EXCEPTION 'who got a key, and when, is never changed' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_export BEFORE INSERT OR UPDATE OR DELETE ON key_exports FOR EACH ROW EXECUTE FUNCTION keys_guard_export();
