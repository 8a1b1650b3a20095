// What rules compute with: numbers and arrays of symbols, a symbol for each element.

import { eigen, lowerRoot, orthogonal, solved } from "./matrices.js";
import { array, Operations, plain } from "./operations.js";
import { RuleError } from "./parser.js";

const listed = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

export class Values extends Operations {
  constructor(graph, { seed = null, t = null } = {}) {
    super();
    Object.assign(this, { graph, seed, t });
  }

  number(value) {
    return value;
  }

  lift(x) {
    if (typeof x === "number" || typeof x === "boolean") return array([], [this.graph.constant(x)]);
    if (x && x.items) return x;
    throw new RuleError(x === null ? "None is not a number" : "only numbers and arrays can be computed with");
  }

  op(name, ...nodes) {
    return this.graph.apply(name, ...nodes.map((x) => typeof x === "number" ? this.graph.constant(x) : x));
  }

  // Element by element; an axis of length 1 meets any length.
  each(op, ...args) {
    const all = args.map((x) => this.lift(x)), rank = Math.max(...all.map((x) => x.shape.length));
    const shape = Array.from({ length: rank }, (_, i) => {
      const lengths = all.map((x) => x.shape[i - rank + x.shape.length] ?? 1), longest = Math.max(...lengths);
      if (lengths.some((n) => n !== 1 && n !== longest)) throw new RuleError(`operands could not be broadcast together with shapes ${all.map((x) => `(${x.shape})`).join(" ")}`);
      return longest;
    });
    const items = Array.from({ length: count(shape) }, (_, k) => this.graph.apply(op, ...all.map((x) => x.items[place(k, shape, x.shape)])));
    return array(shape, items);
  }

  along(name, x, axis, argument = "axis") {
    const n = x.shape.length;
    if (!(axis >= -n && axis < n)) throw new RuleError(`ravine.ops.${name}: ${argument}=${axis} is not an axis of an array of shape ${listed(x.shape)}`);
    return axis < 0 ? axis + n : axis;
  }

  reduce(op, x, axis = null, keep = null) {
    x = this.lift(x);
    let over = x.shape.map((_, i) => i);
    if (axis !== null) over = [this.along(op, x, axis)];
    if (keep !== null) over = over.filter((i) => i !== this.along(op, x, keep, "keep"));
    const whole = axis === null && keep === null;
    if (!over.length && !whole) return x;
    const groups = new Map(), shape = whole ? [] : x.shape.map((n, i) => over.includes(i) ? 1 : n);
    x.items.forEach((item, k) => {
      const to = whole ? 0 : place(k, x.shape, shape);
      groups.set(to, [...(groups.get(to) ?? []), item]);
    });
    const how = { sum: "add", mean: "add", greatest: "maximum", least: "minimum" }[op];
    const items = [...groups.entries()].sort((a, b) => a[0] - b[0]).map(([, all]) => {
      const one = all.reduce((a, b) => this.op(how, a, b));
      return op === "mean" ? this.op("div", one, all.length) : one;
    });
    return { ...array(shape, items), reduced: op };
  }

  total(x) {
    return this.reduce("sum", x);
  }

  ndim(x) {
    return this.lift(x).shape.length;
  }

  epsilon() {
    return 2 ** -52;
  }

  stored(x) {
    return this.lift(x);
  }

  size(x, axis = null) {
    x = this.lift(x);
    return axis === null ? count(x.shape) : x.shape[this.along("size", x, axis)];
  }

  draw(name, x, stream) {
    const { shape } = this.lift(x);
    if (!shape.length) throw new RuleError(`${name} draws as many numbers as an array has, such as p, and got ${this.described(x)}`);
    return array(shape, Array.from({ length: count(shape) }, (_, k) => this.graph.node(name, [this.seed, this.t, this.graph.constant(stream), this.graph.constant(k)])));
  }

  // The order of each run of elements along an axis: how many of the others come before.
  argsort(x, axis, descending) {
    x = this.lift(x);
    const at = this.along("argsort", x, axis), n = x.shape[at];
    return this.runs(x, at, (run) => {
      const ranks = run.map((a, i) => run.map((b, k) => {
        if (k === i) return this.graph.constant(0);
        const before = k < i ? "ge" : "gt"; // equal elements stay in their order
        return descending ? this.op(before, b, a) : this.op(before, a, b);
      }).reduce((a, b) => this.op("add", a, b)));
      return Array.from({ length: n }, (_, place) => ranks.reduce((sum, rank, i) => i ? this.op("where", this.op("eq", rank, place), i, sum) : sum, this.graph.constant(0)));
    });
  }

