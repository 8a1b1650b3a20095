// Random numbers by counting, bit for bit those of ravine/draws.py: of seed, t, stream and place.

const WORD = (1n << 64n) - 1n, SPREAD = 0x9e3779b97f4a7c15n, STEP = 0xd1b54a32d192ed03n, STREAMS = 0xa0761d6478bd642fn;

function mixed(key) {
  for (const [shift, multiplier] of [[30n, 0xbf58476d1ce4e5b9n], [27n, 0x94d049bb133111ebn], [31n, 1n]]) key = ((key ^ (key >> shift)) * multiplier) & WORD;
  return key;
}

const known = new Map();
function keys(seed, t, stream) {
  const name = `${seed} ${t} ${stream}`;
  if (!known.has(name)) {
    if (known.size > 20_000) known.clear();
    const noise = mixed((BigInt(seed) * SPREAD + BigInt(t) * STEP) & WORD), tensor = mixed(noise ^ STREAMS);
    known.set(name, [0n, 1n].map((half) => {
      const key = mixed((tensor + (2n * BigInt(stream) + half) * SPREAD) & WORD);
      return [Number(key & 0xffffffffn), Number(key >> 32n)];
    }));
  }
  return known.get(name);
}

function bits(place, [low, high]) {
  let x = place ^ low;
  for (const added of [0, high]) {
    x = (x + added) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x ^= x >>> 16;
  }
  return x >>> 0;
}

export function uniform(seed, t, stream, place) {
  const [first, second] = keys(seed, t, stream).map((key) => bits(place, key) >>> 6);
  return (first * 2 ** 26 + second + 0.5) * 2 ** -52;
}

// Wichura, 1988 (Algorithm AS 241, PPND16), and fdlibm's logarithm; see ravine/draws.py.
const CENTRE = [
  [3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125, 45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727],
  [1, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867, 39307.89580009271061, 28729.085735721942674, 5226.495278852854561],
];
const TAIL = [
  [
    [1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504, 1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4],
    [1, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459, 0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9],
  ],
  [
    [6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123, 0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5, 2.01033439929228813265e-7],
    [1, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525, 7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15],
  ],
];
const LOG = [0.6666666666666735130, 0.3999999999940941908, 0.2857142874366239149, 0.2222219843214978396, 0.1818357216161805012, 0.1531383769920937332, 0.1479819860511658591];
const WEIGHTS = [6.9314718036912381649e-1, 1.90821492927058770002e-10];

const polynomial = (list, x) => list.reduceRight((sum, k) => sum * x + k);
const ratio = ([above, below], x) => polynomial(above, x) / polynomial(below, x);

export function normal(seed, t, stream, place) {
  const u = uniform(seed, t, stream, place), q = u - 0.5, r = 0.180625 - q * q;
  if (!(r < 0)) return q * ratio(CENTRE, r);
  const left = q < 0, s = root(0 - logarithm(left ? u : 1 - u));
  const far = s > 5 ? ratio(TAIL[1], s - 5) : ratio(TAIL[0], s - 1.6);
  return left ? 0 - far : far;
}

// Of a number between 0 and 1/2.
function logarithm(x) {
  let e = 0, m = x;
  while (m < 0.5) {
    m *= 2;
    e--;
  }
  if (m < Math.sqrt(0.5)) {
    m += m;
    e--;
  }
  const f = m - 1, s = f / (m + 1), z = s * s;
  m = s * 2 + s * (z * polynomial(LOG, z));
  return e * WEIGHTS[0] + (e * WEIGHTS[1] + m);
}

function root(x) {
  let y = x * 0.14 + 1.4;
  for (let k = 0; k < 4; k++) y = (x / y + y) * 0.5;
  return y;
}
