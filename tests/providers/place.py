"""What the contract suite needs to know of one place where keys live, beside the provider itself."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from keys.providers.base import Capability, KeyHandle, Provider


@dataclass
class Place:
    """A provider in front of something real, and what a test may do behind its back.

    `make` builds another provider over the same counterpart, with changed settings (wrong credentials, a dead address).
    The hooks are None where the counterpart offers no way; the capability is then not tested there, and says so in
    `untested` with a reason.
    """

    kind: str
    provider: Provider
    make: Callable[..., Provider]
    bad_credentials: dict[str, object] | None = None
    dead_address: dict[str, object] | None = None
    slow_address: Callable[[], dict[str, object]] | None = None
    delete_behind_our_back: Callable[[str], None] | None = None
    change_metadata: Callable[[str], None] | None = None
    secrets: list[str] = field(default_factory=list)
    untested: dict[str, str] = field(default_factory=dict)
    made: dict[str, KeyHandle] = field(default_factory=dict)  # keys that tests share, by algorithm

    def can(self, *capabilities: Capability) -> bool:
        return set(capabilities) <= self.provider.capabilities


def guide_block(language: str) -> str:
    """The block of the guide to KMS in that language, so that what people copy from there is what the tests run with."""
    guide = Path(__file__).resolve().parents[2] / "keyvault_portal" / "docs" / "kms.md"
    return guide.read_text().split(f"```{language}\n")[1].split("```")[0]


class Places(dict[str, Place]):
    """The place of each kind, started when it is first asked for and stopped with `stack`."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, kind: str) -> Place:
        module = import_module(f"tests.providers.place_{kind}")
        self[kind] = self._stack.enter_context(module.running())
        return self[kind]
