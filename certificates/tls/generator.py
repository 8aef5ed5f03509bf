"""One entrance to the three writers."""

from dataclasses import dataclass

from certificates.tls import envoy, haproxy, nginx
from certificates.tls.configuration import Configuration
from certificates.tls.profiles import ServerKind

_WRITERS = {ServerKind.NGINX: nginx.render, ServerKind.ENVOY: envoy.render, ServerKind.HAPROXY: haproxy.render}
_FILE_NAMES = {ServerKind.NGINX: "{name}.conf", ServerKind.ENVOY: "envoy.yaml", ServerKind.HAPROXY: "haproxy.cfg"}


@dataclass(frozen=True, slots=True)
class Generated:
    """A file to save under `name`."""

    name: str
    text: str


def generate(asked: Configuration) -> Generated:
    """The configuration file for one server; the same request always gives the same text."""
    name = _FILE_NAMES[asked.server].format(name=asked.names[0].removeprefix("*."))
    return Generated(name, _WRITERS[asked.server](asked))
