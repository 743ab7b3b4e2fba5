// The Edit page: paint masks, compose the prompt, follow the edit, keep it.
"use strict";
const editor = document.querySelector(".editor"), paint = document.getElementById("paint"), g = paint.getContext("2d");
const width = Number(editor.dataset.width), height = Number(editor.dataset.height);
const colours = { edit: [240, 162, 60], keep: [60, 180, 240] };
const get = (id) => document.getElementById(id);
const promptBox = get("prompt"), problem = get("problem"), stage = get("stage"), result = get("result");
let brush = "edit", last = null, job = null;

const point = (e) => {
  const box = paint.getBoundingClientRect(), scale = Math.max(width / box.width, height / box.height);
  return [(e.clientX - box.left - box.width / 2) * scale + width / 2, (e.clientY - box.top - box.height / 2) * scale + height / 2];
};
const stroke = (from, to) => {
  g.globalCompositeOperation = brush === "rub" ? "destination-out" : "source-over";
  g.strokeStyle = `rgb(${colours[brush] ?? [0, 0, 0]})`;
  g.lineCap = "round";
  g.lineWidth = Math.max(2, (Number(get("size").value) * width) / 256); // thinner, no pixel would be more than half inside
  g.beginPath(); g.moveTo(...from); g.lineTo(...to); g.stroke();
};
paint.addEventListener("pointerdown", (e) => { paint.setPointerCapture(e.pointerId); last = point(e); stroke(last, last); });
paint.addEventListener("pointermove", (e) => { if (last) { const p = point(e); stroke(last, p); last = p; } });
for (const end of ["pointerup", "pointercancel"]) paint.addEventListener(end, () => { last = null; });
const take = (name) => {
  brush = name;
  for (const b of document.querySelectorAll("[data-brush]")) b.setAttribute("aria-pressed", String(b.dataset.brush === name));
};
for (const b of document.querySelectorAll("[data-brush]")) b.addEventListener("click", () => take(b.dataset.brush));
get("clear").addEventListener("click", () => g.clearRect(0, 0, width, height));

// The mask of one colour as a black and white PNG; where two strokes blend at a rim, the nearer colour counts.
const mask = (name) => {
  const from = g.getImageData(0, 0, width, height), c = document.createElement("canvas");
  [c.width, c.height] = [width, height];
  const to = c.getContext("2d").createImageData(width, height);
  let any = false;
  for (let i = 0; i < from.data.length; i += 4) {
    const isEdit = from.data[i] > from.data[i + 2], inside = from.data[i + 3] > 127 && isEdit === (name === "edit");
    any ||= inside;
    to.data.set(inside ? [255, 255, 255, 255] : [0, 0, 0, 255], i);
  }
  c.getContext("2d").putImageData(to, 0, 0);
  return any ? c.toDataURL("image/png") : "";
};
const picked = () => [...document.querySelectorAll(".picker input:checked")];
const compose = () => {
  const said = picked().map((box) => {
    const side = box.closest("div").querySelector("select")?.value, phrase = box.dataset.phrase;
    return side ? `${side} ${phrase[0].toLowerCase()}${phrase.slice(1)}.` : `${phrase}.`;
  });
  promptBox.value = said.join(" ");
};
document.querySelector(".picker").addEventListener("change", compose);
compose();

const told = (sentence) => { problem.hidden = !sentence; problem.textContent = sentence; };
const ask = async (address, body) => {
  const answer = await fetch(address, body === undefined ? { headers: { accept: "application/json" } } : { method: "POST", headers: { "content-type": "application/json", accept: "application/json" }, body: JSON.stringify(body) });
  if (answer.ok) return answer.json();
  throw new Error(answer.status === 400 ? await answer.text() : `The edit was refused (${answer.status}); check prompt and seed.`);
};
const show = (version) => { result.src = `/edit/jobs/${job}/film.png?${version}`; result.hidden = false; };
const follow = async () => {
  let drafts = 0;
  for (;;) {
    const now = await ask(`/edit/jobs/${job}`);
    if (now.error) throw new Error(now.error);
    get("notes").hidden = !now.notes.length;
    get("notes").textContent = now.notes.join(" ");
    get("progress").value = now.fraction;
    if (now.is_done) return show("done");
    if (now.drafts > drafts) show((drafts = now.drafts));
    stage.textContent = drafts ? `Step ${drafts}: a draft, as the model sees it` : "Reading the source film";
    await new Promise((wait) => setTimeout(wait, 250));
  }
};
get("make").addEventListener("click", async () => {
  told("");
  get("notes").hidden = true;
  get("make").disabled = true;
  get("keep").disabled = true;
  get("progress").value = 0;
  try {
    ({ job } = await ask("/edit/jobs", {
      row: Number(editor.dataset.row), prompt: promptBox.value.trim(), concepts: picked().map((b) => b.value),
      edit_mask: mask("edit"), keep_mask: mask("keep"), seed: Number(get("seed").value),
    }));
    stage.textContent = "Loading the model";
    await follow();
    stage.textContent = "Edit: synthetic";
    get("keep").disabled = false;
  } catch (error) { told(error.message); stage.textContent = "No edit"; }
  get("make").disabled = false;
});
get("keep").addEventListener("click", async () => {
  try { location.href = `/review/${(await ask(`/edit/jobs/${job}/keep`, {})).row}`; } catch (error) { told(error.message); }
});
addEventListener("keydown", (e) => {
  if (e.key === "Enter" && e.ctrlKey) get("make").click();
  if (e.target.matches("textarea, input[type=number], select") || e.ctrlKey) return;
  const name = { e: "edit", p: "keep", x: "rub" }[e.key.toLowerCase()];
  if (name) take(name);
});
