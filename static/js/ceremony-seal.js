// Sealing to a ceremony in the browser: HPKE base mode (RFC 9180) by WebCrypto, so that no server on the way reads a share.
// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; one message, the context as info, an empty aad. And the proof for a roll-call.
//
// A form to hand in:   <form data-ceremony-seal data-key="hex" data-ceremony data-script data-step data-custodian>
// a form to prove:     <form data-ceremony-prove data-salt="hex" data-set-id="number" data-challenge="base64">
// (with data-bound="text" in place of the four, that text is what it is bound to; with data-verbatim what is typed is sealed as it is; a second field [data-again] must then hold the same);
// Each holds a field [data-words] WITHOUT a name (or several, whose words are joined), a hidden input [data-sealed] with one, and a
// place [data-says] for a sentence.
const KEM = Uint8Array.of(0x4b, 0x45, 0x4d, 0x00, 0x20); // "KEM", 0x0020
const SUITE = Uint8Array.of(0x48, 0x50, 0x4b, 0x45, 0x00, 0x20, 0x00, 0x01, 0x00, 0x02); // "HPKE", kem, kdf, aead
const NOTHING = new Uint8Array();
const PKCS8_ED25519 = Uint8Array.of(0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20); // RFC 8410, 7
export const TOO_OLD = "This browser cannot seal a share (it lacks X25519). Use a current Firefox, Chrome, Edge or Safari.";
export const INSECURE = "This page was not opened over HTTPS, so the browser refuses to seal a share. Open it by its https:// address.";

const utf8 = (text) => new TextEncoder().encode(text);

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
export const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));

async function hmac(key, message) {
  // An empty key is as good as zeros (RFC 2104, 2), and WebCrypto refuses it.
  const raw = key.length ? key : new Uint8Array(32);
  const handle = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", handle, message));
}

const V1 = utf8("HPKE-v1");

// RFC 9180, section 4; everything here is at most 32 bytes long: one block of HKDF-Expand.
const extract = (suite, salt, label, material) => hmac(salt, join(V1, suite, utf8(label), material));

async function expand(suite, key, label, info, length) {
  const block = await hmac(key, join(Uint8Array.of(0, length), V1, suite, utf8(label), info, Uint8Array.of(1)));
  return block.slice(0, length);
}

async function sharedSecret(privateKey, publicKey, enc, recipient) {
  const shared = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: publicKey }, privateKey, 256));
  const prk = await extract(KEM, NOTHING, "eae_prk", shared);
  return expand(KEM, prk, "shared_secret", join(enc, recipient), 32);
}

async function keySchedule(shared, info) {
  const context = join(Uint8Array.of(0), await extract(SUITE, NOTHING, "psk_id_hash", NOTHING), await extract(SUITE, NOTHING, "info_hash", info));
  const secret = await extract(SUITE, shared, "secret", NOTHING);
  const raw = await expand(SUITE, secret, "key", context, 32);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
  return [key, { name: "AES-GCM", iv: await expand(SUITE, secret, "base_nonce", context, 12) }];
}

const pair = () => crypto.subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]);
const rawOf = async (key) => new Uint8Array(await crypto.subtle.exportKey("raw", key));

// A sentence why this browser cannot seal, or "" if it can.
export async function obstacle() {
  if (!globalThis.crypto?.subtle) {
    return INSECURE;
  }
  try {
    await pair();
    return "";
  } catch {
    return TOO_OLD;
  }
}

// What a sealed message is bound to: canonical JSON, the names in order.
export function context({ ceremony, script, step, custodian }) {
  return utf8(JSON.stringify({ ceremony, custodian, script, step }));
}

// enc | ciphertext for the holder of the raw X25519 key `recipient`.
export async function seal(recipient, plaintext, info) {
  const publicKey = await crypto.subtle.importKey("raw", recipient, { name: "X25519" }, false, []);
  const once = await pair();
  const enc = await rawOf(once.publicKey);
  const [key, how] = await keySchedule(await sharedSecret(once.privateKey, publicKey, enc, recipient), info);
  return join(enc, new Uint8Array(await crypto.subtle.encrypt(how, key, plaintext)));
}

// A key for one answer: send `publicKey`, and open what comes back. The private half cannot leave this page.
export async function receiver() {
  const mine = await pair();
  const publicKey = await rawOf(mine.publicKey);
  return {
    publicKey,
    async open(sealed, info) {
      const enc = sealed.slice(0, 32);
      const sender = await crypto.subtle.importKey("raw", enc, { name: "X25519" }, false, []);
      const [key, how] = await keySchedule(await sharedSecret(mine.privateKey, sender, enc, publicKey), info);
      return new Uint8Array(await crypto.subtle.decrypt(how, key, sealed.slice(32)));
    },
  };
}

// The one spelling that commitments are made of: lower case, single spaces.
export const plainWords = (text) => text.toLowerCase().trim().split(/\s+/).join(" ");

