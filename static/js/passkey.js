// A passkey signs, or is made, when a form is submitted by a button with [data-passkey-button] in it.
//
//   <form data-passkey="get" data-options="JSON"> ... <input type="hidden" data-passkey-answer name="..."> <button data-passkey-button hidden>
//
// data-passkey is "get" (sign the challenge in data-options) or "create". The answer goes into the hidden field as JSON (WebAuthn level 3,
// section 5.1: the JSON forms of options and answers), and the form is sent. [data-says] takes a sentence when it does not work.
const fromText = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const toText = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const REFUSED = "The passkey was not used. Try again, or use another way on this page.";
const WRONG = "This browser could not use the passkey. Open the portal by its own https:// address, in a current browser.";

const known = (list) => (list ?? []).map((one) => ({ ...one, id: fromText(one.id) }));

function request(options) {
  return { ...options, challenge: fromText(options.challenge), allowCredentials: known(options.allowCredentials) };
}

function creation(options) {
  return {
    ...options,
    challenge: fromText(options.challenge),
    user: { ...options.user, id: fromText(options.user.id) },
    excludeCredentials: known(options.excludeCredentials),
  };
}

function answer(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "authenticatorData", "signature", "userHandle", "attestationObject"]) {
    if (credential.response[name]) {
      response[name] = toText(credential.response[name]);
    }
  }
  return JSON.stringify({
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: {},
  });
}

async function use(form) {
  const says = form.querySelector("[data-says]");
  says.hidden = true;
  const options = JSON.parse(form.dataset.options);
  try {
    const made = form.dataset.passkey === "get"
      ? await navigator.credentials.get({ publicKey: request(options) })
      : await navigator.credentials.create({ publicKey: creation(options) });
    form.querySelector("[data-passkey-answer]").value = answer(made);
  } catch (error) {
    says.textContent = error.name === "NotAllowedError" ? REFUSED : WRONG;
    says.hidden = false;
    return;
  }
  form.submit();
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!globalThis.PublicKeyCredential) {
    continue;
  }
  for (const button of form.querySelectorAll("[data-passkey-button]")) {
    button.hidden = false;
  }
  form.addEventListener("submit", (event) => {
    if (event.submitter?.hasAttribute("data-passkey-button")) {
      event.preventDefault();
      use(form);
    }
  });
}
