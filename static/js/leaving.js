// Who follows a link is not turned back: an answer that arrives in that moment could open this page anew.
const MOMENT = 5000; // a link to a download leaves nothing, so the page goes on to live after it
let until = 0;

addEventListener("beforeunload", () => {
  until = Date.now() + MOMENT;
});
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (Date.now() < until) {
    event.preventDefault();
  }
});
