// What rules compute with: numbers and arrays of symbols, and the operations of ravine.ops on them.

import { RuleError } from "./parser.js";

// An array: its shape, and a node of the graph for each element. A number has the shape [].
export const array = (shape, items) => ({ shape, items });

const REDUCED = ["sum", "mean", "greatest", "least", "norm", "rms", "total"];
const PLAIN = ["sqrt", "abs", "exp", "log", "sign", "tanh", "sin", "cos", "floor", "round", "maximum", "minimum", "where", "atan2"];
export const NAMES = [...REDUCED, ...PLAIN, "clip", "size", "ndim", "epsilon", "matmul", "transpose", "newton_schulz"];

// `whole`: arrays are one symbol each, for printing; then sums and sizes are operations, too.
export class Values {
  constructor(graph, { whole = false } = {}) {
    this.graph = graph;
    this.whole = whole;
  }

  lift(x) {
    if (typeof x === "number" || typeof x === "boolean") return array([], [this.graph.constant(x)]);
    if (x && x.items) return x;
    throw new RuleError(x === null ? "None is not a number" : "only numbers and arrays can be computed with");
  }

  // Element by element; an axis of length 1 meets any length.
  each(op, ...args) {
    const all = args.map((x) => this.lift(x)), rank = Math.max(...all.map((x) => x.shape.length));
    const shape = Array.from({ length: rank }, (_, i) => {
      const lengths = all.map((x) => x.shape[i - rank + x.shape.length] ?? 1), longest = Math.max(...lengths);
      if (lengths.some((n) => n !== 1 && n !== longest)) throw new RuleError(`arrays of the shapes ${all.map((x) => `(${x.shape.join(", ")})`).join(" and ")} do not fit together`);
      return longest;
    });
    const count = this.whole ? 1 : shape.reduce((a, b) => a * b, 1);
    const items = Array.from({ length: count }, (_, k) => this.graph.apply(op, ...all.map((x) => x.items[this.whole ? 0 : place(k, shape, x.shape)])));
    return array(shape, items);
  }

  reduce(op, x, axis = null, keep = null) {
    x = this.lift(x);
    if (op === "total") return this.reduce("sum", x);
    if (op === "norm") return this.each("sqrt", this.reduce("sum", this.each("mul", x, x), axis, keep));
    if (op === "rms") return this.each("sqrt", this.reduce("mean", this.each("mul", x, x), axis, keep));
    if (keep !== null) {
      if (x.shape.length < 2) return x;
      axis = 1 - keep;
    }
    if (axis !== null && axis < 0) axis += x.shape.length;
    if (axis !== null && !(axis >= 0 && axis < x.shape.length)) throw new RuleError(`${op} along an axis that the array has not`);
    if (this.whole) return array([], [this.graph.node(op, x.items)]);
    const groups = new Map(), shape = axis === null ? [] : x.shape.map((n, i) => i === axis ? 1 : n);
    x.items.forEach((item, k) => {
      const to = axis === null ? 0 : place(k, x.shape, shape);
      groups.set(to, [...(groups.get(to) ?? []), item]);
    });
    const how = { sum: "add", mean: "add", greatest: "maximum", least: "minimum" }[op];
    const items = [...groups.entries()].sort((a, b) => a[0] - b[0]).map(([, all]) => {
      const one = all.reduce((a, b) => this.graph.apply(how, a, b));
      return op === "mean" ? this.graph.apply("div", one, this.graph.constant(all.length)) : one;
    });
    return array(shape, items);
  }

  matmul(x, y) {
    if (this.whole) return array(x.shape, [this.graph.node("matmul", [...x.items, ...y.items])]);
    if (x.shape.length !== 2 || y.shape.length !== 2 || x.shape[1] !== y.shape[0]) throw new RuleError("@ is for matrices: the columns of the first are the rows of the second");
    const [n, m] = x.shape, k = y.shape[1], items = [];
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < k; j++) {
        items.push(Array.from({ length: m }, (_, l) => this.graph.apply("mul", x.items[i * m + l], y.items[l * k + j])).reduce((a, b) => this.graph.apply("add", a, b)));
      }
    }
    return array([n, k], items);
  }

  transpose(x) {
    if (this.whole) return array(x.shape, [this.graph.node("transpose", x.items)]);
    const [n, m] = x.shape;
    return array([m, n], Array.from({ length: n * m }, (_, k) => x.items[(k % n) * m + Math.floor(k / n)]));
  }

  newtonSchulz(x, a, b, c, eps = 1e-7, steps = 5) {
    x = this.lift(x);
    if (x.shape.length !== 2) throw new RuleError("newton_schulz is for matrices; choose the landscape of a 2 × 2 matrix");
    if (this.whole) return array(x.shape, [this.graph.node("newton_schulz", [x, a, b, c, eps].flatMap((v) => this.lift(v).items))]);
    const count = steps.items ? steps.items[0].value : steps, op = (...all) => this.each(...all);
    let now = op("div", x, op("maximum", this.reduce("norm", x), eps));
    for (let k = 0; k < count; k++) {
      const s = this.matmul(now, this.transpose(now)), inner = op("add", op("mul", b, s), op("mul", c, this.matmul(s, s)));
      now = op("add", op("mul", a, now), this.matmul(inner, now));
    }
    return now;
  }

  // A function of ravine.ops by its name.
  call(name, args, named) {
    const need = (least, most = least) => {
      if (args.length < least || args.length > most) throw new RuleError(`${name} takes ${least === most ? least : `${least} to ${most}`} argument${most === 1 ? "" : "s"}, got ${args.length}`);
    };
    const plain = (x) => x?.items?.[0].op === "constant" ? x.items[0].value : x ?? null;
    if (REDUCED.includes(name)) {
      need(1, 2);
      return this.reduce(name, args[0], plain(args[1] ?? named.get("axis")), plain(named.get("keep")));
    }
    if (PLAIN.includes(name)) {
      need(name === "where" ? 3 : ["maximum", "minimum", "atan2"].includes(name) ? 2 : 1);
      return this.each(name, ...args);
    }
    if (name === "clip") {
      need(3);
      return this.each("minimum", this.each("maximum", args[0], args[1]), args[2]);
    }
    if (name === "ndim") return this.lift(args[0]).shape.length;
    if (name === "epsilon") return 2 ** -52;
    if (name === "size") {
      need(1, 2);
      const { shape, items } = this.lift(args[0]), axis = plain(args[1] ?? null);
      if (this.whole) return array([], [this.graph.node("size", axis === null ? items : [...items, this.graph.constant(axis)])]);
      return axis === null ? shape.reduce((a, b) => a * b, 1) : shape.at(axis) ?? 1;
    }
    if (name === "matmul") return this.matmul(...args);
    if (name === "transpose") return this.transpose(args[0]);
    if (name === "newton_schulz") return this.newtonSchulz(args[0], args[1], args[2], args[3], args[4] ?? named.get("eps"), args[5] ?? named.get("steps"));
    throw new RuleError(`${name} cannot be called in a rule; there are ${NAMES.join(", ")}`);
  }
}

// Where element k of an array of one shape stands in an array of another that is spread to it.
function place(k, shape, other) {
  let index = 0, stride = 1;
  for (let i = shape.length - 1, rest = k; i >= 0; i--) {
    const at = rest % shape[i], n = other[i - shape.length + other.length];
    rest = Math.floor(rest / shape[i]);
    if (n === undefined) continue;
    index += (n === 1 ? 0 : at) * stride;
    stride *= n;
  }
  return index;
}
