// A rule's step printed as Python, in the words of ravine/engines/python.py: scalars once a step, then elements.

import { Evaluation } from "./evaluation.js";
import { needed } from "./graph.js";
import { array, NAMES, partsOf } from "./operations.js";
import { ELEMENT, STEP, Symbols, TENSOR } from "./symbols.js";

const SIGNS = { add: ["+", 1], sub: ["-", 1], mul: ["*", 2], div: ["/", 2], mod: ["%", 2], pow: ["**", 4], matmul: ["@", 2] };
const COMPARED = { lt: "<", le: "<=", gt: ">", ge: ">=", eq: "==", ne: "!=" };
const HEADINGS = { [STEP]: "once per step: scalars, in float64", [TENSOR]: "once per tensor", [ELEMENT]: "for every element" };
const KEYWORDS = "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield float float64 ops".split(" ");
const LEAVES = ["input", "scalar", "hyperparameter", "constant"];
const MOST = 64;

// A rule called with symbols: its outputs, what its text calls them, and the switches it asked for.
function traced(rule, values, ndim, given, forced) {
  const graph = new Symbols(ndim), run = new Evaluation(graph, { hyperparameters: { ...values, ...forced }, signals: rule.signals });
  run.named = (item) => LEAVES.slice(0, 3).includes(item.op) ? item.value : null;
  const leaf = (op, name, level) => array([], [graph.leaf(op, name, level)]);
  const p = leaf("input", "p", ELEMENT), g = leaf("input", "g", ELEMENT);
  const state = rule.slots.map((slot) => slot.kind === "scalar" ? leaf("scalar", slot.name) : leaf("input", slot.name, ELEMENT)), t = leaf("scalar", "t");
  const h = Object.fromEntries(rule.hyperparameters.map((x) => [x.name, x.isSwitch ? Boolean((forced[x.name] ?? values[x.name])) : leaf("hyperparameter", x.name)]));
  for (const name of rule.signals) h[name] = given.includes(name) ? leaf("input", name, ELEMENT) : null;
  const results = rule.call(run, p, g, state, t, h).map((x) => graph.lift(x).items[0]);
  const outputs = new Map(["p", ...rule.slots.map((slot) => slot.name)].map((name, i) => [name, results[i]]));
  const inputs = new Set(["p", "g", "t", ...rule.slots.map((s) => s.name), ...rule.hyperparameters.map((x) => x.name), ...rule.signals]), names = new Map();
  const offer = (name, value) => value?.items && !LEAVES.includes(value.items[0].op) && !inputs.has(name) && !names.has(value.items[0]) && names.set(value.items[0], name);
  for (const local of run.locals) {
    for (const [name, value] of local) {
      if (Array.isArray(value)) partsOf(name, value.length).forEach((part, i) => offer(part, value[i]));
      else offer(name, value);
    }
  }
  for (const [name, node] of outputs) if (!LEAVES.includes(node.op)) names.set(node, name);
  return { graph, outputs, names, asked: run.asked, forced };
}

