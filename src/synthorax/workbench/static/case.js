// Answering with keys: each choice has one, Enter saves, C goes to the comment, Escape leaves it.
"use strict";
addEventListener("keydown", (e) => {
  const comment = document.getElementById("comment");
  if (e.target.matches("textarea, input[type=text], input:not([type])") || e.ctrlKey || e.metaKey || e.altKey) {
    if (e.key === "Escape") e.target.blur();
    return;
  }
  const choice = [...document.querySelectorAll("[data-key]")].find((c) => c.dataset.key === e.key.toLowerCase());
  if (choice) choice.click();
  else if (e.key.toLowerCase() === "c" && comment) { e.preventDefault(); comment.focus(); }
  else if (e.key === "Enter" && !e.target.matches("a, button")) { e.preventDefault(); document.querySelector("form button.good")?.click(); }
});
