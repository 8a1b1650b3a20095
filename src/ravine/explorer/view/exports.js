// What leaves the page: the rule as Python and for PyTorch, the link, an embed, the values, the picture.

import { NAMES } from "../core/index.js";

const OPS = NAMES.filter((name) => !["sin", "cos"].includes(name));
const DECLARED = ["scalar", "shared", "filled", "like_p", "signal", "zeros", "square", "low_rank", "several"];

// A file of its own that defines the rule, with its helpers, as `ravine show mine.py:name` reads it.
export function python(rule, source) {
  const texts = [/^@\w/m.test(source) ? source : `@rule\n${source}`], seen = new Set([source]);
  for (const text of texts) { // which grows
    for (const [, name] of text.matchAll(/\b([A-Za-z_]\w*)/g)) {
      const entry = rule.library.entries.get(name);
      if (!entry || entry.call || entry.alias || entry.around || seen.has(entry.text)) continue;
      seen.add(entry.text);
      texts.push(entry.text);
    }
  }
  const all = texts.reverse().map((text) => text.trim()).join("\n\n\n");
  // Over a tuple it is Python's own sum.
  const used = OPS.filter((name) => new RegExp(`(?<![\\w.])${name}\\(`).test(all) && !(name === "sum" && /\bseveral\(/.test(all)) && !new RegExp(`^def ${name}\\b`, "m").test(all));
  const names = ["rule", ...DECLARED.filter((name) => new RegExp(`[=(] ?${name}\\b`).test(all))];
  return [`from ravine import ${names.join(", ")}`, ...(used.length ? [`from ravine.ops import ${used.join(", ")}`] : []), "", "", all, ""].join("\n");
}

export function torch(rule, base, source, values, edited) {
  const set = Object.entries(values).map(([k, v]) => `${k}=${v === true ? "True" : v === false ? "False" : v}`).join(", ");
  const made = rule.name.replace(base.name, "RULE");
  const head = edited ? python(base, source).replace(/^from ravine import/, "import ravine.torch\nfrom ravine import") : "import ravine.torch\n";
  const inner = edited ? base.name : `"${rule.name}"`;
  const stack = edited && made !== "RULE" ? made.replace("RULE", base.name) : inner;
  const parts = edited && made !== "RULE" ? `from ravine.modifiers import ${made.match(/\w+(?=\()/g).join(", ")}\n` : "";
  const imports = parts ? head.replace("import ravine.torch\n", `import ravine.torch\n${parts}`) : head;
  return `${imports}\n\nOptimizer = ravine.torch.optimizer(${stack})\noptimizer = Optimizer(model.parameters(), ${set})\n`;
}

export function embed(address) {
  const escaped = address.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
  return `<iframe src="${escaped}" title="Ravine explorer" loading="lazy" style="width: 100%; height: 44rem; border: 0"></iframe>`;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page that is read from the disk may not use the clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