// The slots that p depends on, now or once numbers that decide an `if` have changed.
function live(rule, now, again) {
  const reached = (ways, roots) => {
    const found = new Set(roots);
    for (let size = -1; size !== found.size;) {
      size = found.size;
      for (const { outputs } of ways) {
        for (const node of needed(["p", ...found].map((name) => outputs.get(name)))) if (["input", "scalar"].includes(node.op) && rule.slots.some((s) => s.name === node.value)) found.add(node.value);
      }
    }
    return found;
  };
  let ever = reached(now, rule.evaluated);
  if (ever.size < rule.slots.length) {
    const others = [];
    const vary = (way) => {
      const forced = { ...way.forced };
      for (const [name, on] of way.asked) {
        if (others.length >= MOST) return;
        if (name in forced) continue;
        const h = rule.hyperparameters.find((x) => x.name === name);
        if (on ? (h.low ?? -1) <= 0 && (h.high ?? 1) >= 0 : h.low !== h.high) {
          const other = again(way, { ...forced, [name]: on ? 0 : 1 });
          if (other) {
            others.push(other);
            vary(other);
          }
        }
        forced[name] = on ? 1 : 0;
      }
    };
    now.forEach(vary);
    ever = others.length >= MOST ? new Set(rule.slots.map((s) => s.name)) : reached([...now, ...others], rule.evaluated);
  }
  const idle = rule.slots.filter((slot) => slot.kind !== "like_p" && typeof slot.value !== "string" && now.every(({ outputs }) => ["input", "scalar"].includes(outputs.get(slot.name).op) && outputs.get(slot.name).value === slot.name)).map((slot) => slot.name);
  const found = reached(now, [...rule.evaluated, ...[...ever].filter((name) => !idle.includes(name))]);
  return rule.slots.map((slot) => slot.name).filter((name) => found.has(name));
}

// given: the signals that the step is given; all of them by default.
export function kernelOf(rule, values, ndim = 2, given = rule.signals) {
  const trace = (signals, forced = {}) => traced(rule, values, ndim, signals, forced), main = trace(given);
  const attempt = (signals, forced) => {
    try {
      return Object.assign(trace(signals, forced), { signals });
    } catch {
      return null;
    }
  };
  const sets = rule.signals.reduce((all, name) => [...all, ...all.map((each) => [...each, name])], [[]]);
  const ways = sets.map((signals) => attempt(signals, {})).filter(Boolean);
  const kept = live(rule, ways, (way, forced) => attempt(way.signals, forced));
  return printed(rule, main, kept, given, ndim);
}

