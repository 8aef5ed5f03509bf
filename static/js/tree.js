// Zoom of a tree: open every branch down to a level. Each branch is a details element that works alone.
function depth(branch, tree) {
  let level = 0;
  for (let node = branch.parentElement; node && node !== tree; node = node.parentElement) {
    if (node.tagName === "DETAILS") {
      level += 1;
    }
  }
  return level;
}

document.querySelectorAll("[data-tree-zoom]").forEach((control) => {
  control.hidden = false;
  control.addEventListener("click", (event) => {
    const button = event.target.closest("[data-level]");
    if (!button) {
      return;
    }
    const tree = document.getElementById(control.dataset.treeZoom);
    tree.querySelectorAll("details").forEach((branch) => {
      branch.open = depth(branch, tree) < Number(button.dataset.level);
    });
  });
});
