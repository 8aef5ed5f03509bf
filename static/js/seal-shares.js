// The shares of a new seal of the portal: they come sealed to a key that this page makes for the one answer.
//
// <form data-seal-shares data-bound="what they are bound to"> with a place [data-says]; each [data-share] shows one, each [data-shown] appears.
import { receiveOnce, wordRows } from "./ceremony-seal.js";

receiveOnce("form[data-seal-shares]", async (answered, open, form) => {
  const info = new TextEncoder().encode(form.dataset.bound);
  const places = [...document.querySelectorAll("[data-share]")];
  for (const [at, sealed] of answered.sealed.entries()) {
    places[at].replaceChildren(...wordRows((await open(sealed, info)).split(" ")));
  }
});
