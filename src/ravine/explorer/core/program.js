// A rule for arrays of a shape and for values that `if` asks for: printed as JavaScript, ready to step.

import { compiled, Graph, needed, printed } from "./graph.js";
import { Evaluation } from "./evaluation.js";
import { mathml } from "./equations.js";
import { kernelOf } from "./kernel.js";
import { array } from "./operations.js";
import { RuleError } from "./parser.js";
import { count, Values } from "./values.js";

const GIVEN = ["hessian"]; // signals that a landscape has; the others are None
const NOTHING = { seed: 0 };

export class Program {
  constructor(rule, values, shape) {
    Object.assign(this, { rule, settled: values, shape, count: count(shape) });
    const { outputs, run } = this.traced();
    this.noted = run.noted;
    this.outputs = outputs;
    this.stepping = this.code(outputs);
  }

  // The rule called with symbols, one for each element.
  traced() {
    const { rule } = this, graph = new Graph(), t = graph.input("t"), values = new Values(graph, { seed: graph.input("x.seed"), t });
    const run = new Evaluation(values, { hyperparameters: this.settled, signals: rule.signals });
    const symbol = (name, shape) => array(shape, Array.from({ length: Math.max(1, count(shape)) }, (_, i) => graph.input(`${name}[${i}]`)));
    const h = Object.fromEntries(rule.hyperparameters.map((x) => [x.name, x.isSwitch ? Boolean(this.settled[x.name]) : array([], [graph.input(x.name)])]));
    for (const name of rule.signals) h[name] = GIVEN.includes(name) ? symbol(`x.${name}`, this.shape) : null;
    const shapes = rule.slots.map((slot) => this.shapeOf(slot)), state = rule.slots.map((slot, i) => symbol(`s.${slot.name}`, shapes[i]));
    const results = rule.call(run, symbol("p", this.shape), symbol("g", this.shape), state, array([], [t]), h);
    const outputs = ["p", ...rule.slots.map((slot) => slot.name)].map((name, i) => {
      const value = values.lift(results[i]), wanted = i ? shapes[i - 1] : this.shape;
      if (!wanted.length && value.shape.length && rule.slots[i - 1].kind === "scalar") throw new RuleError(`rule '${rule.name}': the new ${name} is an array, but ${name} is declared a scalar`);
      return [name, String(value.shape) === String(wanted) ? value : values.each("add", value, array(wanted, Array.from({ length: count(wanted) }, () => graph.constant(0))))];
    });
    return { outputs, run };
  }

  // As ravine/slots.py has it; a matrix beside a vector is one number, which nothing reads.
  shapeOf({ name, kind, square, rank, axis = null, keep = null }) {
    const { shape } = this, n = shape.length;
    if (kind === "scalar" || ((square ?? rank) !== undefined && n < 2)) return [];
    if (square !== undefined) return [shape.at(square), shape.at(square)];
    if (rank !== undefined) {
      const most = typeof rank === "string" ? this.settled[rank] : rank;
      if (!(most >= 1) || most % 1) throw new RuleError(`${name}=${most} is not accepted; the rank of a slot is a whole number above 0`);
      return axis === -1 ? [shape[0], Math.min(most, ...shape)] : [Math.min(most, ...shape), shape[1]];
    }
    if (axis !== null) return shape.map((length, i) => i === axis || i === axis + n ? 1 : length);
    if (keep !== null && keep < n && keep >= -n) return shape.map((length, i) => i === keep || i === keep + n ? length : 1);
    return shape;
  }

  code(outputs) {
    const { lines, word } = printed(outputs.flatMap(([, value]) => value.items));
    const arrays = outputs.map(([name, { items }]) => `${name}: Float64Array.of(${items.map(word).join(", ")})`);
    return `${this.constants()}${lines.join("\n")}\nreturn { p: ${arrays[0].slice(3)}, state: { ${arrays.slice(1).join(", ")} } };`;
  }

  // Whether its steps draw random numbers.
  get draws() {
    return this.stepping.includes("x.seed");
  }

  // Whether a step is given the diagonal of the Hessian.
  get bent() {
    return this.rule.signals.includes("hessian");
  }

  constants() {
    const names = this.rule.hyperparameters.filter((h) => !h.isSwitch).map((h) => h.name);
    return names.length ? `const { ${names.join(", ")} } = h;\n` : "";
  }

  start(p, values = this.settled) {
    return Object.fromEntries(this.rule.slots.map((slot) => {
      if (slot.kind === "like_p") return [slot.name, Float64Array.from(p)];
      const shape = this.shapeOf(slot), first = typeof slot.value === "string" ? values[slot.value] : slot.value;
      const diagonal = (i) => slot.square === undefined || i % (shape[0] + 1) === 0;
      return [slot.name, Float64Array.from({ length: count(shape) }, (_, i) => diagonal(i) ? first : 0)];
    }));
  }

