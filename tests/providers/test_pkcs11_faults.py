"""What can go wrong with an HSM: its library crashes or hangs, its PIN is wrong, its token goes and comes back."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings as portal_settings

from keys.providers.base import (
    CredentialsRefused,
    KeyHandle,
    ProviderThrottled,
)
from keys.providers.pkcs11 import link as links
from keys.providers.pkcs11 import wire
from keys.providers.pkcs11.provider import Pkcs11Provider, read_pin
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable
from tests.providers.place import Place
from tests.providers.place_pkcs11 import MODULE, PIN, initialise

pytestmark = pytest.mark.needs_softhsm
AES = "AES-256-GCM"


@pytest.fixture
def place(places: dict[str, Place]) -> Place:
    return places["pkcs11"]


def waiting(thread: threading.Thread) -> bool:
    """Whether the thread stands in a call to the child, waiting for its answer."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_qualname != "_ConnectionBase.poll":
        frame = frame.f_back
    return frame is not None


def stop(pid: int) -> None:
    """Stop the process and see that it has: the signal alone lets a thread on the other core go on a while."""
    os.kill(pid, signal.SIGSTOP)
    while not all("State:\tT" in path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")):
        time.sleep(0.01)


def check_at_leisure(provider: Pkcs11Provider) -> None:
    """A round trip that goes well however slow the machine is, though the provider is told to wait for nothing."""
    hurried, provider._link._timeout = provider._link._timeout, 60
    try:
        provider.check()
    finally:
        provider._link._timeout = hurried


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crash_of_the_library_costs_one_call(provider, key, fault):
    sealed = provider.cipher(key).encrypt(b"kept", b"aad")
    first = provider._link.pid
    stop(first)
    caught: list[Exception] = []

    def call() -> None:
        try:
            provider.cipher(key).decrypt(sealed, b"aad")
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    while not waiting(thread):
        time.sleep(0.01)
    os.kill(first, fault)
    os.kill(first, signal.SIGCONT)
    thread.join()
    assert [error.code for error in caught] == ["provider_unavailable"]
    assert provider.cipher(key).decrypt(sealed, b"aad") == b"kept"
    assert provider._link.pid != first


class TimeIsUp(Exception):
    """As Celery's soft time limit: raised from a signal, in the middle of anything."""


def test_a_call_broken_off_leaves_no_answer_behind(provider, key):
    cipher = provider.cipher(key)
    first, second = cipher.encrypt(b"first"), cipher.encrypt(b"second")
    child = provider._link.pid

    def break_off(*_: object) -> None:
        raise TimeIsUp

    ours = threading.current_thread()

    def ring_once_it_waits() -> None:
        while not waiting(ours):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, break_off)
    stop(child)
    alarm = threading.Thread(target=ring_once_it_waits)
    alarm.start()
    try:
        with pytest.raises(TimeIsUp):
            cipher.decrypt(first)
    finally:
        alarm.join()
        signal.signal(signal.SIGALRM, before)
        os.kill(child, signal.SIGCONT)
    assert cipher.decrypt(second) == b"second"
    assert provider._link.pid == child


def test_a_crash_between_calls_costs_none(provider, key):
    sealed = provider.cipher(key).encrypt(b"kept", b"aad")
    child = provider._link._child.process
    child.kill()
    child.wait()
    assert provider.cipher(key).decrypt(sealed, b"aad") == b"kept"


def test_a_library_that_hangs_is_given_up_and_replaced(place, key):
    provider = place.make(timeout=0.5)
    check_at_leisure(provider)
    hung = provider._link.pid
    stop(hung)
    with pytest.raises(ProviderUnavailable) as caught:
        provider.check()
    assert caught.value.code == "provider_unavailable"
    assert not Path(f"/proc/{hung}").exists()
    check_at_leisure(provider)
    provider._link.close()


def test_more_callers_than_sessions_are_told_to_wait(place):
    provider = place.make(timeout=0.2, sessions=1)
    with provider._link.channel(), pytest.raises(ProviderThrottled):
        provider.check()
    check_at_leisure(provider)
    provider._link.close()


@pytest.fixture
def own_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place) -> Path:
    """A folder with one token of its own, so that it may be broken."""
    (tmp_path / "tokens").mkdir()
    conf = tmp_path / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    initialise("own", PIN)
    return tmp_path


def test_a_wrong_pin_is_never_tried_twice(place, own_token, settings):
    """The token gets, meanwhile, the very PIN that was refused: whoever tried it again would come in."""
    pin = own_token / "pin"
    pin.write_text("111222")
    wrong = place.make(token="own", pin_source=f"file:{pin}")
    with pytest.raises(CredentialsRefused):
        wrong.check()
    shutil.rmtree(own_token / "tokens")
    (own_token / "tokens").mkdir()
    initialise("own", "111222")
    for again in (wrong, place.make(token="own", pin_source=f"file:{pin}")):
        with pytest.raises(CredentialsRefused):
            again.check()
        assert again._link.pid is None
        assert again.algorithms == frozenset()
    links._refused_pins.clear()
    assert wrong.check().seconds > 0
    pin.write_text("333444")  # a new PIN in the file is a new try
    wrong._link.close()
    with pytest.raises(CredentialsRefused):
        wrong.check()
    pin.write_text("111222\n")
    assert wrong.check().seconds > 0
    wrong._link.close()


