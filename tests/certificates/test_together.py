"""Calls of several threads done together: who leads, who waits, and that nobody waits for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from certificates.services.together import Together
from keyvault_portal.audit.errors import AuditUnavailable

PATIENCE = 60


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Work:
    """Doubles numbers in groups; the first write waits for `go`."""

    def __init__(self, enough=100, held=True):
        self.groups, self.prepared, self.threads = [], [], []
        self.go = threading.Event()
        if not held:
            self.go.set()
        self.together = Together(self.prepare, self.write, lambda asked: max(1, asked), enough)

    def prepare(self, asked):
        self.prepared.append(asked)
        return None if asked < 0 else asked

    def write(self, ready):
        self.groups.append(ready)
        self.threads.append(threading.get_ident())
        assert self.go.wait(PATIENCE)
        return [2 * one for one in ready]

    def waiting(self):
        return len(self.together._waiting)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def begin(pool, work, *numbers):
    """One call that is being written, and the others waiting behind it."""
    first = pool.submit(work.together.do, 1)
    wait_until(lambda: work.groups)
    others = []
    for number in numbers:
        others.append(pool.submit(work.together.do, number))
        wait_until(lambda: work.waiting() == len(others))
    return [first, *others]


def results(futures):
    return [future.result(PATIENCE) for future in futures]


def test_a_thread_that_is_alone_does_it_itself():
    work = Work(held=False)
    assert [work.together.do(number) for number in (1, 2)] == [2, 4]
    assert work.groups == [[1], [2]]
    assert set(work.threads) == {threading.get_ident()}


def test_who_comes_meanwhile_is_written_together(pool):
    work = Work()
    calls = begin(pool, work, 2, 3, 4)
    assert work.prepared == [1]
    work.go.set()
    assert results(calls) == [2, 4, 6, 8]
    assert work.groups == [[1], [2, 3, 4]]


def test_a_full_group_is_prepared_while_another_is_written(pool):
    work = Work(enough=5)
    calls = begin(pool, work, 4)
    assert work.prepared == [1]
    calls.append(pool.submit(work.together.do, 3))
    wait_until(lambda: work.prepared == [1, 4, 3])
    assert work.groups == [[1]], "one at the record at a time"
    work.go.set()
    assert results(calls) == [2, 8, 6]
    assert work.groups == [[1], [4, 3]]


def test_a_group_ends_when_it_is_full(pool):
    work = Work(enough=1000)
    calls = begin(pool, work, 400, 500, 99)
    work.together._enough = 900
    work.go.set()
    assert results(calls) == [2, 800, 1000, 198]
    assert work.groups == [[1], [400, 500], [99]]


def test_what_goes_another_way_hinders_nobody(pool):
    work = Work()
    calls = begin(pool, work, -1, 3, -2)
    work.go.set()
    assert results(calls) == [2, None, 6, None]
    assert work.groups == [[1], [3]]
    assert work.together.do(-1) is None
    assert len(work.groups) == 2, "nothing to write"


def test_what_was_not_written_goes_another_way(pool):
    work = Work()
    calls = begin(pool, work, 2, 3)
    work.together._write = lambda ready: None
    work.go.set()
    assert results(calls) == [2, None, None]


@pytest.mark.parametrize("step", ["_prepare", "_write"])
@pytest.mark.parametrize("error", [AuditUnavailable("The record is away."), KeyboardInterrupt()])
def test_a_failure_is_everybodys_and_the_next_call_goes_on(pool, step, error):
    work = Work()
    calls = begin(pool, work, 2, 3, 4)

    def fails(*_):
        raise error

    setattr(work.together, step, fails)
    work.go.set()
    raised = [call.exception(PATIENCE) for call in calls]
    assert raised[0] is None
    assert sum(one is error for one in raised) == 1
    assert len({id(one) for one in raised}) == 4, "each thread has an error of its own"
    assert {type(one) for one in raised[1:]} <= {AuditUnavailable, type(error)}
    setattr(work.together, step, getattr(work, step[1:]))
    assert work.together.do(5) == 10


def test_many_threads_lose_nothing():
    work = Work(enough=40, held=False)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work.together.do, range(2000))) == [2 * number for number in range(2000)]
    assert sorted(one for group in work.groups for one in group) == list(range(2000))
    assert work.waiting() == 0
