// Parts of the page: elements, sliders, groups of buttons.

import { rounded, scale, shown } from "./numbers.js";

export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Sliders that stay in place while they are moved: recreated only when the set of them changes.
export class Sliders {
  constructor(host, changed) {
    this.host = host;
    this.changed = changed;
    this.key = null;
  }

  show(list, values, extras = {}) {
    const key = JSON.stringify(list.map((h) => [h.name, h.label, h.default, h.low, h.high]));
    if (key !== this.key) {
      this.key = key;
      this.rows = list.map((h) => this.row(h));
      this.host.replaceChildren(...this.rows.map((row) => row.box));
    }
    this.rows.forEach((row) => row.set(values[row.name], extras[row.name]));
  }

  row(h) {
    const id = `${this.host.id}-${h.name}`, text = h.label ? [h.label] : [element("code", {}, h.name), h.meaning ? ` ${h.meaning.split(/[:;,]/)[0]}` : ""];
    const name = h.label ?? h.name;
    if (h.isSwitch) {
      const box = element("input", { type: "checkbox", id, onchange: () => this.changed(h.name, h.numeric ? Number(box.checked) : box.checked) });
      return { name: h.name, box: element("div", { class: "slider check" }, box, element("label", { for: id, title: h.meaning }, ...text)), set: (v) => (box.checked = Boolean(v)) };
    }
    const { to, from } = h.scale ?? scale(h);
    const range = element("input", { type: "range", id, min: 0, max: 1, step: h.notch ?? 0.002, title: h.meaning, oninput: () => this.changed(h.name, from(Number(range.value))) });
    const number = element("input", {
      type: "number", step: "any", "aria-label": `${name}, as a number`,
      onchange: () => number.value !== "" && Number.isFinite(Number(number.value)) && this.changed(h.name, Number(number.value)),
    });
    const side = element("span", {}, number);
    const box = element("div", { class: "slider" }, element("label", { for: id, title: h.meaning }, ...text), side, range);
    let best = null;
    const set = (value, extra) => {
      if (document.activeElement !== range || Math.abs(from(Number(range.value)) - value) > 1e-12 * Math.abs(value)) range.value = to(value);
      range.setAttribute("aria-valuetext", `${shown(value, 4)}${h.unit ?? ""}`);
      if (document.activeElement !== number) number.value = rounded(value, 6);
      if (Boolean(extra) !== Boolean(best)) {
        best?.remove();
        best = extra ? element("button", { class: "best", onclick: () => extra() }, "best") : null;
        if (best) side.prepend(best, " ");
      }
    };
    return { name: h.name, box, set };
  }
}

// Buttons of which one is pressed.
export function choice(host, attribute, chosen) {
  const buttons = [...host.querySelectorAll(`[data-${attribute}]`)];
  for (const button of buttons) button.addEventListener("click", () => chosen(button.dataset[attribute]));
  return (now) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset[attribute] === now)));
}

export function options(select, groups, value) {
  const key = JSON.stringify(groups);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...groups.map(([name, list]) => {
      const made = list.map(([v, text]) => element("option", { value: v }, text));
      return name ? element("optgroup", { label: name }, ...made) : made;
    }).flat());
  }
  select.value = value;
}

// What a pressed pointer points at, from the press to the release.
export function drag(canvas, move) {
  let held = false;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    move(event.clientX - box.left, event.clientY - box.top, event);
  };
  canvas.addEventListener("pointerdown", (event) => {
    held = true;
    canvas.setPointerCapture(event.pointerId);
    at(event);
  });
  canvas.addEventListener("pointermove", (event) => held && at(event));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (held = false));
}