  take(x, order, axis) {
    x = this.lift(x);
    order = this.lift(order);
    const at = this.along("take", x, axis) - x.shape.length, n = x.shape.at(at), rank = Math.max(x.shape.length, order.shape.length);
    const wide = ({ shape }) => [...Array(rank - shape.length).fill(1), ...shape];
    const shape = wide(x).map((k, i) => i === rank + at ? order.shape.at(at) : Math.max(k, wide(order)[i]));
    const items = Array.from({ length: count(shape) }, (_, k) => {
      const which = order.items[place(k, shape, order.shape)], where = spread(k, shape);
      const from = (i) => {
        const other = [...where];
        other[rank + at] = i;
        return x.items[place(joined(other, wide(x)), wide(x), x.shape)];
      };
      return Array.from({ length: n }, (_, i) => i).reduce((found, i) => i ? this.op("where", this.op("eq", which, i), from(i), found) : from(0), null);
    });
    return array(shape, items);
  }

  // Each run of elements along an axis as something else, as long.
  runs(x, axis, make) {
    const items = [...x.items], step = count(x.shape.slice(axis + 1)), n = x.shape[axis];
    for (let k = 0; k < items.length; k++) {
      if (Math.floor(k / step) % n) continue;
      const at = Array.from({ length: n }, (_, i) => k + i * step);
      make(at.map((i) => x.items[i])).forEach((item, i) => (items[at[i]] = item));
    }
    return array(x.shape, items);
  }

  // ---- matrices -----------------------------------------------------------------------------------

  matrix(name, x) {
    x = this.lift(x);
    if (x.shape.length !== 2) throw new RuleError(`ravine.ops.${name} needs a matrix or a batch of matrices, got an array of shape ${listed(x.shape)}`);
    const [n, m] = x.shape;
    return Array.from({ length: n }, (_, i) => x.items.slice(i * m, (i + 1) * m));
  }

  of(rows) {
    return array([rows.length, rows[0].length], rows.flat());
  }

  matmul(x, y) {
    [x, y] = [this.lift(x), this.lift(y)];
    if (x.shape.length !== 2 || y.shape.length !== 2 || x.shape[1] !== y.shape[0]) throw new RuleError(`matmul needs matrices, the columns of the first as many as the rows of the second; got arrays of the shapes ${listed(x.shape)} and ${listed(y.shape)}`);
    const left = this.matrix("matmul", x), right = this.matrix("matmul", y);
    return this.of(left.map((row) => right[0].map((_, j) => row.map((a, l) => this.op("mul", a, right[l][j])).reduce((a, b) => this.op("add", a, b)))));
  }

  transpose(x) {
    const rows = this.matrix("transpose", x);
    return this.of(rows[0].map((_, j) => rows.map((row) => row[j])));
  }

  qr(x) {
    const rows = this.matrix("qr", x), q = this.of(orthogonal((...all) => this.op(...all), rows));
    return [q, this.matmul(this.transpose(q), this.of(rows))];
  }

  eigh(x) {
    const { values, vectors } = eigen((...all) => this.op(...all), this.matrix("eigh", x));
    return [array([values.length], values), this.of(vectors)];
  }

  cholesky(a) {
    return this.of(lowerRoot((...all) => this.op(...all), this.matrix("cholesky", a)));
  }

  solve_triangular(a, b, lower, transposed) {
    [lower, transposed] = [Boolean(plain(lower)), Boolean(plain(transposed))];
    const rows = this.matrix("solve_triangular", transposed ? this.transpose(a) : a);
    return this.of(solved((...all) => this.op(...all), rows, this.matrix("solve_triangular", b), lower !== transposed));
  }

  inverse_root(a, order, eps) {
    const [values, vectors] = this.eigh(a), power = this.each("div", -0.5, order);
    const root = this.each("mul", vectors, this.each("pow", this.each("add", this.each("maximum", values, 0), eps), power));
    return this.matmul(root, this.transpose(root));
  }

  newtonSchulz(x, triples, eps, steps, bfloat16) {
    if (bfloat16) throw new RuleError("ravine.ops.newton_schulz: NumPy has no bfloat16; use bfloat16=False");
    const rows = this.matrix("newton_schulz", x), tall = rows.length > rows[0].length, op = (...all) => this.each(...all);
    let now = tall ? this.transpose(x) : this.lift(x);
    now = op("div", now, op("maximum", op("sqrt", this.reduce("sum", op("mul", now, now))), eps));
    for (let k = 0; k < plain(steps); k++) {
      const [a, b, c] = triples[Math.min(k, triples.length - 1)], s = this.matmul(now, this.transpose(now));
      now = op("add", op("mul", a, now), this.matmul(op("add", op("mul", b, s), op("mul", c, this.matmul(s, s))), now));
    }
    return tall ? this.transpose(now) : now;
  }
}

export const count = (shape) => shape.reduce((a, b) => a * b, 1);

// The places along each axis of element k, and back.
function spread(k, shape) {
  const found = [];
  for (let i = shape.length - 1; i >= 0; i--) {
    found.unshift(k % shape[i]);
    k = Math.floor(k / shape[i]);
  }
  return found;
}
const joined = (places, shape) => places.reduce((k, at, i) => k * shape[i] + (shape[i] === 1 ? 0 : at), 0);

// Where element k of an array of one shape stands in an array of another that is spread to it.
function place(k, shape, other) {
  const at = spread(k, shape);
  return joined(at.slice(at.length - other.length), other);
}