function printed(rule, { graph, outputs, names }, kept, given, ndim) {
  const wanted = ["p", ...kept].map((name) => outputs.get(name)), all = needed(wanted), nodes = all.filter((node) => node.args.length);
  const leaves = graph.nodes.filter((node) => !node.args.length && node.op !== "constant"), own = new Set(leaves.map((node) => node.value));
  const taken = new Set([...own, ...NAMES, "Tensors", "POLAR_EXPRESS", ...KEYWORDS]);
  for (const name of ["sin", "cos"]) if (!own.has(name)) taken.delete(name); // losses have them, rules do not
  const inputs = new Map(leaves.filter((node) => node.op !== "hyperparameter").map((node) => [node.value, node]));
  nodes.sort((a, b) => (a.level !== STEP) - (b.level !== STEP) || a.index - b.index);
  const uses = new Map(), hoisted = new Set(), asked = new Set(), counted = new Set(wanted);
  for (const node of nodes) {
    node.args.forEach((arg, i) => {
      uses.set(arg, (uses.get(arg) ?? 0) + 1);
      if (arg.level < node.level) hoisted.add(arg);
      if (node.op === "where" && !i) asked.add(arg);
      else counted.add(arg);
    });
  }
  const statements = nodes.filter((node) => names.has(node) || uses.get(node) > 1 || wanted.includes(node) || hoisted.has(node));
  const conditions = new Set([...asked].filter((node) => !counted.has(node)));
  // For each input, the last statement that reads it.
  const assigned = new Set(statements), last = new Map();
  [...statements, ...wanted].forEach((root, place) => {
    const stack = place < statements.length ? [...root.args] : [root];
    while (stack.length) {
      const node = stack.pop();
      if (assigned.has(node)) continue;
      last.set(node, place);
      stack.push(...node.args);
    }
  });
  const free = (name, place) => {
    if (inputs.has(name) && (last.get(inputs.get(name)) ?? -1) <= place) {
      inputs.delete(name);
      return name;
    }
    while (taken.has(name)) name += "_";
    taken.add(name);
    return name;
  };
  const words = new Map(), called = (name) => own.has(name) ? `ops.${name}` : name;
  const within = ([text, binds], level) => binds >= level ? text : `(${text})`;
  const expression = (node) => {
    if (words.has(node)) return [words.get(node), 9];
    const { op } = node;
    if (op === "constant") {
      const text = pythonNumber(node);
      return [text, text.startsWith("-") ? 3 : 9];
    }
    if (!node.args.length) return [node.value, 9];
    const args = node.args.map(expression), texts = args.map(([text]) => text);
    if (op === "pow" && node.args[1].value === 0.5) return [`${called("sqrt")}(${texts[0]})`, 9];
    if (SIGNS[op]) {
      const [sign, level] = SIGNS[op], power = op === "pow", gap = power ? "" : " ";
      return [`${within(args[0], level + power)}${gap}${sign}${gap}${within(args[1], level + !power)}`, level];
    }
    if (op === "neg") return [`-${within(args[0], 3)}`, 3];
    if (COMPARED[op]) {
      const text = `${within(args[0], 1)} ${COMPARED[op]} ${within(args[1], 1)}`;
      return conditions.has(node) ? [text, 0] : [`${called("where")}(${text}, 1.0, 0.0)`, 9];
    }
    if (op === "where") {
      const condition = conditions.has(node.args[0]) ? within(args[0], 0) : `${within(args[0], 1)} != 0`;
      return [`${called("where")}(${condition}, ${within(args[1], 0)}, ${within(args[2], 0)})`, 9];
    }
    if (op === "numel") return [`${called("size")}(${texts[0]})`, 9];
    if (op === "item") return [`${texts[0]}[${texts[1]}]`, 9];
    const [, reduction, how] = op.match(/^(\w+)_(along|kept)$/) ?? [];
    if (how) return [`${called(reduction)}(${texts[0]}, ${how === "along" ? "axis" : "keep"}=${texts[1]})`, 9];
    if (op === "newton_schulz") {
      const [x, eps, steps, bfloat16, ...each] = texts;
      if (each.length === 3) return [`${called(op)}(${[x, ...each, eps, steps, bfloat16].join(", ")})`, 9];
      const triples = Array.from({ length: each.length / 3 }, (_, i) => `(${each.slice(3 * i, 3 * i + 3).join(", ")})`).join(", ");
      return [`${called(op)}(${x}, [${triples}], eps=${eps}, steps=${steps}, bfloat16=${bfloat16})`, 9];
    }
    return [`${called(op)}(${texts.join(", ")})`, 9];
  };
  const body = graph.byDimensions ? [`    # where p has ${ndim} dimension${ndim === 1 ? "" : "s"}`] : [], unnamed = [0, 0, 0];
  let level = null;
  statements.forEach((node, place) => {
    const name = names.get(node) ?? `${"srx"[node.level]}${++unnamed[node.level]}`, [text] = expression(node);
    words.set(node, free(name, place));
    if (node.level !== level) body.push(`    # ${HEADINGS[level = node.level]}`);
    body.push(`    ${words.get(node)} = ${text}`);
  });
  const read = new Set(all.filter((node) => ["scalar", "hyperparameter"].includes(node.op)).map((node) => node.value));
  const takes = ["p", "g", ...kept, ...["t", ...rule.hyperparameters.map((h) => h.name)].filter((name) => read.has(name)), ...given];
  const plainName = rule.name.replace(/[^\p{L}\p{N}]/gu, "_").replace(/^_+|_+$/g, ""), name = KEYWORDS.includes(plainName) || /^\d/.test(plainName) ? `rule_${plainName}` : plainName;
  return `${[`def ${name}(${takes.join(", ")}):`, ...body, `    return ${wanted.map((node) => expression(node)[0]).join(", ")}`].join("\n")}\n`;
}

// As Python's repr has it.
function pythonNumber({ value, isWhole }) {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (!Number.isFinite(value)) return `float('${Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf"}')`;
  if (isWhole) return String(value);
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [digits, exponent] = value.toExponential().split("e"), power = Number(exponent);
  if (power < -4 || power >= 16) return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
