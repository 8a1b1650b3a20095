// A loss from its Python text: its value, its gradient and its Hessian, derived on the graph.

import { compiled, derivatives, Graph, printed } from "./graph.js";
import { Evaluation } from "./evaluation.js";
import { parseExpression, RuleError } from "./parser.js";
import { array } from "./operations.js";
import { Values } from "./values.js";

// names: what the loss is a function of. constants: numbers, or lists of numbers, by their names.
export function loss(text, names, constants = {}) {
  const tree = parseExpression(text), made = new Map();
  const lists = Object.keys(constants).filter((key) => Array.isArray(constants[key]));
  const numbers = Object.fromEntries(Object.entries(constants).filter(([, value]) => typeof value === "number"));
  // Lists are inputs, so that batches of one length are one function.
  const of = (given) => {
    const lengths = lists.map((key) => given[key].length), key = String(lengths);
    if (!made.has(key)) made.set(key, derived(tree, names, numbers, lists, lengths));
    return made.get(key);
  };
  of(constants);
  const at = (what) => (p, given = constants) => of(given)[what](p, given);
  return { value: at("value"), gradient: at("gradient"), hessian: at("hessian"), along: of(constants).along };
}

function derived(tree, names, numbers, lists, lengths) {
  const graph = new Graph(), values = new Values(graph), run = new Evaluation(values);
  const inputs = names.map((_, i) => graph.input(`p[${i}]`)), environment = new Map(Object.entries(numbers));
  names.forEach((name, i) => environment.set(name, array([], [inputs[i]])));
  lists.forEach((key, k) => environment.set(key, array([lengths[k]], Array.from({ length: lengths[k] }, (_, i) => graph.input(`c.${key}[${i}]`)))));
  const result = values.lift(run.value(tree, environment));
  if (result.items.length !== 1) throw new RuleError("a loss is one number; take the mean or the sum", tree);
  const [root] = result.items, gradient = derivatives(graph, root, inputs);
  const code = (roots) => {
    const { lines, word } = printed(roots);
    return [lines.join("\n"), roots.map(word).join(", ")];
  };
  const [valueLines, value] = code([root]), [gradientLines, slopes] = code(gradient);
  let hessian = null;
  return {
    along: { gradient, diagonal: () => inputs.map((input, i) => derivatives(graph, gradient[i], [input])[0]) },
    value: compiled("p, c", `${valueLines}\nreturn ${value};`),
    gradient: compiled("p, c", `${gradientLines}\nreturn Float64Array.of(${slopes});`),
    hessian: (p, given) => {
      if (!hessian) {
        const [lines, all] = code(gradient.flatMap((slope) => derivatives(graph, slope, inputs)));
        hessian = compiled("p, c", `${lines}\nreturn [${all}];`);
      }
      const flat = hessian(p, given), n = names.length;
      return names.map((_, i) => flat.slice(i * n, (i + 1) * n));
    },
  };
}
