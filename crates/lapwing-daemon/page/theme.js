// Light or dark: as the system has it, unless the switch says otherwise. A script of its own that runs
// before the first paint, so that nothing flashes.
(() => {
  const KEY = "lapwing.theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const isDark = () => (chosen() ?? (system.matches ? "dark" : "light")) === "dark";
  const apply = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    const button = document.getElementById("theme");
    if (!button) return;
    button.title = isDark() ? "Light colours" : "Dark colours";
    button.setAttribute("aria-label", button.title);
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      const next = isDark() ? "light" : "dark";
      const isSystems = (next === "dark") === system.matches;
      try {
        // What the system has anyway is followed again.
        if (isSystems) localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, next);
      } catch {
        document.documentElement.dataset.theme = next;
        return;
      }
      apply();
    });
  });
})();
