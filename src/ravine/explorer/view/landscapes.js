// What rules move on: losses in Python text, each to teach one thing.
//
// view: the middle and half the width of what is shown. knobs: sliders, whose values `constants` turns into
// what the text reads. every: y has a gradient at every so-manieth step only. rows: the loss is over these.

const ravine = {
  title: "Ravine",
  teaches: "Steep across, flat along. RMSprop and Adam scale each coordinate separately, which helps less once the ravine is turned, and hardly at all with a higher condition number.",
  text: "((c*x + s*y)**2 + condition * (c*y - s*x)**2) / 2",
  view: [-1, 0, 10], start: [-9, 2],
  knobs: [
    { name: "angle", label: "angle", low: 0, high: 90, step: 1, value: 0, unit: "°" },
    { name: "condition", label: "condition number", low: 1, high: 1000, log: true, value: 50 },
  ],
  constants: ({ angle, condition }) => ({ condition, c: Math.cos(angle * Math.PI / 180), s: Math.sin(angle * Math.PI / 180) }),
};

export const LANDSCAPES = {
  parabola: {
    title: "Parabola", names: ["x"],
    teaches: "One weight. The gradient is the slope of the tangent; the step goes against it.",
    text: "x**2 / 2", view: [0, 0, 5], start: [-4],
  },
  ravine,
  saddle: {
    title: "Saddle",
    teaches: "Between two minima the gradient almost vanishes. Start close to the ridge x = 0: who gets away first?",
    text: "x**4/4 - x**2/2 + y**2/2", view: [0, 0, 2], start: [-0.001, 1],
  },
  wells: {
    title: "Two wells",
    teaches: "The right well is deeper. Momentum may roll through the wrong one. Colour the map by basins.",
    text: "x**4/4 - x**2/2 - 0.12*x + y**2/2", view: [0, 0, 2], start: [-1.7, 0.9],
  },
  plateau: {
    title: "Plateau",
    teaches: "Far out the gradient is tiny. Rules that divide by its size cross the plain as fast as the slope.",
    text: "1 - exp(-(x**2 + y**2) / 4)", view: [0, 0, 6.5], start: [-4.5, 2],
  },
  rosenbrock: {
    title: "Rosenbrock",
    teaches: "A curved valley: finding it is easy, following it is not.",
    text: "(1 - x)**2 + 100*(y - x**2)**2", view: [0, 0.8, 2.1], start: [-1.5, 1.6], steps: 500,
  },
  rastrigin: {
    title: "Rastrigin",
    teaches: "A bowl full of dents. Most rules end in the next one; large steps see the bowl.",
    text: "20 + x**2 + y**2 - 10*cos(2*pi*x) - 10*cos(2*pi*y)", view: [0, 0, 3.2], start: [-2.4, 1.6],
    constants: () => ({ pi: Math.PI }),
  },
  himmelblau: {
    title: "Himmelblau",
    teaches: "Four minima of the same height. Colour the map by basins: the borders differ from rule to rule.",
    text: "(x**2 + y - 11)**2 + (x + y**2 - 7)**2", view: [0, 0, 7], start: [-0.5, -1.5],
  },
  noisy: {
    title: "Noisy bowl",
    teaches: "Every gradient has an error, as in mini-batches. With a constant lr no rule comes to rest: smaller lr, smaller cloud.",
    text: "(x**2 + 4*y**2) / 2", view: [0, 0, 6], start: [-5, 2.5], noise: 0.5,
  },
  sparse: {
    title: "Sparse gradients",
    teaches: "y, like a rare word, seldom has a gradient. Rules that remember its size take larger steps when it has.",
    text: "(x**2 + y**2) / 2", view: [0, 0, 6], start: [-5, 3],
    knobs: [{ name: "every", label: "y has a gradient every … steps", low: 1, high: 50, step: 1, value: 10 }],
  },
  drawn: {
    title: "Drawn by hand",
    teaches: "Dig pits and raise hills. Each is a term of the loss below.",
    text: "(x**2 + y**2)/30 - 2*exp(-((x - 2)**2 + (y + 1)**2)/1.5) + 1.2*exp(-((x + 1)**2 + (y - 0.5)**2)/1)",
    view: [0, 0, 5], start: [-4, 1.5], drawn: true,
  },
  diamonds: {
    title: "Diamonds",
    teaches: "A line through real diamonds: price ≈ m · carat + b, standardized. Flip the sign, as a published tutorial did, and climb.",
    text: "mean((m*carat + b - price)**2)", names: ["m", "b"], view: [0.3, 0, 1.7], start: [-0.9, 0.7], rows: true,
    knobs: [{ name: "flip", label: "flip the gradient's sign", check: true, value: 0 }],
  },
  matrix: {
    title: "A 2 × 2 matrix",
    teaches: "The weights are a matrix; the map shows its first row. Muon steps by the same length in every direction of the matrix.",
    text: "((a - 2)**2 + 9*(b + 1)**2 + 3*(c - 1)**2 + (d + 2)**2 + (a*d - b*c + 3)**2 / 4) / 2", names: ["a", "b", "c", "d"],
    shape: [2, 2], view: [0, 0, 4.5], start: [-3, 2, 2, 1],
  },
};

// A landscape in a state: its text, names, constants, view, all settled.
export function settled(state, data) {
  const land = LANDSCAPES[state.land] ?? ravine;
  const knobs = Object.fromEntries((land.knobs ?? []).map((k) => [k.name, state.knobs[k.name] ?? k.value]));
  const names = land.names ?? ["x", "y"];
  const constants = land.rows ? standardized(data.diamonds) : land.constants?.(knobs) ?? {};
  const start = state.start?.length >= Math.min(2, names.length) ? [...state.start, ...land.start.slice(state.start.length)].slice(0, names.length) : land.start;
  return {
    ...land, knobs: land.knobs ?? [], set: knobs, names, constants, start,
    text: state.loss || land.text, shape: land.shape ?? [names.length],
    steps: state.steps ?? land.steps ?? 200,
    noise: land.rows ? 0 : state.noise ?? land.noise ?? 0, batch: land.rows ? state.batch : 0,
  };
}

function standardized({ carat, price }) {
  const scaled = (values) => {
    const middle = values.reduce((a, b) => a + b) / values.length;
    const spread = Math.sqrt(values.reduce((a, b) => a + (b - middle) ** 2, 0) / values.length);
    return values.map((x) => (x - middle) / spread);
  };
  return { carat: scaled(carat), price: scaled(price) };
}
