"use strict";
// Highlights an optimizer, by its button or under the pointer, and shows what a mark says.
const marks = [...document.querySelectorAll("[data-o]")];
const buttons = [...document.querySelectorAll(".legend button")];
const tip = document.getElementById("tip");
let pinned = null;

function pick(o) {
  if (o === null) delete document.body.dataset.pick;
  else document.body.dataset.pick = o;
  for (const mark of marks) mark.classList.toggle("on", mark.dataset.o === o);
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    pinned = pinned === button.dataset.o ? null : button.dataset.o;
    for (const each of buttons) each.setAttribute("aria-pressed", String(each.dataset.o === pinned));
    pick(pinned);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && pinned !== null) buttons.find((b) => b.dataset.o === pinned).click();
});

document.addEventListener("pointermove", (event) => {
  const mark = event.target.closest("svg [data-o]");
  tip.hidden = !mark;
  if (mark) {
    const title = mark.querySelector("title");
    tip.textContent = title ? title.textContent : mark.textContent;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${event.clientY + 16}px`;
  }
  if (pinned === null) pick(mark ? mark.dataset.o : null);
});
