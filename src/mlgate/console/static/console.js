// Small things that belong to the browser.

// The drawer of a narrow window closes when a page was chosen from it.
document.addEventListener("click", (event) => {
  if (!event.target.closest?.(".nav-item") || window.innerWidth >= 900) return;
  document.querySelector(".q-drawer__backdrop")?.click();
});

// A table that is wider than its box is scrolled by the keyboard, too.
new MutationObserver(() => {
  for (const box of document.querySelectorAll(".q-table__middle:not([tabindex])")) box.tabIndex = 0;
}).observe(document.documentElement, { childList: true, subtree: true });
