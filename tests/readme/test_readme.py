"""Every command of the README runs, in a fresh clone, as it is printed there; a block that nobody runs fails."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keys.benchmarks import JOBS
from keyvault_portal.embedded.config import answers as answers_at
from keyvault_portal.embedded.config import ensure_config
from tests.boot.checkout import Quickstart, clone, migrated_before
from tests.boot.processes import ROOT, clean_environment, free_port
from tests.readme.readme import BLOCKS, CLAIMED, TEXT, blocks, proves

TOKENS = """
from keys.demo.organisation import load
from keyvault_portal.accounts.services import create_token
org = load()
for owner, actor, scopes in (("shop", "ada", ["key.view", "key.encrypt", "key.decrypt", "key.generate_data_key"]),
                             ("dana", "dana", ["key.view", "key.rotate", "rotation.view"])):
    print(create_token(actor=org.actor(actor), owner=org.people[owner], name="readme", scopes=scopes)[1])
"""
FEW = ["--customers", "120"]
STORY = (
    "Dry run", "Boris and Chen agree", "Introduce", "Re-encrypt", "Census", "Decommission", "A stranger verifies it offline",
    "120 customers read back, all equal",
)  # fmt: skip


@dataclass
class Newcomer:
    """A person in a fresh clone, whose packages are those of this test run."""

    home: Path
    environment: dict[str, str]

    def run(self, script: str, **more: str) -> str:
        """The output of a bash script, which must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.home, env=self.environment | more, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def quickstart(self, words: list[str], *more: str) -> Quickstart:
        """`./manage.py quickstart ...` as it is printed."""
        assert words[:2] == ["./manage.py", "quickstart"]
        return Quickstart(self.home, [*words[2:], *more], self.environment, ["bash", "-c", 'exec ./"$0" "$@"'])


@pytest.fixture(scope="module")
def newcomer(django_db_setup: None) -> Iterator[Newcomer]:
    with tempfile.TemporaryDirectory(prefix="keyvault-readme-") as folder:
        Path(folder).chmod(0o755)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        home = clone(Path(folder))
        ensure_config(
            home / "var", web_port=free_port()
        )  # the usual one may be another portal's by the time of a start
        migrated_before(home)
        yield Newcomer(home, clean_environment(PORTAL_NO_BOOTSTRAP="1", PATH=path))


@pytest.fixture(scope="module")
@proves("KeyVault Portal")
def demonstration(newcomer: Newcomer) -> Iterator[dict[str, str]]:
    """The first section's commands in their order, but the tests; leaves the demonstration running, with two tokens."""
    (plain, _), (demo, headless) = (block.commands() for block in blocks("KeyVault Portal"))
    with newcomer.quickstart(plain) as run:
        assert "/set-up/" in run.ready().address
        assert run.interrupt() == 0
    told = newcomer.run(" ".join([*headless, *FEW, "--orders", "20"]), COLUMNS="160")
    assert [step for step in STORY if step not in told] == []
    assert f"\nEvidence pack: {newcomer.home / 'var' / 'demo' / 'evidence.zip'}\n" in told
    assert _listening(newcomer.home) == []
    with newcomer.quickstart(demo, *FEW) as run:
        run.ready()
        made = newcomer.run(f"./manage.py shell --no-imports --command '{TOKENS}'".replace('"', '"')).split()
        origin = re.findall(r"http://localhost:\d+/$", run.address)[0].rstrip("/")
        yield {"PORTAL": origin, "TOKEN": made[0], "OPERATOR": made[1]}
        assert run.interrupt() == 0


def _listening(home: Path) -> list[int]:
    """The ports of its servers that answer."""
    config = json.loads((home / "var" / "embedded.json").read_text())
    return [config[name] for name in ("web_port", "postgres_port", "valkey_port") if answers_at(config[name])]


@pytest.mark.slow
def test_the_tests_run(newcomer: Newcomer) -> None:
    words = blocks("KeyVault Portal")[0].commands()[1]
    assert words == ["./manage.py", "test"]
    assert "passed" in newcomer.run(" ".join([*words, "-q", "tests/boot/test_logs.py"]))


def _with_values(text: str, values: dict[str, str]) -> str:
    """The block with the values a person fills in for those that are printed."""
    return re.sub(
        r"^(PORTAL|TOKEN|OPERATOR)=\S+", lambda match: f"{match[1]}={values[match[1]]}", text, flags=re.MULTILINE
    )


@pytest.fixture(scope="module")
@proves("The API")
def answers(newcomer: Newcomer, demonstration: dict[str, str]) -> list[str]:
    """What each block of the API's section printed, all run in one shell."""
    texts = [_with_values(block.text, demonstration) for block in blocks("The API")]
    return newcomer.run("\necho; echo '=====';\n".join(texts)).split("\n=====\n")


@pytest.mark.slow
def test_api_lists_and_encrypts(answers: list[str]) -> None:
    _, listed, sealed, batch, *_ = answers
    assert len(json.loads(listed)["results"]) == 5
    encrypted, decrypted = (json.loads(part) for part in sealed.replace("}{", "}\n{").strip().splitlines())
    assert encrypted["ciphertext"].startswith("vault:v1:")
    assert decrypted["plaintext"] == "aGVsbG8="
    assert [sorted(item) for item in json.loads(batch)["items"]] == [["ciphertext", "key_version"]] * 2


