// Theme choice: follow the system, light or dark. A cookie carries it, so that the server can set
// data-theme on the first byte and no page flashes in the wrong colours.
const ORDER = ["system", "light", "dark"];
const YEAR = 31536000;

const root = document.documentElement;

function current() {
  return root.dataset.theme || "system";
}

function apply(theme) {
  if (theme === "system") {
    delete root.dataset.theme;
  } else {
    root.dataset.theme = theme;
  }
  const secure = location.protocol === "https:" ? "; secure" : "";
  const age = theme === "system" ? 0 : YEAR;
  document.cookie = `theme=${theme}; path=/; max-age=${age}; samesite=lax${secure}`;
}

function describe(button) {
  const theme = current();
  button.querySelectorAll("[data-theme-icon]").forEach((icon) => {
    icon.toggleAttribute("hidden", icon.dataset.themeIcon !== theme);
  });
  button.setAttribute("aria-label", `Colour theme: ${theme}. Change it`);
  button.title = `Colour theme: ${theme}`;
}

document.querySelectorAll("[data-theme-toggle]").forEach((button) => {
  button.hidden = false;
  describe(button);
  button.addEventListener("click", () => {
    apply(ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length]);
    describe(button);
  });
});