  // x: the seed of what is drawn, and the signals that the step is given.
  step(p, g, state, t, values = this.settled, x = NOTHING) {
    this.running ??= compiled("p, g, s, t, h, x", this.stepping);
    return this.running(p, g, state, t, values, x);
  }

  // Many paths over a loss: `starts` holds a start after the other. Where they are after so many steps; or, with
  // `targets`, the step at which each first comes as near as `near` to its own, and 0 where it never does.
  // All is held in locals, and what depends on t and the hyperparameters alone is computed once.
  paths({ loss, constants, starts, steps, values = this.settled, targets = null, near = 0, seed = 0 }) {
    this.walking ??= new Map();
    if (!this.walking.has(loss)) this.walking.set(loss, compiled("starts, targets, near, steps, h, c, x", this.loop(loss)));
    return this.walking.get(loss)(starts, targets, near, steps, values, constants, { seed });
  }

  loop({ slopes, bends }) {
    const roots = this.outputs.flatMap(([, { items }]) => items), nodes = needed(roots), moving = new Set();
    for (const node of nodes) if ((node.op === "input" && /[[]/.test(node.value)) || node.args.some((arg) => moving.has(arg))) moving.add(node);
    const still = [...new Set(nodes.filter((node) => moving.has(node)).flatMap((node) => node.args).concat(roots))].filter((node) => !moving.has(node) && node.op !== "constant");
    const table = printed(still), given = new Map(still.map((node, i) => [node, `k${i}`]));
    const { lines, word } = printed(roots, { given });
    const local = (text) => text.replace(/\b(p|g|[sx]\.\w+)\[(\d+)\]/g, (_, name, i) => `${name.replace(".", "_")}_${i}`);
    const n = this.count, each = (what) => Array.from({ length: n }, (_, i) => what(i)).join(" "), w = still.length;
    const slots = this.rule.slots.flatMap((slot) => {
      const shape = this.shapeOf(slot), diagonal = (i) => slot.square === undefined || i % (shape[0] + 1) === 0;
      return Array.from({ length: count(shape) }, (_, i) => `let s_${slot.name}_${i} = ${slot.kind === "like_p" ? `p_${i}` : diagonal(i) ? slot.value : 0};`);
    });
    const curved = this.bent ? [...bends().lines, ...bends().words.map((text, i) => `const x_hessian_${i} = ${text};`)].map(local).join("\n") : "";
    const targets = this.outputs.flatMap(([name, { items }], k) => items.map((item, i) => [k ? `s_${name}_${i}` : `p_${i}`, local(word(item))]));
    return `${this.constants()}const T = new Float64Array(${w} * (steps + 1)), ends = new Float64Array(targets ? starts.length / ${n} : starts.length);
for (let t = 1; t <= steps; t++) {
${table.lines.join("\n")}
${still.map((node, i) => `T[${w} * t + ${i}] = ${table.word(node)};`).join("\n")}
}
for (let k = 0; k < starts.length; k += ${n}) {
${each((i) => `let p_${i} = starts[k + ${i}];`)}
${slots.join("\n")}
for (let t = 1; t <= steps; t++) {
${still.map((_, i) => `const k${i} = T[${w} * t + ${i}];`).join(" ")}
${slopes.lines.map(local).join("\n")}
${slopes.words.map((text, i) => `const g_${i} = ${local(text)};`).join(" ")}
${curved}
${lines.map(local).join("\n")}
${targets.map(([, text], i) => `const o${i} = ${text};`).join(" ")}
${targets.map(([name], i) => `${name} = o${i};`).join(" ")}
if (targets && ${Array.from({ length: n }, (_, i) => `Math.abs(p_${i} - targets[k + ${i}]) < near`).join(" && ")}) { ends[k / ${n}] = t; break; }
}
if (!targets) { ${each((i) => `ends[k + ${i}] = p_${i};`)} }
}
return ends;`;
  }

  // Every assignment and operation in order, with its value and its place in the source.
  trace(p, g, state, t, values = this.settled, x = NOTHING) {
    if (!this.tracing) {
      const { lines, word } = printed(this.noted.flatMap(({ value }) => value.items));
      this.tracing = compiled("p, g, s, t, h, x", `${this.constants()}${lines.join("\n")}\nreturn [${this.noted.map(({ value }) => `[${value.items.map(word).join(", ")}]`).join(", ")}];`);
    }
    return this.tracing(p, g, state, t, values, x).map((items, i) => {
      const { value, ...place } = this.noted[i];
      return { ...place, value: value.shape.length ? Float64Array.from(items) : items[0] };
    });
  }

  javascript() {
    return `function step(p, g, s, t, h) {\n${this.stepping.replace(/^/gm, "  ")}\n}`;
  }

  // The kernel, as `ravine show --kernel` prints it.
  python() {
    return kernelOf(this.rule, this.settled, this.shape.length);
  }

  equations() {
    return this.rule.parts.map(({ definition }) => mathml(definition, this.settled)).join("");
  }
}