// The proof of holding a share, as `offline.prove` makes it: Ed25519 by a key that HKDF makes of the words.
export async function prove(words, salt, setId, challenge) {
  const material = await crypto.subtle.importKey("raw", utf8(plainWords(words)), "HKDF", false, ["deriveBits"]);
  const info = join(utf8("keyvault-portal share commitment v1\0"), Uint8Array.of(setId >> 8, setId & 255));
  const seed = new Uint8Array(await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, material, 256));
  const key = await crypto.subtle.importKey("pkcs8", join(PKCS8_ED25519, seed), { name: "Ed25519" }, false, ["sign"]);
  seed.fill(0);
  return new Uint8Array(await crypto.subtle.sign("Ed25519", key, join(utf8("keyvault-portal roll-call v1\0"), challenge)));
}

async function answer(form, words) {
  const data = form.dataset;
  if ("ceremonySeal" in data) {
    const { bound: told, ceremony, script, step, custodian } = data;
    const bound = told === undefined ? context({ ceremony, script, step, custodian }) : utf8(told);
    return seal(fromHex(data.key), utf8("verbatim" in data ? words : plainWords(words)), bound);
  }
  return prove(words, fromHex(data.salt), Number(data.setId), fromBase64(data.challenge));
}

export function say(form, sentence) {
  const place = form.querySelector("[data-says]");
  if (place) {
    place.textContent = sentence;
    place.hidden = !sentence;
  }
}

const ready = new WeakSet(); // forms whose words are sealed, on their way

async function submit(event) {
  const form = event.target.closest?.("form[data-ceremony-seal], form[data-ceremony-prove]");
  if (!form) {
    return;
  }
  const fields = [...form.querySelectorAll("[data-words]")];
  const typed = fields.map((field) => field.value).join(" ");
  const sealed = form.querySelector("[data-sealed]");
  if (ready.delete(form)) {
    return; // sealed a moment ago: this is the submission itself
  }
  event.preventDefault();
  event.stopImmediatePropagation();
  const missing = await obstacle();
  const again = form.querySelector("[data-again]");
  const verbatim = "verbatim" in form.dataset;
  if (missing || fields.some((field) => !field.value.trim())) {
    say(form, missing || form.dataset.empty || "Type the words of your share.");
    return;
  }
  if (verbatim && !/^[ -~]*$/.test(typed)) {
    say(form, "Letters, digits and signs of plain ASCII only.");
    return;
  }
  if (again && again.value !== typed) {
    say(form, "The two are not the same.");
    return;
  }
  try {
    sealed.value = toBase64(await answer(form, typed));
  } catch {
    say(form, TOO_OLD);
    return;
  }
  fields.forEach((field) => {
    field.value = "";
  });
  if (again) {
    again.value = "";
  }
  say(form, "");
  ready.add(form);
  setTimeout(() => form.requestSubmit(event.submitter)); // a task of its own: Chromium ignores it in this one
}

// The rows of a card: a number and a word each.
export function wordRows(words) {
  return words.map((word, place) => {
    const row = document.createElement("li");
    const number = document.createElement("span");
    number.className = "share-number";
    number.textContent = String(place + 1);
    row.append(number, ` ${word}`);
    return row;
  });
}

// Buttons [data-by-script] wait for the script that listens to their form: without it the form would be sent as it is.
export function enable() {
  document.querySelectorAll("[data-by-script]").forEach((button) => {
    button.disabled = false;
  });
}

// What the portal answers to a form and these values, if it holds something sealed; otherwise the form says why not.
export async function ask(form, values) {
  const body = new FormData(form);
  Object.entries(values).forEach(([name, value]) => body.set(name, value));
  const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
  const answered = await response.json().catch(() => ({}));
  if (response.ok && answered.sealed) {
    return answered;
  }
  say(form, [answered.title, answered.detail, answered.hint].filter(Boolean).join(" ") || "The portal did not answer as expected.");
  return null;
}

if (globalThis.document) {
  document.addEventListener("submit", submit, true);
  document.addEventListener("htmx:load", enable); // of what a poll brought, too
  enable();
  obstacle().then((sentence) => {
    if (sentence) {
      document.querySelectorAll("form[data-ceremony-seal], form[data-ceremony-prove]").forEach((form) => say(form, sentence));
    }
  });
}

// A form that asks for something once, sealed to a key that this page makes for the one answer: `fill` gets the answer, what opens a
// sealed part of it (by its bytes' base64 and what it is bound to), and the form, which then goes; each [data-shown] appears.
export function receiveOnce(selector, fill) {
  const receive = async (event) => {
    const form = event.target.closest?.(selector);
    if (!form) {
      return;
    }
    event.preventDefault();
    const missing = await obstacle();
    if (missing) {
      say(form, missing);
      return;
    }
    const mine = await receiver();
    const answered = await ask(form, { key: toBase64(mine.publicKey) });
    if (!answered) {
      return;
    }
    const open = async (sealed, info) => new TextDecoder().decode(await mine.open(fromBase64(sealed), info));
    await fill(answered, open, form);
    document.querySelectorAll("[data-shown]").forEach((shown) => {
      shown.hidden = false;
    });
    form.remove();
  };
  document.addEventListener("submit", receive, true);
  enable();
}
