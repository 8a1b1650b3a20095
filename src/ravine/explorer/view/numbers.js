// Numbers as people read them, and scales of sliders.

const MINUS = "−";

export function shown(x, digits = 6) {
  if (typeof x === "boolean") return x ? "True" : "False";
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "∞" : `${MINUS}∞`;
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6)
    ? x.toExponential(Math.max(0, digits - 3)).replace(/\.?0+e/, "e").replace("e+", "e")
    : String(Number(x.toPrecision(digits)));
  return text.replaceAll("-", MINUS);
}

// A hyperparameter's slider goes from 0 to 1. Rates go by powers of ten; what is kept of the past, such as
// momentum and beta2, by powers of ten of what is missing to 1.
export function scale(h) {
  const { name, default: standard, low = null, high = null } = h;
  const kept = high === 1 ? standard >= 0.5 : high === null && (/^(beta|momentum)/.test(name) || (standard >= 0.5 && standard < 1));
  if (kept && name !== "lr") {
    const decades = standard < 0.99 ? 3 : 5;
    return { to: (x) => x >= 1 ? 1 : Math.max(0, Math.min(1, -Math.log10(1 - x) / decades)), from: (u) => u <= 0 ? 0 : rounded(1 - 10 ** (-decades * u), 5) };
  }
  if (high !== null && low !== null && Number.isFinite(high) && Number.isFinite(low)) {
    return { to: (x) => (x - low) / (high - low), from: (u) => rounded(low + u * (high - low), 3) };
  }
  if (low !== null && low >= 0) {
    const [a, b] = name === "lr" ? RATES : standard > 0 ? [Math.log10(standard) - 4, Math.log10(standard) + 3] : [-5, 1];
    return {
      to: (x) => x <= 0 ? 0 : Math.min(1, Math.max(0, (Math.log10(x) - a) / (b - a))),
      from: (u) => u <= 0 && low === 0 && name !== "lr" ? 0 : rounded(10 ** (a + u * (b - a)), 3),
    };
  }
  const reach = Math.max(1, 2 * Math.abs(standard));
  return { to: (x) => (x / reach + 1) / 2, from: (u) => rounded((2 * u - 1) * reach, 3) };
}

export const RATES = [-5, 1.5]; // powers of ten of the learning rates that are tried
export const rounded = (x, digits) => Number(x.toPrecision(digits));

export function plural(n, word) {
  return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
}
