// Arrow keys walk through the films, n and p through the pages.
"use strict";
addEventListener("keydown", (e) => {
  if (e.target.matches("input, select, textarea") || e.ctrlKey || e.metaKey || e.altKey) return;
  const films = [...document.querySelectorAll(".grid a")], here = films.indexOf(document.activeElement);
  const row = films.filter((f) => f.offsetTop === films[0]?.offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row }[e.key];
  if (step && films.length) { e.preventDefault(); films[Math.min(films.length - 1, Math.max(0, here < 0 ? 0 : here + step))].focus(); }
  else if (e.key === "n") document.querySelector("[rel=next]")?.click();
  else if (e.key === "p") document.querySelector("[rel=prev]")?.click();
});
