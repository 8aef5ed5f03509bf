"""The monitor of transparency logs from a command line: what it says, and how it ends."""

import io

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.management import CommandError, call_command

from certificates import tasks
from certificates.models import LogMonitor
from tests.api.conftest import make_person, token_of
from tests.certificates.test_inventory import made, upload
from tests.certificates.test_monitoring import log, watch

__all__ = ["log"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def watched(tree, log, monkeypatch):
    monitor = watch(tree, log)
    monkeypatch.setenv("KEYVAULT_TOKEN", token_of(make_person("olga", "security_officer")))
    return monitor


def told(*words):
    """What the command says, and the number it ends with."""
    out = io.StringIO()
    try:
        call_command("ct_monitor", *words, stdout=out)
    except SystemExit as end:
        return out.getvalue(), end.code
    return out.getvalue(), 0


def test_it_ends_well_while_everything_found_is_known(tree, log, watched):
    _, known = made("known.example.net")
    upload(tree, known.public_bytes(Encoding.PEM))
    log.add(known)
    tasks.read_log(str(watched.pk))
    text, end = told()
    assert "Small: 6 of 6 entries read" in text
    assert f"known  5  {known.serial_number:x}  known.example.net" in text
    assert end == 0


def test_it_ends_with_1_on_a_certificate_that_nobody_knows(log, watched):
    log.add(made("evil.example.net")[1])
    tasks.read_log(str(watched.pk))
    text, end = told("--log", "Small")
    assert "UNKNOWN" in text
    assert "evil.example.net" in text
    assert end == 1


def test_it_ends_with_1_on_a_log_at_fault(watched):
    LogMonitor.objects.update(error="Its tree head is not signed by its key.")
    text, end = told()
    assert "At fault: Its tree head is not signed by its key." in text
    assert end == 1


def test_it_has_the_logs_read(watched, django_capture_on_commit_callbacks, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.read_log, "delay", lambda *ids: sent.append(ids))
    monkeypatch.setattr(tasks.read_log, "apply_async", lambda args=(), **more: sent.append(tuple(args)))
    with django_capture_on_commit_callbacks(execute=True):
        told("--read")
    assert sent == [(str(watched.pk),)]


def test_a_name_that_none_has_nothing_to_read_and_a_token_that_may_not_are_said(watched, monkeypatch):
    with pytest.raises(CommandError, match="No watched log has the name Big"):
        told("--log", "Big")
    monkeypatch.setenv("KEYVAULT_TOKEN", token_of(make_person("otto")))
    with pytest.raises(CommandError, match="sees no certificates"):
        told()
    monkeypatch.setenv("KEYVAULT_TOKEN", "")
    with pytest.raises(CommandError, match="KEYVAULT_TOKEN"):
        told()


def test_nothing_watched_is_said(tree, monkeypatch):
    monkeypatch.setenv("KEYVAULT_TOKEN", token_of(make_person("olga", "security_officer")))
    with pytest.raises(CommandError, match=r"No log is watched\."):
        told()
