// Runs before the first paint: a stored theme must not flash the other one first. No module, so that it blocks.
(() => {
  const root = document.documentElement;
  const stored = localStorage.getItem("cio-theme");
  if (stored === "day" || stored === "night") root.dataset.theme = stored;
  /** Follow the system, then day, then night. */
  window.cioTheme = () => {
    const next = { day: "night", night: "" }[root.dataset.theme ?? ""] ?? "day";
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    if (next) localStorage.setItem("cio-theme", next);
    else localStorage.removeItem("cio-theme");
    return next || "as the system";
  };
})();
