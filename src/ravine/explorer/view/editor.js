// The source: a text area, and behind it the marks of an error and of the operation at hand.

import { $, element } from "./controls.js";

export class Editor {
  constructor(changed) {
    this.area = $("source");
    this.marks = $("marks");
    this.area.addEventListener("input", () => changed(this.area.value));
    this.area.addEventListener("blur", () => this.area.value.trim() || changed(""));
    this.area.addEventListener("scroll", () => this.follow());
    this.area.addEventListener("keydown", (event) => this.indent(event));
  }

  show(text) {
    if (document.activeElement === this.area) return; // what is typed there comes first
    if (this.area.value !== text) this.area.value = text;
    this.area.rows = Math.max(4, Math.min(26, text.trimEnd().split("\n").length));
  }

  // line counts from 1, columns from 0, as in Python's messages.
  mark({ bad = null, now = null } = {}) {
    const marks = [];
    if (bad) marks.push(this.one("bad", bad.line, 0, 1));
    if (now) marks.push(this.one("row", now.line, 0, 1), this.one("now", now.line, now.column, Math.max(1, now.endColumn - now.column)));
    this.marks.replaceChildren(...marks);
    this.area.setAttribute("aria-invalid", String(Boolean(bad)));
    this.follow();
  }

  one(name, row, from, wide) {
    return element("i", { class: name, style: `--line:${row - 1};--from:${from};--wide:${wide}` });
  }

  follow() {
    this.marks.style.transform = `translate(${-this.area.scrollLeft}px, ${-this.area.scrollTop}px)`;
  }

  // Tab leaves the editor, as everywhere; Enter keeps the indentation.
  indent(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    const { value, selectionStart: at } = this.area, row = value.slice(value.lastIndexOf("\n", at - 1) + 1, at);
    const space = row.match(/^\s*/)[0] + (/:\s*$/.test(row) ? "    " : "");
    if (!space) return;
    event.preventDefault();
    document.execCommand("insertText", false, `\n${space}`);
  }
}
