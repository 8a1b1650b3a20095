// The page: a state, what follows from it, how that is drawn, and what the reader does to it.

import { choice, $, Sliders } from "./controls.js";
import { Doing } from "./doing.js";
import { Drawing } from "./drawing.js";
import { Editor } from "./editor.js";
import { Following } from "./following.js";
import { work } from "./maps.js";
import { csv } from "./worked.js";

function page() {
  const data = JSON.parse($("data").textContent);
  let drawing = null;
  const following = new Following(data, {
    size: () => [$("map").clientWidth || 600, $("map").clientHeight || 400],
    drawn: (part) => {
      if (!drawing) { // at first: before there is something to see, there is nothing to do
        drawing = new Drawing(following, controls(), doing);
        doing.listen(drawing);
      }
      drawing[part]();
      if (part === "all") doing.address();
      document.body.dataset.ready = "";
    },
    said: (words) => doing.say(words),
  });
  const doing = new Doing(following, data.state), { now } = following;
  const controls = () => ({
    editor: new Editor((source) => doing.later("edit", () => doing.edit(source))),
    hypers: new Sliders($("hypers"), (name, value) => doing.change({ values: { ...following.state.values, [name]: value } }, { quick: true })),
    knobs: new Sliders($("knobs"), (name, value) => doing.knob(name, value)),
    shade: choice($("shade"), "shade", (shade) => doing.change({ shade })),
    charts: choice($("charts"), "chart", (chart) => doing.change({ chart })),
    chips: doing.chips(),
  });
  globalThis.explorer = { get state() { return following.state; }, get waiting() { return Object.keys(following.maps.waiting).length; }, now, csv: () => csv(now.lanes[0], now.last, now.land.names) };
  doing.begin();
  document.body.classList.toggle("embed", following.state.embed);
  $("whole").hidden = !following.state.embed;
}

if (typeof document === "undefined") work(self);
else page();
