"""Which algorithm fits: questions, and the advice that follows from the answers. Rows only; pages and the API show them.

Every place in the tree has one way to it, so where somebody stands also says what was answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keys.hierarchy import KeyKind


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a question, and the id of the question or advice it leads to."""

    text: str
    leads_to: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    text: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """Algorithms by their names in `keys.crypto.algorithms`, the first one first, and the kind of key that may use them."""

    id: str
    title: str
    algorithms: tuple[str, ...]
    kind: KeyKind
    why: str
    watch: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A question on the way, and what was answered to it."""

    question: Question
    answer: Answer


START = "what"
_NONCE = "A nonce used twice with one key breaks AES-GCM and ChaCha20-Poly1305 wholly: secrecy and integrity."
_CONTEXT = "Bind what belongs to the data (record, tenant, purpose) as context, so that no ciphertext opens in another's place."
_RECORDED = "What is recorded today can be opened by a quantum computer later, if curves or RSA alone protect it."

QUESTIONS = (
    Question(
        "what",
        "What is it for?",
        (
            Answer(
                "To keep data secret, where one holder of the key closes and opens",
                "symmetric",
                "Databases, files, caches, backups.",
            ),
            Answer(
                "To keep data secret that others send, who hold only a public key",
                "public-key",
                "Uploads, messages, hand-overs between organisations.",
            ),
            Answer("To agree on a secret with another party", "agreement", "Sessions, protocols of your own."),
            Answer(
                "To prove who wrote something, and that nobody changed it",
                "integrity",
                "Tokens, releases, documents, requests.",
            ),
            Answer(
                "To wrap other keys",
                "wrapping",
                "The upper levels of the hierarchy, and the way of keys between systems.",
            ),
        ),
    ),
    Question(
        "symmetric",
        "Who has to read it?",
        (
            Answer("Programs of today", "aead", "Authenticated encryption: what was changed does not open."),
            Answer("A system that knows AES-CBC only", "cbc"),
        ),
    ),
    Question(
        "aead",
        "What is known of the machines and of the amount?",
        (
            Answer(
                "Processors with AES instructions, and under four thousand million messages for each key version",
                "gcm",
                "Nearly every server.",
            ),
            Answer("No AES instructions: phones, small devices, old ARM", "chacha"),
            Answer("More messages than that, or many writers that share no counter", "xchacha"),
            Answer("A nonce may come twice: restored machines, clones, weak randomness", "siv"),
            Answer("Files of gigabytes", "files"),
        ),
    ),
    Question(
        "public-key",
        "What is sent, and for how long must it stay secret?",
        (
            Answer("Anything of any size, secret for longer than about ten years", "hpke-hybrid"),
            Answer("Anything of any size, to receivers that know RFC 9180 with curves only", "hpke"),
            Answer("A key or a few bytes, to a system that knows RSA", "oaep"),
        ),
    ),
    Question(
        "agreement",
        "Which parties, and for how long must it stay secret?",
        (
            Answer("Parties of today, for less than about ten years", "x25519"),
            Answer("Parties that know ML-KEM, or secrets for longer", "ml-kem"),
        ),
    ),
    Question(
        "integrity",
        "Who checks it?",
        (
            Answer("Only who also holds the secret", "hmac", "Webhooks, cookies, requests between two services."),
            Answer("Anybody, with programs of today", "ed25519", "Tokens, SSH, releases, a record."),
            Answer("Browsers, TLS and certificate authorities of the web", "ecdsa"),
            Answer("Systems that know RSA only", "pss"),
            Answer(
                "Anybody, and it must still prove something when there are quantum computers",
                "ml-dsa",
                "Firmware, roots of trust, long archives.",
            ),
        ),
    ),
    Question(
        "wrapping",
        "Where does the wrapped key go?",
        (
            Answer("It stays below its parent in this hierarchy", "kek"),
            Answer("To another system that shares a wrapping key", "kwp"),
            Answer(
                "To a system that gives out an RSA key for it",
                "oaep-import",
                "HSMs and cloud services that import keys.",
            ),
        ),
    ),
)

ADVICE = (
    Advice(
        "gcm",
        "AES-256-GCM",
        ("AES-256-GCM",),
        KeyKind.DEK,
        "Authenticated, standardised (NIST SP 800-38D), and the fastest where processors help.",
        (
            _NONCE
            + " With random nonces stay below 2^32 messages a key version; the portal counts them and asks for a rotation in time.",
            _CONTEXT,
        ),
    ),
    Advice(
        "chacha",
        "XChaCha20-Poly1305, or ChaCha20-Poly1305",
        ("XChaCha20-Poly1305", "ChaCha20-Poly1305"),
        KeyKind.DEK,
        "Several times as fast as AES in software, and without its tables no timing tells the key.",
        (
            "The X form has 192-bit nonces, so random ones are safe; the plain form is what RFC 8439 and TLS speak.",
            _CONTEXT,
        ),
    ),
    Advice(
        "xchacha",
        "XChaCha20-Poly1305",
        ("XChaCha20-Poly1305", "AES-256-GCM-SIV"),
        KeyKind.DEK,
        "Nonces of 192 bits are drawn at random for as many messages as you like.",
        (
            "AES-256-GCM with one data key for each segment of records is the other way: each key then has few messages.",
            _CONTEXT,
        ),
    ),
    Advice(
        "siv",
        "AES-256-GCM-SIV",
        ("AES-256-GCM-SIV",),
        KeyKind.DEK,
        "A repeated nonce tells only that two messages were equal (RFC 8452); nothing else is lost.",
        ("It reads every message twice, so it is slower, and it cannot be streamed.", _CONTEXT),
    ),
    Advice(
        "files",
        "AES-256-GCM in pieces",
        ("AES-256-GCM",),
        KeyKind.DEK,
        "A file is closed in numbered pieces under a data key of its own, so cutting or reordering is noticed while it streams.",
        ("Use ./manage.py encrypt_file or the library; one AES-GCM message must never be longer than 64 GiB.",),
    ),
    Advice(
        "cbc",
        "AES-256-CBC with HMAC-SHA256",
        ("AES-256-CBC-HMAC-SHA256",),
        KeyKind.DEK,
        "CBC alone can be changed unnoticed and tells its content through padding errors; encrypt, then authenticate.",
        (
            "The initialisation vector must be unpredictable, a counter will not do (NIST SP 800-38A, appendix C).",
            "Plan the way out: re-encrypt to an authenticated mode when the old reader is gone.",
        ),
    ),
    Advice(
        "hpke-hybrid",
        "HPKE with ML-KEM-768 and X25519",
        ("HPKE-MLKEM768-X25519-HKDF-SHA256-AES-256-GCM",),
        KeyKind.DEK,
        _RECORDED + " The hybrid stays secret while either of its two parts holds.",
        ("Its identifiers still come from a draft (draft-ietf-hpke-pq): both sides need the same version.", _CONTEXT),
    ),
    Advice(
        "hpke",
        "HPKE with X25519",
        ("HPKE-X25519-HKDF-SHA256-AES-256-GCM",),
        KeyKind.DEK,
        "A public key for the key, AES-256-GCM for the data: RFC 9180 does in one standard what every hybrid of one's own does worse.",
        (_RECORDED, _CONTEXT),
    ),
    Advice(
        "oaep",
        "RSA-OAEP with 3072 bits or more",
        ("RSA-3072-OAEP-SHA256", "RSA-4096-OAEP-SHA256", "RSA-2048-OAEP-SHA256"),
        KeyKind.DEK,
        "For little data only: with 3072 bits at most 318 bytes, so as a rule it closes a key that closes the data.",
        (
            "2048 bits are acceptable until the end of 2030 only (NIST SP 800-131A).",
            "Never PKCS #1 v1.5 encryption: its errors open it.",
            _RECORDED,
        ),
    ),
    Advice(
        "x25519",
        "X25519 with HKDF",
        ("X25519-HKDF-SHA256",),
        KeyKind.DEK,
        "Fast and hard to use wrongly; HKDF makes keys of the point both sides compute (RFC 7748, RFC 5869).",
        ("It says nothing of who the other side is: sign the exchange, or use TLS 1.3 or HPKE, which do.", _RECORDED),
    ),
    Advice(
        "ml-kem",
        "ML-KEM-768",
        ("ML-KEM-768", "ML-KEM-1024"),
        KeyKind.DEK,
        "FIPS 203; withstands quantum computers as far as anybody knows. 1024 where 192 bits of strength are too few.",
        ("Combine it with X25519 while it is young: TLS 1.3 does as X25519MLKEM768, HPKE in its hybrid suite.",),
    ),
    Advice(
        "hmac",
        "HMAC-SHA256",
        ("HMAC-SHA256", "HMAC-SHA512"),
        KeyKind.DEK,
        "The simplest proof between two who trust each other, and safe against quantum computers.",
        ("Whoever can check can also forge: it proves nothing to a third.", "Compare in constant time."),
    ),
    Advice(
        "ed25519",
        "Ed25519",
        ("Ed25519", "Ed448"),
        KeyKind.TOKEN_SIGNING,
        "Small, fast, and without a random nonce in the signature, so bad randomness cannot give the key away (RFC 8032).",
        ("Ask what the readers of your tokens know: JOSE calls it EdDSA.",),
    ),
    Advice(
        "ecdsa",
        "ECDSA with P-256",
        ("ECDSA-P256-SHA256", "ECDSA-P384-SHA384"),
        KeyKind.TRANSPORT,
        "What every TLS client and every public authority accepts (FIPS 186-5).",
        (
            "Each signature needs a fresh random number: a repeated one gives the private key away, so leave it to a good library or an HSM.",
        ),
    ),
    Advice(
        "pss",
        "RSA-PSS with 3072 bits or more",
        ("RSA-3072-PSS-SHA256", "RSA-4096-PSS-SHA256", "RSA-2048-PSS-SHA256"),
        KeyKind.TOKEN_SIGNING,
        "RSA's signature with a proof (RFC 8017, FIPS 186-5); the salt is as long as the hash.",
        (
            "2048 bits are acceptable until the end of 2030 only (NIST SP 800-131A).",
            "JOSE calls it PS256; RS256 is the older PKCS #1 v1.5 signature.",
        ),
    ),
    Advice(
        "ml-dsa",
        "ML-DSA-65",
        ("ML-DSA-65", "ML-DSA-87", "ML-DSA-44"),
        KeyKind.TOKEN_SIGNING,
        "FIPS 204, the standard that CRYSTALS-Dilithium became; withstands quantum computers as far as anybody knows.",
        ("A signature has 3,309 bytes, a public key 1,952: look at the limits of headers and cookies.",),
    ),
    Advice(
        "kek",
        "A key encryption key with AES-256-GCM",
        ("AES-256-GCM", "AES-256-GCM-SIV"),
        KeyKind.KEK,
        "Each level is wrapped by the one above, bound to the name of what it wraps; a rotation re-wraps keys and touches no data.",
        ("Let the master key above it live in an HSM or a key management service.",),
    ),
    Advice(
        "kwp",
        "AES key wrap",
        ("AES-256-KWP", "AES-256-KW"),
        KeyKind.DEK,
        "What HSMs and other systems speak (RFC 5649, RFC 3394): needs no nonce and notices every change.",
        ("It binds no context: say beside it what the key is for.",),
    ),
    Advice(
        "oaep-import",
        "RSA-OAEP with the receiver's key",
        ("RSA-4096-OAEP-SHA256", "RSA-3072-OAEP-SHA256"),
        KeyKind.DEK,
        "Importing a key works this way at AWS, Google and Azure and at most HSMs; larger keys go as AES-KWP under a fresh AES key.",
        (
            "Make sure by another way that the public key is the receiver's.",
            "Some HSMs do OAEP with SHA-1 only; that is no weakness of OAEP.",
        ),
    ),
)

PLACES: Mapping[str, Question | Advice] = MappingProxyType({row.id: row for row in (*QUESTIONS, *ADVICE)})
_BEFORE: Mapping[str, Step] = {
    answer.leads_to: Step(question, answer) for question in QUESTIONS for answer in question.answers
}


def way_to(place: str) -> list[Step]:
    """The questions and answers that lead to a place, from the start; raises KeyError where there is no such place."""
    steps: list[Step] = []
    while PLACES[place].id != START:
        steps.append(_BEFORE[place])
        place = steps[-1].question.id
    return steps[::-1]
