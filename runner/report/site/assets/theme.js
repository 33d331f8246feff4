// Light or dark: as the system says, until somebody chooses.  Loaded first, so that no page flashes in the other one.
"use strict";
(() => {
  const root = document.documentElement;
  const kept = () => {
    try {
      return localStorage.getItem("runner-theme");
    } catch {
      return null; // a browser that keeps nothing
    }
  };
  const show = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  show(kept());
  root.classList.add("scripted");
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = () => {
      button.textContent = dark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
    };
    button.addEventListener("click", () => {
      const chosen = dark() ? "light" : "dark";
      show(chosen);
      try {
        localStorage.setItem("runner-theme", chosen);
      } catch {
        // it lasts for this page only
      }
      name();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    name();
  });
})();
