// The functions of ravine.ops by name and by argument, whatever they compute with: elements or symbols.

import { RuleError } from "./parser.js";

// An array: its shape, and a node of the graph for each element. A number has the shape [].
export const array = (shape, items) => ({ shape, items });

// The number that a value is while a rule is read, or null: a literal, a length, an axis.
export function plain(x) {
  if (typeof x === "number" || typeof x === "boolean") return Number(x);
  return x?.items?.[0].op === "constant" ? x.items[0].value : null;
}

// The names of a tuple's parts: of betas, beta1 and beta2.
export const partsOf = (whole, length) => Array.from({ length }, (_, i) => `${/[^s]s$/.test(whole) ? whole.slice(0, -1) : whole}${i + 1}`);

const REDUCED = ["sum", "mean", "greatest", "least"];
const ONE = "sqrt abs exp log sign tanh sin cos floor round stored epsilon total ndim transpose qr eigh cholesky";
const SIGNATURES = {
  ...Object.fromEntries(ONE.split(" ").map((name) => [name, "x"])),
  ...Object.fromEntries([...REDUCED, "norm", "rms"].map((name) => [name, "x axis=None *keep=None"])),
  maximum: "x y", minimum: "x y", atan2: "y x", clip: "x low high", where: "condition x y", matmul: "x y",
  size: "x axis=None", normal: "x stream=None", uniform: "x stream=None", argsort: "x axis=-1 descending=False", take: "x order axis=-1",
  solve_triangular: "a b lower=True transposed=False", inverse_root: "a order eps=1e-12",
  newton_schulz: "x a b=None c=None eps=1e-7 steps=None bfloat16=False",
};
const STANDARD = { None: null, True: true, False: false };
const parameters = (text) => text.split(" ").map((word) => {
  const [name, standard] = word.split("=");
  const only = name.startsWith("*"); // by keyword
  return { name: name.replace("*", ""), only, ...(standard && { standard: standard in STANDARD ? STANDARD[standard] : Number(standard) }) };
});
const KNOWN = Object.fromEntries(Object.entries(SIGNATURES).map(([name, text]) => [name, parameters(text)]));
export const NAMES = Object.keys(KNOWN);

const HINT = "; use only operators and ravine.ops"; // for what are Python's own errors
// The value of each parameter, or Python's message.
export function bound(name, takes, args, named) {
  const places = takes.filter((each) => !each.only), values = args.slice(0, places.length), quoted = (list) => list.map((each) => `'${each}'`);
  if (args.length > places.length) {
    const least = places.filter((each) => !("standard" in each)).length, most = places.length;
    throw new RuleError(`${name}() takes ${least < most ? `from ${least} to ${most}` : most} positional argument${most === 1 && least === most ? "" : "s"} but ${args.length} ${args.length === 1 ? "was" : "were"} given${HINT}`);
  }
  for (const [key, value] of named) {
    const at = takes.findIndex((each) => each.name === key);
    if (at < 0) throw new RuleError(`${name}() got an unexpected keyword argument '${key}'${HINT}`);
    if (at < args.length) throw new RuleError(`${name}() got multiple values for argument '${key}'${HINT}`);
    values[at] = value;
  }
  const missing = quoted(takes.filter((each, i) => values[i] === undefined && !("standard" in each)).map((each) => each.name));
  if (missing.length) {
    const last = missing.length > 1 ? `${missing.length > 2 ? "," : ""} and ${missing.pop()}` : "";
    throw new RuleError(`${name}() missing ${missing.length + (last ? 1 : 0)} required positional argument${last ? "s" : ""}: ${missing.join(", ")}${last}${HINT}`);
  }
  return takes.map((each, i) => values[i] === undefined ? each.standard : values[i]);
}

export class Operations {
  streams = 0;

  // A function of ravine.ops. What a subclass has to offer: each, reduce, and a method for each other one.
  call(name, args, named) {
    if (!Object.hasOwn(KNOWN, name)) return undefined;
    const given = bound(name, KNOWN[name], args, named), [x] = given;
    if (REDUCED.includes(name)) return this.reduce(name, x, this.axis(name, given[1]), this.axis(name, given[2], "keep"));
    if (name === "norm" || name === "rms") {
      const [, axis, keep] = given, of = name === "norm" ? "sum" : "mean";
      return this.each("sqrt", this.reduce(of, this.each("mul", x, x), this.axis(of, axis), this.axis(of, keep, "keep")));
    }
    if (name === "clip") return this.each("minimum", this.each("maximum", x, given[1]), given[2]);
    if (name === "size") return this.size(x, this.axis(name, given[1]));
    if (name === "argsort") return this.argsort(x, this.axis(name, given[1]), plain(given[2]));
    if (name === "take") return this.take(x, given[1], this.axis(name, given[2]));
    if (name === "normal" || name === "uniform") return this.draw(name, x, given[1] === null ? this.streams++ : this.axis(name, given[1], "stream"));
    if (name === "newton_schulz") return this.newton(...given);
    if (this[name]) return this[name](...given);
    return this.each(name, ...given);
  }

  axis(name, x, argument = "axis") {
    if (x === null) return null;
    const found = plain(x);
    if (!Number.isInteger(found)) throw new RuleError(`ravine.ops.${name}: ${argument}=${found ?? "..."} is invalid; it must be a whole number${HINT}`);
    return found;
  }

  newton(x, a, b, c, eps, steps, bfloat16) {
    const triples = Array.isArray(a) ? a : [[a, b, c]], three = Array.isArray(a) ? b === null && c === null : b !== null && c !== null;
    if (!three || !triples.length || !triples.every((each) => Array.isArray(each) && each.length === 3)) {
      throw new RuleError(`ravine.ops.newton_schulz takes numbers a, b, c, or a list of triples in place of all three, got ${[a, b, c].map((x) => x === null ? "None" : plain(x) ?? "...").join(", ")}${HINT}`);
    }
    return this.newtonSchulz(x, triples, eps, steps ?? (Array.isArray(a) ? triples.length : 5), Boolean(plain(bfloat16) ?? bfloat16));
  }
}
