// The rule language in the browser: the rules' own text, read, run, differentiated and printed.

export { NAMES } from "./operations.js";
export { Paths } from "./paths.js";
export { RuleError } from "./parser.js";
export { Library, load } from "./rules.js";
export { loss } from "./losses.js";
