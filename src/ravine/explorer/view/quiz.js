// Find the fault: broken rules, beside what they should be. Right is what moves like the reference.

import { $, element } from "./controls.js";

export function drawQuiz(state, faults, { parted, error }, { go, leave }) {
  const host = $("quiz-panel"), n = state.fault, fault = faults[n - 1];
  host.hidden = !fault;
  $("quiz").setAttribute("aria-pressed", String(Boolean(fault)));
  if (!fault) return void (host.dataset.n = "");
  const edited = state.source !== fault.source, solved = edited && !error && !parted;
  const key = `${n} ${solved}`;
  if (host.dataset.n === key) return;
  host.dataset.n = key;
  const answer = element("details", {}, element("summary", {}, "Show what ravine check says"), element("p", {}, fault.says), ...fault.marked.map((row) => element("pre", { tabindex: 0 }, row)));
  host.replaceChildren(
    element("p", {}, element("b", {}, `Fault ${n} of ${faults.length}. `), `${fault.from} It is meant to be ${fault.like}, whose path is drawn beside it. One thing is wrong. Fix it in the source, until the two paths coincide.`),
    element("p", { class: "good", role: "status" }, solved ? `Found: it now equals ${fault.like}, step for step.` : ""),
    answer,
    element("div", { class: "bar" },
      element("button", { onclick: () => go(n - 1), disabled: n === 1 }, "Previous"),
      element("button", { onclick: () => go(n + 1), disabled: n === faults.length }, "Next"),
      element("button", { class: "quiet", onclick: leave }, "Leave")),
  );
}
