"""ceremony-seal.js in a real browser against the portal's own HPKE, and the forms it serves."""

import base64
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from playwright.sync_api import Page, Route, expect, sync_playwright

from ceremonies import offline, shamir
from ceremonies.process import sealing
from ceremonies.process.contract import RecipientKind
from keys.crypto import receiving
from keys.crypto.errors import DecryptFailed
from keys.crypto.secret import SecretBytes
from tests.browser import driving
from tests.conftest import ROOT

pytestmark = pytest.mark.needs_chromium
SCRIPT_FILE = ROOT / "static" / "js" / "ceremony-seal.js"
SCRIPT = "ab" * 32
CEREMONY = UUID("6f1c2f0e-3b0d-4a53-9c5b-0f4f0a8b8a11")
FORM = """<!doctype html><title>t</title><script type="module" src="/ceremony-seal.js"></script>
<form id="f" method="post" action="/hand-in" {data}><textarea data-words></textarea><input type="hidden" name="sealed" data-sealed>
<p data-says role="alert" hidden></p><button>Seal and hand in</button></form>"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        script = self.path == "/ceremony-seal.js"
        body = SCRIPT_FILE.read_bytes() if script else self.server.page.encode()  # type: ignore[attr-defined]
        self._send(body, "text/javascript" if script else "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.posted.append(body)  # type: ignore[attr-defined]
        self._send(b"<title>got it</title>", "text/html")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header(
            "Content-Security-Policy", "default-src 'none'; script-src 'self'; form-action 'self'; connect-src 'self'"
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    serving = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    serving.page, serving.posted = "<!doctype html><title>t</title>", []  # type: ignore[attr-defined]
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = driving.launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, server) -> Iterator[Page]:
    context = driving.new_context(browser, f"http://127.0.0.1:{server.server_port}")
    server.posted.clear()
    server.page = "<!doctype html><title>t</title>"
    yield context.new_page()
    context.close()


def call(page: Page, body: str, argument: object) -> object:
    """What `body` (of an async function of `m`, the module, and `a`) gives in the page."""
    page.goto("/")
    return page.evaluate(f"async (a) => {{ const m = await import('/ceremony-seal.js'); {body} }}", argument)


def bound(who: str, step: str = "give") -> bytes:
    return sealing.context(ceremony_id=CEREMONY, script_hash=SCRIPT, step=step, custodian_id=who)


WHERE = {"ceremony": str(CEREMONY), "script": SCRIPT, "step": "give"}


@pytest.mark.parametrize("who", ["17", "ann@example.org", 'Jö "the\\key" <x>&\u2028', "空"])
def test_both_bind_the_same_bytes(page, who):
    assert bytes(call(page, "return [...m.context(a)];", {**WHERE, "custodian": who})) == bound(who)


def test_what_the_browser_seals_the_process_opens(page):
    key = receiving.ReceivingKey()
    texts = ["academic acid " * 16, "x", "größer", "w" * 4000]
    sealed = call(
        page,
        "return Promise.all(a.texts.map(async (t) => m.toBase64(await m.seal(m.fromHex(a.key), new TextEncoder().encode(t), m.context(a.where)))));",
        {"key": key.public.hex(), "texts": texts, "where": {**WHERE, "custodian": "ann"}},
    )
    assert len({one[:43] for one in sealed}) == len(texts)  # a fresh key each time
    for text, one in zip(texts, sealed, strict=True):
        raw = base64.b64decode(one)
        assert key.open(raw, bound("ann")).reveal().decode() == text
        for other in (bound("ben"), bound("ann", "another"), b""):
            with pytest.raises(DecryptFailed):
                key.open(raw, other)
        with pytest.raises(DecryptFailed):
            key.open(raw[:-1] + bytes([raw[-1] ^ 1]), bound("ann"))


def test_what_the_process_seals_the_browser_opens(page):
    made = call(page, "window.mine = await m.receiver(); window.m = m; return [...window.mine.publicKey];", None)
    words = SecretBytes(b"academic acid acne " * 11)
    sealed = sealing.seal_to(RecipientKind.HPKE_X25519, bytes(made), words, bound("ann", "deal"))
    opening = "async (a) => new TextDecoder().decode(await mine.open(m.fromBase64(a.sealed), m.context(a.where)))"
    where = {**WHERE, "step": "deal", "custodian": "ann"}
    sent = {"sealed": base64.b64encode(sealed).decode(), "where": where}
    assert page.evaluate(opening, sent).encode() == words
    refused = "async (a) => { try { await mine.open(m.fromBase64(a.sealed), m.context(a.where)); return false; } catch { return true; } }"
    assert page.evaluate(refused, {**sent, "where": {**where, "custodian": "ben"}})


def test_a_proof_made_in_the_browser(page):
    made = shamir.split(SecretBytes(bytes(32)), groups=[(2, 3)], iteration_exponent=0)
    challenge = shamir.roll_call_challenge(
        nonce="n", roll_call_id="r", custodian_id="ann", set_id=made.record.set_id, generation=1
    )
    values = {
        "words": f"  {made.shares[1].reveal().decode().upper()}\n", "salt": made.record.salt.hex(), "set": made.record.set_id,
        "challenge": base64.b64encode(challenge).decode(),
    }  # fmt: skip
    proof = call(
        page, "return [...await m.prove(a.words, m.fromHex(a.salt), a.set, m.fromBase64(a.challenge))];", values
    )
    assert shamir.whose_proof(challenge, bytes(proof), made.record) == shamir.RollCall(2, 1)
    assert bytes(proof) == offline.prove(made.shares[1].reveal().decode(), made.record.salt, challenge)


def seal_form(public: bytes) -> str:
    return FORM.format(
        data=f'data-ceremony-seal data-key="{public.hex()}" data-ceremony="{CEREMONY}" data-script="{SCRIPT}" data-step="give" data-custodian="ann"'
    )


def test_the_form_sends_nothing_but_what_is_sealed(page, server):
    key = receiving.ReceivingKey()
    server.page = seal_form(key.public)
    page.goto("/")
    page.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_have_text("Type the words of your share.")
    page.locator("textarea").fill("Academic  ACID\nacne")
    page.get_by_role("button").click()
    expect(page).to_have_title("got it")
    (body,) = server.posted
    assert "acid" not in body.lower()
    fields = parse_qs(body)
    assert list(fields) == ["sealed"]
    assert key.open(base64.b64decode(fields["sealed"][0]), bound("ann")) == b"academic acid acne"
    with pytest.raises(DecryptFailed):
        receiving.ReceivingKey().open(base64.b64decode(fields["sealed"][0]), bound("ann"))


def test_a_button_waits_for_the_script_that_seals(page, server):
    """Without it the form would go as it is, and what was typed would be lost."""
    server.page = seal_form(receiving.ReceivingKey().public).replace("<button>", "<button data-by-script disabled>")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/ceremony-seal.js", hold)
    page.goto("/", wait_until="commit")
    button = page.get_by_role("button")
    expect(button).to_be_disabled()
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    expect(button).to_be_enabled()
    page.evaluate("document.body.innerHTML += ' '; document.querySelector('button').disabled = true")
    page.evaluate(
        "document.body.dispatchEvent(new CustomEvent('htmx:load', {bubbles: true}))"
    )  # a poll brought another
    expect(button).to_be_enabled()


def test_every_form_that_is_sealed_has_such_a_button():
    texts = [path.read_text() for path in (ROOT / "templates").rglob("*.html")]
    forms = [form for text in texts for form in re.findall(r"<form(?:(?!</form>).)*</form>", text, re.DOTALL)]
    sealing_ones = [
        form for form in forms if re.search(r"data-(ceremony-seal|ceremony-prove|ceremony-own|seal-shares)\b", form)
    ]
    assert len(sealing_ones) == 7
    assert [form for form in sealing_ones if "data-by-script disabled" not in form] == []


def test_outside_of_a_ceremony_it_is_bound_to_what_the_page_says(page, server):
    key, told = receiving.ReceivingKey(), receiving.context(nonce="n-1", purpose="unseal the portal")
    quoted = told.decode().replace('"', "&quot;")
    server.page = FORM.format(data=f'data-ceremony-seal data-key="{key.public.hex()}" data-bound="{quoted}"')
    page.goto("/")
    page.locator("textarea").fill("Academic acid")
    page.get_by_role("button").click()
    expect(page).to_have_title("got it")
    sealed = base64.b64decode(parse_qs(server.posted[0])["sealed"][0])
    assert key.open(sealed, told) == b"academic acid"
    with pytest.raises(DecryptFailed):
        key.open(sealed, bound("ann"))


def test_a_passphrase_is_sealed_as_it_is_typed_twice(page, server):
    key = receiving.ReceivingKey()
    again = '<input data-again><p data-says role="alert" hidden></p>'
    server.page = seal_form(key.public).replace(
        'data-step="give"', 'data-step="give" data-verbatim data-empty="Type the passphrase."'
    )
    server.page = server.page.replace('<p data-says role="alert" hidden></p>', again)
    page.goto("/")
    for first, second, said in (
        ("", "", "Type the passphrase."), ("größer", "größer", "plain ASCII"), ("Horse  Staple", "horse staple", "not the same"),
    ):  # fmt: skip
        page.locator("textarea").fill(first)
        page.locator("[data-again]").fill(second)
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).to_contain_text(said)
    assert server.posted == []
    page.locator("[data-again]").fill("Horse  Staple")
    page.get_by_role("button").click()
    expect(page).to_have_title("got it")
    (body,) = server.posted
    assert list(parse_qs(body)) == ["sealed"]
    assert key.open(base64.b64decode(parse_qs(body)["sealed"][0]), bound("ann")) == b"Horse  Staple"


def test_the_roll_call_form(page, server):
    made = shamir.split(SecretBytes(bytes(32)), groups=[(2, 3)], iteration_exponent=0)
    challenge = shamir.roll_call_challenge(
        nonce="n", roll_call_id=str(uuid4()), custodian_id="ann", set_id=made.record.set_id, generation=1
    )
    server.page = FORM.format(
        data=f'data-ceremony-prove data-salt="{made.record.salt.hex()}" data-set-id="{made.record.set_id}" '
        f'data-challenge="{base64.b64encode(challenge).decode()}"'
    )
    page.goto("/")
    page.locator("textarea").fill(made.shares[0].reveal().decode())
    page.get_by_role("button").click()
    expect(page).to_have_title("got it")
    proof = base64.b64decode(parse_qs(server.posted[0])["sealed"][0])
    assert shamir.whose_proof(challenge, proof, made.record).index == 1


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [
        ("crypto.subtle.generateKey = () => Promise.reject(new Error('no'))", "it lacks X25519"),
        ("Object.defineProperty(globalThis, 'crypto', { value: {} })", "not opened over HTTPS"),
    ],
)
def test_a_browser_that_cannot_says_so_and_sends_nothing(page, server, lacking, sentence):
    server.page = seal_form(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw())
    page.add_init_script(lacking)
    page.goto("/")
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    page.locator("textarea").fill("academic acid acne")
    page.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    assert page.locator("textarea").input_value() == "academic acid acne"
    assert server.posted == []
