// The graph printed as Python, as `ravine show --kernel` does: scalars once a step, then elements.

import { needed } from "./graph.js";

const SIGNS = { add: ["+", 1], sub: ["-", 1], mul: ["*", 2], div: ["/", 2], mod: ["%", 2], pow: ["**", 4], lt: ["<", 0], le: ["<=", 0], gt: [">", 0], ge: [">=", 0], eq: ["==", 0], ne: ["!=", 0], matmul: ["@", 2] };

export function pythonOf(rule, outputs, names) {
  const roots = outputs.map(([, value]) => value.items[0]), nodes = needed(roots), uses = new Map(), elements = new Set();
  const live = new Set(["p", "g", ...rule.slots.filter((slot) => slot.kind !== "scalar").map((slot) => slot.name)]);
  for (const node of nodes) {
    for (const arg of node.args) uses.set(arg, (uses.get(arg) ?? 0) + 1);
    const reduced = ["sum", "mean", "greatest", "least", "size"].includes(node.op);
    if (live.has(node.value) || (!reduced && node.args.some((arg) => elements.has(arg)))) elements.add(node);
  }
  // A value is written where it is used, unless it is used twice, or has a name.
  const words = new Map(), lines = [], stored = new Map(outputs.map(([name, value]) => [value.items[0], name]));
  const taken = new Set(["p", "g", "t", ...rule.slots.map((s) => s.name), ...rule.hyperparameters.map((h) => h.name)]);
  let count = 0, section = "";
  const text = (node) => {
    const { op, args } = node;
    if (op === "constant") return [Number.isInteger(node.value) ? String(node.value) : String(node.value), node.value < 0 ? 3 : 9];
    if (op === "input") return [node.value, 9];
    if (SIGNS[op]) {
      const [sign, level] = SIGNS[op], power = op === "pow", tight = ["sub", "mul", "div", "mod"].includes(op);
      const left = wrapped(args[0], level + (power ? 1 : 0)), right = wrapped(args[1], level + (tight ? 1 : 0));
      return [power ? `${left}**${right}` : `${left} ${sign} ${right}`, level];
    }
    if (op === "neg") return [`-${wrapped(args[0], 3)}`, 3];
    return [`${op}(${args.map((arg) => wrapped(arg, -1)).join(", ")})`, 9];
  };
  const wrapped = (node, level) => {
    const [words_, own] = words.get(node) ?? text(node);
    return own < level ? `(${words_})` : words_;
  };
  for (const node of nodes) {
    if (!node.args.length) continue;
    const name = stored.has(node) ? `new_${stored.get(node)}` : names.get(node) ?? (uses.get(node) > 1 ? `s${++count}` : null);
    if (!name) continue;
    const now = elements.has(node) ? "    # for every element" : "    # scalars";
    if (now !== section) lines.push(section = now);
    const free = taken.has(name) ? `${name}_` : name;
    lines.push(`    ${free} = ${text(node)[0]}`);
    words.set(node, [free, 9]);
  }
  const out = outputs.map(([, value]) => (words.get(value.items[0]) ?? text(value.items[0]))[0]);
  const head = ["p", "g", ...rule.slots.map((s) => s.name), "t", ...rule.hyperparameters.filter((h) => !h.isSwitch).map((h) => h.name)];
  return `def ${rule.name.replace(/\W+/g, "_").replace(/_$/, "")}(${head.join(", ")}):\n${lines.join("\n")}\n    return ${out.join(", ")}\n`;
}
