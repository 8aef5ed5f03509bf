"""`./manage.py tls_config --server nginx --profile modern [--names example.com ...]`: the file on standard output."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from certificates.tls.configuration import Configuration
from certificates.tls.generator import generate
from certificates.tls.profiles import ProfileName, ServerKind
from keyvault_portal.edges import cli_error
from keyvault_portal.errors import PortalError

_TEXTS = ("address", "certificate", "key", "chain", "staple", "backend", "client_authorities", "client_revocations")
_NUMBERS = ("port", "hsts_seconds", "client_depth")
_LISTS = ("names", "resolvers", "client_names")
_SWITCHES = ("stapling", "http2", "hsts_subdomains", "hsts_preload")


def add_configuration(parser: ArgumentParser, *, profile_required: bool = True) -> None:
    """The options that say what a configuration is generated for."""
    parser.add_argument("--server", choices=[server.value for server in ServerKind], default="nginx")
    parser.add_argument("--profile", choices=[name.value for name in ProfileName], required=profile_required)
    for name in _TEXTS:
        parser.add_argument(f"--{name.replace('_', '-')}")
    for name in _NUMBERS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    for name in _LISTS:
        parser.add_argument(f"--{name.replace('_', '-')}", nargs="*")  # with nothing behind it: none
    parser.add_argument("--client-optional", action="store_true")
    parser.add_argument("--post-quantum", action="store_true", default=None, help="X25519MLKEM768 also for HAProxy")
    for name in _SWITCHES:
        parser.add_argument(f"--no-{name.replace('_', '-')}", dest=name, action="store_false")


def configuration_of(options: dict[str, Any]) -> Configuration:
    """Raises ValidationFailed; what was not given keeps its default."""
    names = {*_TEXTS, *_NUMBERS, *_LISTS, *_SWITCHES, "server", "profile", "client_optional", "post_quantum"}
    return Configuration.of({name: options[name] for name in names if options.get(name) is not None})


class Command(BaseCommand):
    help = "Write the TLS configuration of nginx, Envoy or HAProxy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_configuration(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(generate(configuration_of(options)).text, ending="")
        except PortalError as error:
            raise cli_error(error) from None
