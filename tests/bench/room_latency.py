"""How soon everybody in a full room sees what happened: `python tests/bench/room_latency.py [--people 16] [--acts 30]` measures and prints.

Each person is a connection that polls the live part of the page as the browser does. One of them acts now and then; the time from
the end of that request until each of the others has the new page is what people feel.
"""

import argparse
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.browser.portal import RunningPortal  # noqa: E402

LIVE = re.compile(r'hx-get="([^"]*/room/live/[^"]*)" hx-trigger="every (\d+)(m?)s"')


class FullRoom(RunningPortal):
    """A portal with nothing in it but one open room."""

    people = 16

    def _seed(self) -> dict[str, Any]:
        command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("room_people.py")), str(self.people)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the room was not made: {done.stderr[-3000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))


class Person(threading.Thread):
    """One browser: what it saw and when, and what each poll took."""

    def __init__(self, portal: FullRoom, cookie: str) -> None:
        super().__init__(daemon=True)
        self.portal, self.cookie = portal, cookie
        self.connection = http.client.HTTPConnection("localhost", portal.port, timeout=60)
        self.seen: list[tuple[int, float]] = []  # version of the ceremony, when
        self.quiet: list[float] = []
        self.full: list[float] = []
        self.going = True
        self.url, self.every = "", 1.0
        status, html = self.get(f"/ceremonies/{portal.facts['ceremony']}/room/")
        if status != 200:
            raise RuntimeError(f"the room answered with {status}")
        self._follow(html)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        self.connection.request("GET", path, headers={"Cookie": f"sessionid={self.cookie}", **headers})
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def act(self, name: str, **values: str) -> float:
        """Post one act of this person over a connection of its own; returns when it was done."""
        connection = http.client.HTTPConnection("localhost", self.portal.port, timeout=60)
        token = "a" * 32
        headers = {
            "Cookie": f"sessionid={self.cookie}; csrftoken={token}", "X-CSRFToken": token, "Content-Type": "application/x-www-form-urlencoded",
            "Origin": self.portal.url,
        }  # fmt: skip
        connection.request(
            "POST", f"/ceremonies/{self.portal.facts['ceremony']}/room/{name}/", urlencode(values), headers
        )
        answer = connection.getresponse()
        answer.read()
        if answer.status != 302:
            raise RuntimeError(f"the act {name} was answered with {answer.status}")
        return time.perf_counter()

    def run(self) -> None:
        following = time.perf_counter()
        while self.going:
            following += self.every
            start = time.perf_counter()
            status, html = self.get(self.url, **{"HX-Request": "true"})
            end = time.perf_counter()
            (self.quiet if status == 204 else self.full).append(end - start)
            if status == 200:
                self._follow(html)
                self.seen.append((self.version, end))
            time.sleep(max(0.0, following - time.perf_counter()))

    @property
    def version(self) -> int:
        return int(re.search(r"tag=(\d+)", self.url)[1])  # type: ignore[index]

    def _follow(self, html: str) -> None:
        found = LIVE.search(html)
        if found is None:
            raise RuntimeError(f"no live part: {html[:500]}")
        self.url, self.every = found[1].replace("&amp;", "&"), int(found[2]) * (0.001 if found[3] else 1.0)


def percentiles(values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    picked = (cuts[49], cuts[94], cuts[98], max(values))
    return "   ".join(
        f"{name} {value * 1000:6.0f} ms" for name, value in zip(("p50", "p95", "p99", "max"), picked, strict=True)
    )


def main(people: int, acts: int) -> None:
    with tempfile.TemporaryDirectory(prefix="room-") as folder:
        portal = FullRoom(Path(folder))
        portal.people = people
        portal.start()
        try:
            _measure(portal, acts)
        finally:
            portal.stop()


def _measure(portal: FullRoom, acts: int) -> None:
    everybody = {name: Person(portal, cookie) for name, cookie in portal.facts["cookies"].items()}
    for number, person in enumerate(everybody.values()):
        person.start()
        time.sleep(0.07 * (number % 3))  # people open pages when they do
    busy = psutil.cpu_times_percent(interval=5.0)  # the room at rest
    lena, done = everybody["Lena"], []
    for number in range(acts):
        time.sleep(1.3 + 0.29 * (number % 7))
        done.append(lena.act("exception", **{"exception-happened": f"Something happened, number {number}."}))
    time.sleep(3)
    for person in everybody.values():
        person.going = False
    for person in everybody.values():
        person.join(60)
    first = min(version for version, _ in lena.seen)
    last = lena.version
    latencies = []
    for number, moment in enumerate(done):
        wanted = last - len(done) + 1 + number
        for person in everybody.values():
            latencies += [at - moment for version, at in person.seen if version >= wanted][:1]
    print(f"{len(everybody)} people, {len(done)} acts, a poll every {lena.every:g} s, versions {first} to {last}")
    print(
        f"from the act to the page of each       {percentiles(latencies)}   seen {len(latencies)} of {len(done) * len(everybody)}"
    )
    guests = [person for name, person in everybody.items() if name.startswith("guest")]
    staff = [person for person in everybody.values() if person not in guests]
    for label, group in (("guest", guests), ("account", staff)):
        print(
            f"a poll with nothing new, {label:8}      {percentiles([value for person in group for value in person.quiet])}"
        )
        print(
            f"a poll that redraws the page, {label:8} {percentiles([value for person in group for value in person.full])}"
        )
    print(f"processor at rest: {100 - busy.idle:.0f} % of all cores, other programs of the machine included")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--acts", type=int, default=30)
    options = parser.parse_args()
    main(options.people, options.acts)
