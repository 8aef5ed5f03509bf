// The shares of a new seal of the portal: they come sealed to a key that this page makes for the one answer.
//
// <form data-seal-shares data-bound="what they are bound to"> with a place [data-says]; each [data-share] shows one, each [data-shown] appears.
import { ask, enable, fromBase64, obstacle, receiver, say, toBase64, wordRows } from "./ceremony-seal.js";

async function show(event) {
  const form = event.target.closest?.("form[data-seal-shares]");
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
  const info = new TextEncoder().encode(form.dataset.bound);
  const places = [...document.querySelectorAll("[data-share]")];
  for (const [at, sealed] of answered.sealed.entries()) {
    const words = new TextDecoder().decode(await mine.open(fromBase64(sealed), info));
    places[at].replaceChildren(...wordRows(words.split(" ")));
  }
  document.querySelectorAll("[data-shown]").forEach((shown) => {
    shown.hidden = false;
  });
  form.remove();
}

document.addEventListener("submit", show, true);
enable();
