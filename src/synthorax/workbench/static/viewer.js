// Window and level by drag, invert, zoom by wheel or pinch, pan by shift-drag or two fingers; all films on the page move together.
"use strict";
const viewer = (() => {
  const start = { window: 1, level: 0.5, inverted: false, zoom: 1, x: 0, y: 0 };
  let view = { ...start };
  const films = () => document.querySelectorAll(".port:not(.still) > img, .port:not(.still) > canvas");
  const draw = () => {
    const slope = (view.inverted ? -1 : 1) / view.window;
    for (const f of document.querySelectorAll("#window feComponentTransfer > *")) {
      f.setAttribute("slope", slope);
      f.setAttribute("intercept", 0.5 - view.level * slope);
    }
    for (const film of films()) film.style.transform = `translate(${100 * view.x}%, ${100 * view.y}%) scale(${view.zoom})`;
    const told = document.querySelector("output.window");
    if (told) told.textContent = `W ${Math.round(255 * view.window)} L ${Math.round(255 * view.level)} · ${view.zoom.toFixed(1)}×`;
    document.querySelector("[data-invert]")?.setAttribute("aria-pressed", String(view.inverted));
  };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const zoom = (factor, port, clientX, clientY) => {
    const box = port.getBoundingClientRect(), u = (clientX - box.left) / box.width - 0.5, v = (clientY - box.top) / box.height - 0.5;
    const to = clamp(view.zoom * factor, 1, 12), real = to / view.zoom;
    view.x = to === 1 ? 0 : u - (u - view.x) * real;
    view.y = to === 1 ? 0 : v - (v - view.y) * real;
    view.zoom = to;
    draw();
  };
  const touching = new Map();
  for (const port of document.querySelectorAll(".port:not(.still)")) {
    port.classList.add("windowed");
    port.addEventListener("wheel", (e) => { e.preventDefault(); zoom(Math.exp(-e.deltaY / 400), port, e.clientX, e.clientY); }, { passive: false });
    port.addEventListener("dblclick", () => reset());
    port.addEventListener("pointerdown", (e) => { touching.set(e.pointerId, e); port.setPointerCapture(e.pointerId); e.preventDefault(); });
    for (const end of ["pointerup", "pointercancel"]) port.addEventListener(end, (e) => touching.delete(e.pointerId));
    port.addEventListener("pointermove", (e) => {
      const last = touching.get(e.pointerId);
      if (!last) return;
      const box = port.getBoundingClientRect(), dx = (e.clientX - last.clientX) / box.width, dy = (e.clientY - last.clientY) / box.height;
      if (touching.size === 2) {
        const other = [...touching.values()].find((p) => p.pointerId !== e.pointerId);
        const reach = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
        view.x += dx / 2; view.y += dy / 2; // the other finger's half comes with its own event
        zoom(reach(e) / Math.max(1, reach(last)), port, (e.clientX + other.clientX) / 2, (e.clientY + other.clientY) / 2);
      } else if (e.shiftKey || e.buttons === 4) {
        view.x += dx; view.y += dy;
      } else {
        view.window = clamp(view.window + 1.5 * dx, 0.05, 3);
        view.level = clamp(view.level + dy, -0.5, 1.5);
      }
      touching.set(e.pointerId, e);
      draw();
    });
  }
  const reset = () => { view = { ...start }; draw(); };
  const invert = () => { view.inverted = !view.inverted; draw(); };
  for (const bar of document.querySelectorAll(".view")) bar.hidden = false;
  document.querySelector("[data-reset]")?.addEventListener("click", reset);
  document.querySelector("[data-invert]")?.addEventListener("click", invert);
  const typing = (e) => e.target.matches("textarea, input:not([type=radio]):not([type=checkbox]):not([type=range]), select") || e.ctrlKey || e.metaKey || e.altKey;
  addEventListener("keydown", (e) => {
    if (typing(e)) return;
    if (e.key === "0") reset();
    if (e.key.toLowerCase() === "i") invert();
  });
  draw();
  return { draw, typing };
})();
