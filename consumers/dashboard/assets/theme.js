// The theme that was chosen holds before anything is painted.
"use strict";
(() => {
  let theme = null;
  try { theme = localStorage.getItem("ibconn-theme"); } catch { /* storage is off: the system's theme it is */ }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