@pytest.mark.parametrize("called_meanwhile", [True, False])
def test_a_token_removed_and_put_back(place, own_token, called_meanwhile):
    """A token that is away is away: its keys are not "missing", nor is the list of them empty."""
    provider = place.make(token="own")
    handle = KeyHandle(AES, provider.generate(AES).opaque)
    cipher = provider.cipher(handle)
    sealed = cipher.encrypt(b"kept", b"aad")
    (own_token / "tokens").rename(own_token / "away")
    (own_token / "tokens").mkdir()
    calls = (
        lambda: cipher.decrypt(sealed, b"aad"),
        lambda: provider.describe(handle),
        lambda: list(provider.list_keys()),
        lambda: provider.generate(AES),
    )
    for call in calls if called_meanwhile else calls[:0]:
        with pytest.raises(ProviderUnavailable):
            call()
    (own_token / "tokens").rmdir()
    (own_token / "away").rename(own_token / "tokens")
    assert cipher.decrypt(sealed, b"aad") == b"kept"
    assert [remote.opaque for remote in provider.list_keys()] == [handle.opaque]
    provider._link.close()


def test_a_token_lost_in_a_call_is_opened_anew_once_and_the_call_goes_on(place, own_token):
    """It is put back while the new child starts, which is when the PIN is read."""
    provider = place.make(token="own")
    handle = KeyHandle(AES, provider.generate(AES).opaque)
    sealed = provider.cipher(handle).encrypt(b"kept", b"aad")
    first = provider._link.pid
    (own_token / "tokens").rename(own_token / "away")
    (own_token / "tokens").mkdir()

    def pin_and_token() -> str:
        (own_token / "tokens").rmdir()
        (own_token / "away").rename(own_token / "tokens")
        return PIN

    provider._link._pin = pin_and_token
    assert provider.cipher(handle).decrypt(sealed, b"aad") == b"kept"
    assert provider._link.pid != first
    provider._link.close()


def test_calls_under_way_end_well_while_others_start_over(provider, key):
    """A token seen as lost by one call: the child goes when its last call is answered, and others meet a new one."""
    provider.check()
    with provider._link.channel() as ask:
        first = provider._link._child
        provider._link._retire(first)
        assert provider.cipher(key).encrypt(b"elsewhere")
        assert provider._link.pid != first.process.pid
        assert ask("check")
    assert first.process.wait(60) == 0


@pytest.mark.parametrize("name", ["close", "__init__", "_use", "no_such"])
def test_only_the_named_operations_cross_the_pipe(provider, name):
    with provider._link.channel() as ask, pytest.raises(wire.Refused) as refused:
        ask(name)
    assert refused.value.code == wire.FAULT


def encrypts_in_a_fork(provider: Pkcs11Provider, key: KeyHandle, sealed: bytes, parents_child: int) -> None:
    assert provider.cipher(key).decrypt(sealed, b"aad") == b"kept"
    assert provider._link.pid not in {None, parents_child}
    provider._link.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_opens_its_own(provider, key):
    sealed = provider.cipher(key).encrypt(b"kept", b"aad")
    child = provider._link.pid
    with provider._link._lock:  # a fork in the worst moment: the copied lock is never released
        fork = multiprocessing.get_context("fork").Process(
            target=encrypts_in_a_fork, args=(provider, key, sealed, child)
        )
        fork.start()
    fork.join(60)
    assert fork.exitcode == 0
    assert provider._link.pid == child
    assert provider.cipher(key).decrypt(sealed, b"aad") == b"kept"


def test_eight_threads_at_once(provider, key):
    signing = provider.generate("ECDSA-P256-SHA256")
    signer = provider.signer(KeyHandle("ECDSA-P256-SHA256", signing.opaque, signing.public_key))
    cipher = provider.cipher(key)
    together = threading.Barrier(8)

    def work(number: int) -> int:
        together.wait()
        for turn in range(40):
            text = f"{number}/{turn}".encode()
            sealed = cipher.encrypt(text, text)
            assert cipher.decrypt(sealed, text) == text
            with pytest.raises(DecryptRefused):
                cipher.decrypt(sealed, b"other")
            assert signer.verify(text, signer.sign(text))
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    assert len(provider._link._child.channels) == 8


def test_nothing_secret_is_visible_beside_the_pipe(provider, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "the portal's own")
    provider.check()
    process = Path(f"/proc/{provider._link.pid}")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert b"SOFTHSM2_CONF" in shown
    for secret in (PIN, "the portal's own", portal_settings.SECRET_KEY, portal_settings.DATABASE_URL):
        assert secret.encode() not in shown


def test_only_listed_libraries_are_loaded(settings):
    settings.PKCS11_MODULES = []
    with pytest.raises(ProviderUnavailable):
        Pkcs11Provider(module=MODULE, token="portal", pin_source="env:PIN")


def test_a_library_that_is_none(settings, tmp_path, monkeypatch):
    nonsense = tmp_path / "library.so"
    nonsense.write_text("not a library")
    settings.PKCS11_MODULES = [str(nonsense)]
    monkeypatch.setenv("TEST_HSM_PIN", PIN)
    provider = Pkcs11Provider(module=str(nonsense), token="portal", pin_source="env:TEST_HSM_PIN")
    with pytest.raises(ProviderUnavailable):
        provider.check()


@pytest.mark.parametrize("source", ["", "env:", "env:NO_SUCH_PIN", "file:/no/such/pin", "739154", "db:pin"])
def test_a_pin_comes_from_a_variable_or_a_file_only(source):
    with pytest.raises(CredentialsRefused) as caught:
        read_pin(source)
    assert "739154" not in str(caught.value)
