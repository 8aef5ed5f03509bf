// A share on its card: it comes sealed to a key that this page makes for the one answer, and is opened here (ceremonies/process/cards.py).
//
// <form data-ceremony-own data-ceremony data-script> with a place [data-says]; then [data-card-words], [data-qr] and [data-check] are filled
// and each [data-shown] appears.
import { context, receiveOnce, wordRows } from "./ceremony-seal.js";

const QUIET = 4; // modules of light around the code (ISO/IEC 18004, 6.3.8)
const SVG = "http://www.w3.org/2000/svg";

function drawn(name, attributes) {
  const node = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  return node;
}

// A row of modules out of hexadecimal digits, four in each, as many as there are rows.
const modules = (digits, rows) => [...digits].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("").slice(0, rows.length);

function qrCode(rows) {
  const side = rows.length + 2 * QUIET;
  const picture = drawn("svg", { class: "qr-code", viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": "The words as a QR code" });
  const dark = rows.flatMap((row, y) => [...modules(row, rows)].flatMap((one, x) => (one === "1" ? [`M${x + QUIET} ${y + QUIET}h1v1h-1z`] : [])));
  picture.append(drawn("rect", { width: side, height: side, fill: "#fff" }), drawn("path", { d: dark.join(""), fill: "#000" }));
  return picture;
}

receiveOnce("form[data-ceremony-own]", async (answered, open, form) => {
  const { ceremony, script } = form.dataset;
  const info = context({ ceremony, script, step: answered.step, custodian: answered.custodian });
  const [words, ...rows] = (await open(answered.sealed, info)).split("\n");
  document.querySelector("[data-card-words]").replaceChildren(...wordRows(words.split(" ")));
  document.querySelector("[data-qr]").replaceChildren(qrCode(rows));
  document.querySelector("[data-check]").textContent = answered.check;
});
