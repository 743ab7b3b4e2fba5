// Review: four ways to compare source and edit, masks over them, keys for all.
"use strict";
const panes = document.querySelector(".panes"), stack = document.querySelector(".stack"), modes = document.querySelector(".modes");
const pixels = async (image) => {
  await image.decode();
  const c = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), g = c.getContext("2d");
  g.drawImage(image, 0, 0);
  return g.getImageData(0, 0, c.width, c.height);
};
let blinking = 0, difference = null;
const show = async (mode) => {
  if (!stack && mode !== "side by side") return;
  for (const b of modes.querySelectorAll("[data-mode]")) b.setAttribute("aria-pressed", String(b.dataset.mode === mode));
  panes.hidden = mode !== "side by side";
  if (!stack) return;
  stack.hidden = !panes.hidden;
  clearInterval(blinking);
  const over = stack.querySelector(".over"), caption = stack.querySelector(".caption"), slide = stack.querySelector(".slide");
  slide.hidden = mode !== "slider";
  over.style.clipPath = mode === "slider" ? `inset(0 0 0 ${100 - slide.querySelector("input").value}%)` : "none";
  over.style.visibility = "visible";
  if (difference) difference.hidden = mode !== "difference", difference.style.display = mode === "difference" ? "" : "none";
  caption.textContent = "";
  if (mode === "blink") blinking = setInterval(() => {
    const off = over.style.visibility === "visible";
    over.style.visibility = off ? "hidden" : "visible";
    caption.textContent = off ? "Source" : "Edit";
  }, 600);
  if (mode === "difference") {
    caption.textContent = "Red: denser than the source. Blue: less dense. Full colour at a quarter of the grey range.";
    if (!difference) {
      const [a, b] = await Promise.all([pixels(stack.querySelector("img")), pixels(over)]);
      difference = document.createElement("canvas");
      [difference.width, difference.height] = [a.width, a.height];
      const g = difference.getContext("2d"), out = g.createImageData(a.width, a.height);
      for (let i = 0; i < out.data.length; i += 4) {
        const d = (b.data[i] - a.data[i]) / 64, strength = Math.min(1, Math.abs(d)), grey = a.data[i] * 0.35 * (1 - strength);
        out.data.set([grey + (d > 0 ? 255 * strength : 0), grey + 60 * strength, grey + (d < 0 ? 255 * strength : 0), 255], i);
      }
      g.putImageData(out, 0, 0);
      stack.querySelector(".port").append(difference);
      viewer.draw();
    }
  }
};
const masks = document.querySelector(".masks-of");
const toggle = modes.querySelector("[data-toggle=masks]");
const overlay = async () => {
  const on = toggle.getAttribute("aria-pressed") !== "true";
  toggle.setAttribute("aria-pressed", String(on));
  for (const old of document.querySelectorAll("canvas.mask")) old.remove();
  if (!on) return;
  for (const [address, colour] of [[masks.dataset.editMask, [240, 162, 60]], [masks.dataset.keepMask, [60, 180, 240]]]) {
    if (!address) continue;
    const image = new Image();
    image.src = address;
    const p = await pixels(image);
    for (let i = 0; i < p.data.length; i += 4) p.data.set([...colour, p.data[i] > 127 ? 48 : 0], i);
    for (const port of document.querySelectorAll(".port")) {
      const c = document.createElement("canvas");
      c.className = "mask";
      [c.width, c.height] = [p.width, p.height];
      c.getContext("2d").putImageData(p, 0, 0);
      port.append(c);
    }
  }
  viewer.draw();
};
modes.hidden = false;
modes.addEventListener("click", (e) => {
  const b = e.target.closest("button");
  if (!b) return;
  if (b.dataset.mode) show(b.dataset.mode);
  else if (b.dataset.toggle) overlay();
});
stack?.querySelector(".slide input").addEventListener("input", () => show("slider"));
addEventListener("keydown", (e) => {
  if (!e.target.matches || viewer.typing(e)) return;
  const key = e.key.toLowerCase(), way = { 1: "side by side", 2: "slider", 3: "blink", 4: "difference" }[key];
  if (way) show(way);
  else if (key === "m" && toggle) overlay();
  else if (key === "k") document.querySelector("button[value=keep]").click();
  else if (key === "r") { e.preventDefault(); document.getElementById("reason").focus(); }
  else if (e.key === "ArrowLeft") document.querySelector(".pager [rel=prev]")?.click();
  else if (e.key === "ArrowRight") document.querySelector(".pager [rel=next]")?.click();
});
document.getElementById("reason").addEventListener("keydown", (e) => {
  if (e.key === "Enter") { e.preventDefault(); document.querySelector("button[value=reject]").click(); }
});