@pytest.mark.slow
def test_api_rotates_once_with_agreement(answers: list[str]) -> None:
    rotation = answers[4]
    assert '"items"' in rotation
    assert rotation.count("HTTP/1.1 202") == 2
    places = re.findall(r"(?i)^location: (\S+)", rotation, flags=re.MULTILINE)
    assert len(places) == 2
    assert len(set(places)) == 1
    assert "/approvals/" in places[0]


@pytest.mark.slow
def test_api_explains_errors(answers: list[str]) -> None:
    assert len(answers) == 6
    assert "HTTP/1.1 404" in answers[5]
    assert "application/problem+json" in answers[5]
    assert json.loads(answers[5].strip().splitlines()[-1])["code"] == "not_found"


@pytest.mark.slow
@proves("Clients of Vault and OpenBao")
def test_clients_of_vault(newcomer: Newcomer, demonstration: dict[str, str]) -> None:
    (block,) = blocks("Clients of Vault and OpenBao")
    assert json.loads(newcomer.run(block.text, **demonstration))["data"] == {"plaintext": "aGVsbG8="}


@pytest.mark.slow
@proves("Files")
def test_files(newcomer: Newcomer, demonstration: dict[str, str]) -> None:
    content = os.urandom(3 * 2**20)
    (newcomer.home / "report.pdf").write_bytes(content)
    for block in blocks("Files"):
        newcomer.run(block.text, TOKEN=demonstration["TOKEN"])
    assert (newcomer.home / "report-again.pdf").read_bytes() == content
    assert content[:64] not in (newcomer.home / "report.pdf.sealed").read_bytes()


@pytest.mark.slow
@proves("Proof")
def test_proof(newcomer: Newcomer, demonstration: dict[str, str]) -> None:
    ours, theirs = blocks("Proof")
    said = newcomer.run(ours.text)
    assert "checkpoints verify" in said
    (key,) = set(re.findall(r"(?:trusted|--key): ([0-9a-f]{64})", said))
    assert (newcomer.home / "events.csv").stat().st_size > 1000
    bare = clean_environment(PATH=os.environ["PATH"], AUDIT_PUBLIC_KEY=key)
    done = subprocess.run(
        ["bash", "-euc", theirs.text], cwd=newcomer.home, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"signed by {key}, a key that you gave\n")


@pytest.mark.slow
@proves("TLS of your servers")
def test_tls_files_are_written(newcomer: Newcomer) -> None:
    (block,) = blocks("TLS of your servers")
    envoy, nginx = (newcomer.run(line) for line in block.text.splitlines())
    assert "X25519MLKEM768" in envoy
    assert "ssl_client_certificate /etc/nginx/ssl/client-ca-chain.pem;" in nginx


def test_benchmark_table_names_every_job() -> None:
    section = TEXT.split("## Benchmarks")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, flags=re.MULTILINE)) == set(JOBS)


@proves("The tree", "")
def test_tree_names_what_exists() -> None:
    (block,) = blocks("The tree", "")
    folder = ROOT
    for line in block.text.splitlines():
        indent, names = re.match(r"( *)(\S+(?: \S+/)?)", line).groups()  # type: ignore[union-attr]
        base = folder if indent else ROOT
        for name in names.split():
            assert (base / name).exists(), line
        if not indent:
            folder = ROOT / names.split()[0]


def test_variables_are_those_the_code_reads() -> None:
    sources = [ROOT / "keyvault_portal" / "settings.py", ROOT / "keyvault_portal" / "embedded" / "config.py",
               ROOT / "keyvault_portal" / "bootstrap.py", ROOT / "keys" / "demo" / "shop.py",
               ROOT / "keys" / "services" / "command_actor.py", *(ROOT / "keyvault_portal" / "management").rglob("*.py")]  # fmt: skip
    read = set()
    for source in sources:
        read |= set(
            re.findall(
                r"""(?:environ(?:\.get)?[\[(]|environment\.\w+\(|VARIABLE = )\s*"([A-Z_]+)\"""", source.read_text()
            )
        )
    table = TEXT.split("### Environment variables")[1].split("\n### ")[0]
    told = {
        name
        for row in re.findall(r"^\|([^|]+)\|", table, flags=re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row)
    }
    assert told == read - {"CI", "PYTHON", "PYENV_ROOT"}


def test_pictures_are_described() -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", TEXT)
    assert len(pictures) == 17
    for words, path in pictures:
        assert words
        assert (ROOT / path).is_file()
        assert re.fullmatch(r"static/img/screens/[a-z]+\.png", path)


def test_every_block_is_claimed() -> None:
    from tests.bench import test_command  # noqa: F401  claims theirs
    from tests.readme import test_operating  # noqa: F401  claims the rest

    assert {(block.section, block.language) for block in BLOCKS} == CLAIMED
