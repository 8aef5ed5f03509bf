// Menus are details elements and work alone; this closes them on Escape, on a click elsewhere, and lets notices be dismissed.
const OPEN = "details.menu[open], details.drawer[open]";

document.addEventListener("click", (event) => {
  document.querySelectorAll(OPEN).forEach((menu) => {
    if (!menu.contains(event.target)) {
      menu.open = false;
    }
  });
  const dismiss = event.target.closest("[data-dismiss]");
  if (dismiss) {
    dismiss.closest(".notice").remove();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") {
    return;
  }
  document.querySelectorAll(OPEN).forEach((menu) => {
    const inside = menu.contains(document.activeElement);
    menu.open = false;
    if (inside) {
      menu.querySelector("summary").focus();
    }
  });
});

document.querySelectorAll("[data-dismiss][hidden]").forEach((button) => {
  button.hidden = false;
});
