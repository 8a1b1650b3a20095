// The table of a step: every value that the rule names, worked out.

import { element } from "./controls.js";
import { shown } from "./numbers.js";

// The values of a step in order: what goes in, what is named on the way, what comes out.
export function valuesOfStep(lane, t) {
  const { path, program, values, rule } = lane, p = path.points[t - 1], g = path.gradients[t - 1], state = path.states[t - 1], x = path.besides[t - 1];
  const traced = program.trace(p, g, state, t, values, x);
  const after = program.step(p, g, state, t, values, x);
  const before = [["p", p], ["g", g], ...(x.hessian && program.bent ? [["hessian", x.hessian]] : []), ...rule.slots.map(({ name }) => [name, state[name]])];
  return { traced, before, after: { p: after.p, state: after.state }, step: Float64Array.from(p, (x, i) => x - after.p[i]) };
}

export const list = (value) => typeof value === "object" ? [...value] : [value];

export function drawWorked(host, { step, names, reached }) {
  const wide = Math.max(...step.before.map(([, v]) => list(v).length)), rows = [];
  const cells = (value) => {
    const all = value === null ? [] : list(value);
    if (all.length === 1 && wide > 1) return [element("td", { colspan: wide }, shown(all[0]))];
    return Array.from({ length: wide }, (_, i) => element("td", {}, i < all.length ? shown(all[i]) : ""));
  };
  const row = (name, how, value, attributes = {}) => rows.push(element("tr", attributes, element("th", { scope: "row" }, element("code", {}, name)), element("td", { class: "how" }, how), ...cells(value)));
  for (const [name, value] of step.before) row(name, { g: "the gradient", hessian: "the diagonal of the Hessian" }[name] ?? "before the step", value);
  step.traced.forEach((each, i) => {
    if (!each.name) return;
    const hidden = reached !== null && i > reached, now = reached !== null && step.traced.findIndex((e, k) => k >= reached && e.name) === i;
    row(each.name, written(each), hidden ? null : each.value, now ? { class: "now" } : {});
  });
  row("p", "after the step", reached === null ? step.after.p : null);
  const head = element("tr", {}, element("th", { scope: "col" }, "value"), element("th", { scope: "col", class: "how" }, "how"), ...names.map((name) => element("th", { scope: "col" }, name)));
  host.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

// The value as it is written, in one line.
function written({ text, of: { line, column, endLine, endColumn } }) {
  const rows = text.split("\n").slice(line - 1, endLine);
  rows[rows.length - 1] = rows.at(-1).slice(0, endColumn);
  rows[0] = rows[0].slice(column);
  return element("code", {}, rows.map((row) => row.replace(/\s+#.*$/, "").trim()).join(" "));
}

// All steps as a table of commas: one row per step and coordinate.
export function csv(lane, steps, names) {
  const rows = [], columns = new Map();
  for (let t = 1; t <= Math.min(steps, lane.path.gradients.length, lane.path.points.length - 1); t++) {
    const step = valuesOfStep(lane, t);
    names.forEach((coordinate, i) => {
      const row = { t, coordinate };
      const put = (name, value) => (row[name] = list(value)[i] ?? list(value)[0]);
      put("g", step.before[1][1]);
      for (const { name, value } of step.traced) if (name && !["p", "g"].includes(name)) put(name, value);
      row["step" in row ? "step of p" : "step"] = step.step[i];
      put("p", step.after.p);
      for (const name of Object.keys(row)) columns.set(name, true);
      rows.push(row);
    });
  }
  const names_ = [...columns.keys()];
  return [names_, ...rows.map((row) => names_.map((name) => row[name] ?? ""))].map((cells) => cells.join(",")).join("\n") + "\n";
}
