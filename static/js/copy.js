// Copy buttons: shown only where the clipboard can be written. Works for parts that htmx adds later.
const LIVE = document.getElementById("live");

function say(text) {
  if (LIVE) {
    LIVE.textContent = text;
  }
}

function reveal(scope) {
  scope.querySelectorAll("button[data-copy][hidden]").forEach((button) => {
    button.hidden = false;
  });
}

if (navigator.clipboard) {
  reveal(document);
  document.addEventListener("htmx:afterSwap", (event) => reveal(event.target.parentElement ?? document));
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) {
      return;
    }
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("copied");
      say("Copied to the clipboard");
      setTimeout(() => button.classList.remove("copied"), 1500);
    } catch {
      say("The browser refused to copy; select the text instead");
    }
  });
}
