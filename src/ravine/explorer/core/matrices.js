// Decompositions of small matrices, in closed form: as LAPACK has them, signs included.
//
// A matrix is a list of rows, `op` makes a node of the graph: op("add", a, b).

import { RuleError } from "./parser.js";

function small(name, rows) {
  if (rows.length > 2 || rows[0].length > 2) throw new RuleError(`${name}: this page decomposes matrices up to 2 × 2; the rule runs on larger ones in Ravine`);
}

// The Q of QR: Householder's reflection of the first column. A single row has none.
export function orthogonal(op, rows) {
  small("qr", rows);
  if (rows.length === 1) return [[op("add", 1, op("mul", 0, rows[0][0]))]];
  const [a, b] = [rows[0][0], rows[1][0]], length = op("sqrt", op("add", op("mul", a, a), op("mul", b, b)));
  const flat = op("eq", b, 0), beta = op("where", op("ge", a, 0), op("neg", length), length);
  const c = op("where", flat, 1, op("div", a, beta)), s = op("where", flat, 0, op("div", b, beta));
  const q = [[c, s], [s, op("where", flat, 1, op("neg", c))]];
  return rows[0].length === 1 ? q.map((row) => row.slice(0, 1)) : q;
}

// Eigenvalues, ascending, and eigenvectors in columns, of a symmetric matrix: LAPACK's dlaev2.
export function eigen(op, rows) {
  small("eigh", rows);
  if (rows.length === 1) return { values: [rows[0][0]], vectors: [[op("add", 1, op("mul", 0, rows[0][0]))]] };
  const [[a], [b, c]] = rows, sum = op("add", a, c), difference = op("sub", a, c), twice = op("add", b, b);
  const root = op("sqrt", op("add", op("mul", difference, difference), op("mul", twice, twice)));
  const swap = op("gt", op("abs", c), op("abs", a)), most = op("where", swap, c, a), least = op("where", swap, a, c);
  const negative = op("lt", sum, 0), none = op("eq", sum, 0);
  const far = op("mul", 0.5, op("where", negative, op("sub", sum, root), op("add", sum, root)));
  const near = op("where", none, op("mul", -0.5, root), op("sub", op("mul", op("div", most, far), least), op("mul", op("div", b, far), b)));
  const right = op("ge", difference, 0), cs = op("where", right, op("add", difference, root), op("sub", difference, root));
  const steep = op("gt", op("abs", cs), op("abs", twice)), flat = op("eq", b, 0);
  const ratio = op("where", steep, op("neg", op("div", twice, cs)), op("neg", op("div", cs, twice)));
  const unit = op("div", 1, op("sqrt", op("add", 1, op("mul", ratio, ratio))));
  const c0 = op("where", steep, op("mul", ratio, unit), unit), s0 = op("where", steep, unit, op("mul", ratio, unit));
  const same = op("ne", negative, right); // the signs of the sum and of the difference
  const c1 = op("where", same, op("neg", s0), c0), s1 = op("where", same, c0, s0);
  // (c1, s1) belongs to `far`, the larger in size; of a diagonal matrix nothing is turned.
  const up = op("gt", op("where", flat, a, far), op("where", flat, c, near));
  const u = [op("where", flat, 1, c1), op("where", flat, 0, s1)], v = [op("where", flat, 0, op("neg", s1)), op("where", flat, 1, c1)];
  const [one, two] = [op("where", flat, a, far), op("where", flat, c, near)];
  return {
    values: [op("where", up, two, one), op("where", up, one, two)],
    vectors: u.map((x, i) => [op("where", up, v[i], x), op("where", up, x, v[i])]),
  };
}

// Cholesky's lower triangle.
export function lowerRoot(op, rows) {
  const found = rows.map((row) => row.map((x) => op("mul", 0, x)));
  rows.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      let left = row[j];
      for (let k = 0; k < j; k++) left = op("sub", left, op("mul", found[i][k], found[j][k]));
      found[i][j] = i === j ? op("sqrt", left) : op("div", left, found[j][j]);
    }
  });
  return found;
}

// x of a x = b, where a is a triangle.
export function solved(op, a, b, lower) {
  const n = a.length, x = [];
  for (let k = 0; k < n; k++) {
    const i = lower ? k : n - 1 - k;
    x[i] = b[i].map((right, j) => {
      let left = right;
      for (let l = 0; l < n; l++) if (lower ? l < i : l > i) left = op("sub", left, op("mul", a[i][l], x[l][j]));
      return op("div", left, a[i][i]);
    });
  }
  return x;
}
