// Puts numbers that changed in place of those on the page, every five seconds while somebody looks.
"use strict";
(() => {
  const elements = document.querySelectorAll("[data-live]");
  if (elements.length === 0) return;
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("/live.json");
      if (answer.status === 401) return clearInterval(timer);
      if (!answer.ok) return;
      const values = await answer.json();
      for (const element of elements) {
        const value = values[element.dataset.live];
        if (typeof value === "string" && element.textContent !== value) element.textContent = value;
      }
    } catch {
      // The daemon restarts; the next look finds it.
    }
  }, 5000);
})();
