// A rule for arrays of a shape and for values that `if` asks for: printed as JavaScript, ready to step.

import { compiled, Graph, printed } from "./graph.js";
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
    return this.rule.parts.map(({ definition }) => mathml(definition, this.settled, { signals: GIVEN, ndim: this.shape.length })).join("");
  }
}
