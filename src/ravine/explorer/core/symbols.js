// A rule called with one symbol for each array, as ravine/engines/graph.py does: what `ravine show --kernel` prints.

import { array, Operations, plain } from "./operations.js";
import { RuleError } from "./parser.js";

export const STEP = 0, TENSOR = 1, ELEMENT = 2; // how often a value is computed
const OF_TENSOR = ["sum", "mean", "greatest", "least", "total", "size", "numel", "epsilon"];
const FOLDED = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b, pow: (a, b) => a ** b, neg: (a) => -a,
  lt: (a, b) => a < b, le: (a, b) => a <= b, gt: (a, b) => a > b, ge: (a, b) => a >= b, eq: (a, b) => a === b, ne: (a, b) => a !== b,
  sqrt: Math.sqrt, exp: Math.exp, log: Math.log, abs: Math.abs, maximum: Math.max, minimum: Math.min,
};
const KEEPS_WHOLE = ["add", "sub", "mul", "neg", "abs", "maximum", "minimum", "pow"];

export class Symbols extends Operations {
  whole = true;
  nodes = [];
  known = new Map();

  constructor(ndim) {
    super();
    this.dimensions = ndim;
  }

  leaf(op, value, level = STEP, isWhole = true) {
    return this.node(op, [], level, value, isWhole);
  }

  node(op, args, level, value = null, isWhole = true) {
    const key = `${op}|${args.map((x) => x.index)}|${Object.is(value, -0) ? "-0" : value}|${isWhole}`;
    if (!this.known.has(key)) {
      const node = { op, args, value, level, isWhole, index: this.nodes.length };
      this.nodes.push(node);
      this.known.set(key, node);
    }
    return this.known.get(key);
  }

  number(value, isWhole) {
    return array([], [this.leaf("constant", value, STEP, isWhole)]);
  }

  lift(x) {
    if (typeof x === "number" || typeof x === "boolean") return this.number(Number(x), Number.isInteger(x));
    if (x?.items) return x;
    throw new RuleError("only numbers can be constants");
  }

  each(op, ...args) {
    const nodes = args.map((x) => this.lift(x).items[0]);
    if (nodes.every((x) => x.op === "constant") && FOLDED[op]) {
      const value = FOLDED[op](...nodes.map((x) => x.value));
      return this.number(Number(value), KEEPS_WHOLE.includes(op) && nodes.every((x) => x.isWhole) && Number.isInteger(value));
    }
    return array([], [this.node(op, nodes, OF_TENSOR.includes(op) ? TENSOR : Math.max(...nodes.map((x) => x.level)))]);
  }

  reduce(op, x, axis = null, keep = null) {
    if (axis !== null) return this.each(`${op}_along`, x, axis);
    return keep !== null ? this.each(`${op}_kept`, x, keep) : this.each(op, x);
  }

  ndim() {
    this.byDimensions = true;
    return this.number(this.dimensions, true);
  }

  size(x, axis) {
    return axis === null ? this.each("numel", x) : this.each("size", x, axis);
  }

  draw(name, x, stream) {
    if (this.lift(x).items[0].level !== ELEMENT) throw new RuleError(`${name} draws as many numbers as an array has, such as p, and got ${this.described(x)}`);
    return this.each(name, x, stream);
  }

  pair(op, x) {
    const [whole] = this.each(op, x).items;
    return [0, 1].map((i) => array([], [this.node("item", [whole, this.leaf("constant", i)], whole.level)]));
  }

  qr(x) {
    return this.pair("qr", x);
  }

  eigh(x) {
    return this.pair("eigh", x);
  }

  argsort(x, axis, descending) {
    return this.each("argsort", x, axis, this.truth(descending));
  }

  take(x, order, axis) {
    return this.each("take", x, order, axis);
  }

  solve_triangular(a, b, lower, transposed) {
    return this.each("solve_triangular", a, b, this.truth(lower), this.truth(transposed));
  }

  newtonSchulz(x, triples, eps, steps, bfloat16) {
    return this.each("newton_schulz", x, eps, steps, this.truth(bfloat16), ...triples.flat());
  }

  matmul(x, y) {
    return this.each("matmul", x, y);
  }

  // True or False as a constant, which is printed so.
  truth(x) {
    return array([], [this.leaf("constant", Boolean(plain(x) ?? x), STEP)]);
  }
}
