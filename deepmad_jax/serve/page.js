// Sliders and text fields -> one design at a time, the newest wish first; then the points around it.

const FIELDS = ["macs", "params", "rho", "block", "resolution", "classes"];
const RANGES = { macs: [1e7, 2e10], params: [5e4, 2e8], rho: [0.02, 3], resolution: [32, 512] };
const UNITS = { k: 1e3, M: 1e6, G: 1e9 };
const MULTIPLES = [0.25, 0.5, 0.71, 1.41, 2, 4];

const at = (id) => document.getElementById(id);

// Positions of sliders are logarithms: every step changes a budget by the same share.
const valueAt = (name, position) => {
  const [low, high] = RANGES[name];
  const value = low * (high / low) ** (position / 1000);
  return name === "resolution" ? String(Math.round(value / 16) * 16) : short(value);
};

const positionOf = (name, value) => {
  const [low, high] = RANGES[name];
  return Math.round((1000 * Math.log(value / low)) / Math.log(high / low));
};

function short(value) {
  const unit = Object.keys(UNITS).findLast((letter) => value >= UNITS[letter]) ?? "";
  return `${Number((value / (UNITS[unit] ?? 1)).toPrecision(3))}${unit}`;
}

// What the slider needs of a text; the server reads it in full, and says what is wrong with it.
function numberOf(text) {
  const found = text.trim().match(/^([0-9.]+(?:e[0-9]+)?)\s*([kMG]?)$/);
  return found ? Number(found[1]) * (UNITS[found[2]] ?? 1) : NaN;
}

const wish = () => Object.fromEntries(FIELDS.map((name) => [name, at(name).value.trim()]));

async function ask(path, fields) {
  const answer = await fetch(`${path}?${new URLSearchParams(fields)}`);
  const found = await answer.json();
  return answer.ok || found.error ? found : { error: `The server said ${answer.status}.` };
}

let wanted = 0; // counts the wishes, so that an answer knows whether it is still wanted
let busy = false;

async function update() {
  wanted += 1;
  const fields = wish();
  history.replaceState(null, "", `#${new URLSearchParams(fields)}`);
  at("command").textContent = `deepmad design ${FIELDS.map((name) => `--${name} ${fields[name]}`).join(" ")}`;
  if (busy) return; // the one that is working sees that more is wanted
  busy = true;
  try {
    for (let done = 0; done !== wanted; ) {
      done = wanted;
      await show(wish(), done);
    }
  } catch (error) {
    tell(`The server does not answer (${error.message}). Is deepmad serve still running?`, true);
  } finally {
    busy = false;
  }
}

async function show(fields, number) {
  const began = performance.now();
  const found = await ask("design", fields);
  if (found.error) return tell(found.error, true);
  at("network").innerHTML = found.network;
  for (const [title, table] of Object.entries(found.tables)) {
    const place = at(title.split(",")[0]);
    if (place) place.innerHTML = table;
  }
  const seconds = (performance.now() - began) / 1000;
  tell(`Designed and drawn in ${seconds.toFixed(2)} s.`, false);
  document.body.dataset.shown = new URLSearchParams(fields);
  await around(fields, found, number);
}

function tell(text, refused) {
  at("status").textContent = text;
  at("status").className = refused ? "refused" : "";
  at("result").className = refused ? "stale" : "";
}

async function around(fields, found, number) {
  const curves = { macs: [[1, found.objective]], params: [[1, found.objective]] };
  draw(curves);
  for (const multiple of MULTIPLES) {
    for (const name of ["macs", "params"]) {
      if (number !== wanted) return;
      const budget = numberOf(fields[name]) * multiple;
      if (!Number.isFinite(budget)) continue; // no budget, or none the slider understands
      const point = await ask("point", { ...fields, [name]: budget });
      if (point.objective == null || number !== wanted) continue;
      curves[name].push([multiple, point.objective]);
      curves[name].sort((a, b) => a[0] - b[0]);
      draw(curves);
    }
  }
  document.body.dataset.around = new URLSearchParams(fields);
}

// Multiples of a budget, in octaves, to the right; objective, linear, upwards.
function draw(curves) {
  const values = Object.values(curves).flat().map((point) => point[1]);
  const low = Math.min(...values), high = Math.max(...values, low + 1e-9 * Math.abs(low) + 1e-9);
  const x = (multiple) => 230 + 85 * Math.log2(multiple);
  const y = (value) => 205 - (185 * (value - low)) / (high - low);
  const made = [0.25, 0.5, 1, 2, 4].map(
    (m) => `<line class="grid" x1="${x(m)}" x2="${x(m)}" y1="14" y2="212"/>
      <text x="${x(m)}" y="228" text-anchor="middle">× ${m}</text>`,
  );
  for (const value of [low, high]) {
    made.push(`<text x="52" y="${y(value) + 4}" text-anchor="end">${Math.round(value).toLocaleString("en")}</text>`);
  }
  for (const [name, points] of Object.entries(curves)) {
    const line = points.map(([m, value]) => `${x(m)},${y(value)}`).join(" ");
    made.push(`<polyline class="${name}" points="${line}"/>`);
    for (const [m, value] of points) {
      const cls = m === 1 ? "here" : name;
      made.push(`<circle class="${cls}" cx="${x(m)}" cy="${y(value)}" r="${m === 1 ? 5 : 3.5}"/>`);
    }
  }
  at("frontier").innerHTML = made.join("\n");
}

function takeOver(name) {
  const value = numberOf(at(name).value);
  if (Number.isFinite(value)) at(`${name}-slider`).value = positionOf(name, value);
}

for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (FIELDS.includes(name)) at(name).value = value;
}
for (const name of FIELDS) {
  const slider = at(`${name}-slider`);
  if (slider) {
    takeOver(name);
    slider.addEventListener("input", () => {
      at(name).value = valueAt(name, Number(slider.value));
      update();
    });
  }
  at(name).addEventListener("change", () => {
    if (slider) takeOver(name);
    update();
  });
}
at("budgets").addEventListener("submit", (event) => event.preventDefault());
update();
