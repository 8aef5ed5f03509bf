-- The rules of states.py and of the act's immutability again, for every role, the application's own included.
CREATE FUNCTION approvals_guard_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a request for agreement is never deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.state NOT IN ('pending', 'approved') THEN
        RAISE EXCEPTION 'a request that is % cannot change', OLD.state USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state <> OLD.state AND OLD.state || ' ' || NEW.state <> ALL (ARRAY[
        'pending approved', 'pending rejected', 'pending withdrawn', 'pending expired',
        'approved executed', 'approved failed', 'approved stale', 'approved expired']) THEN
        RAISE EXCEPTION 'a request that is % cannot become %', OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.id, NEW.operation, NEW.title, NEW.act, NEW.act_hash, NEW.params, NEW.consequences, NEW.target_type, NEW.target_id,
        NEW.target_label, NEW.ring_id, NEW.groups, NEW.requester_id, NEW.requester_label, NEW.requester_token_id, NEW.reason,
        NEW.created_at, NEW.expires_at)
       IS DISTINCT FROM
       (OLD.id, OLD.operation, OLD.title, OLD.act, OLD.act_hash, OLD.params, OLD.consequences, OLD.target_type, OLD.target_id,
        OLD.target_label, OLD.ring_id, OLD.groups, OLD.requester_id, OLD.requester_label, OLD.requester_token_id, OLD.reason,
        OLD.created_at, OLD.expires_at) THEN
        RAISE EXCEPTION 'what people agree to cannot change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION approvals_guard_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        RAISE EXCEPTION 'a decision is neither changed nor deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM approvals_approvalrequest r WHERE r.id = NEW.request_id AND r.state = 'pending'
                   AND r.requester_id = NEW.requester_id AND r.act_hash = NEW.act_hash) THEN
        RAISE EXCEPTION 'a decision is about the act of a pending request' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON approvals_approvalrequest FOR EACH ROW EXECUTE FUNCTION approvals_guard_request();
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON approvals_decision FOR EACH ROW EXECUTE FUNCTION approvals_guard_decision();
