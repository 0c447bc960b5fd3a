// Two cells side by side: one control an axis for each, one timestep and one display for both.

const data = JSON.parse(document.getElementById("data").textContent);
const indexOf = new Map(data.cells.map((cell, index) => [cell.path, index]));
const SIDES = ["a", "b"];
const LAST = -1; // the timestep of the final image
const state = { a: null, b: null, t: LAST, display: data.displays[0] };
const decoded = new Map(); // a sheet's address -> its bytes
const varying = data.axes.filter((axis) => axis.values.length > 1 || data.cells.some((cell) => cell.at[axis.index] === null));
const sliders = new Set(["steps", "nfe"]);
const byId = (id) => document.getElementById(id);
const cellOf = (side) => data.cells[indexOf.get(state[side])];
const picturesOf = (side) => data.sprites[state[side]];

// ---------------------------------------------------------------- which cell

// The values that an axis can have, given those of the axes before it.
function choices(cell, axis) {
  const before = varying.slice(0, varying.indexOf(axis));
  const fits = data.cells.filter((other) => before.every(({ index }) => other.at[index] === cell.at[index]));
  const found = new Set(fits.map((other) => other.at[axis.index]));
  return [...axis.values.keys(), null].filter((value) => found.has(value));
}

// The cell with this value on an axis that is most like the one before: earlier axes count for more.
function nearest(cell, axis, value) {
  const before = varying.slice(0, varying.indexOf(axis));
  const after = varying.slice(varying.indexOf(axis) + 1);
  const fits = data.cells.filter((other) => before.every(({ index }) => other.at[index] === cell.at[index]) && other.at[axis.index] === value);
  const likeness = (other) => after.map(({ index }) => (other.at[index] === cell.at[index] ? 1 : 0)).join("");
  return fits.reduce((best, other) => (likeness(other) > likeness(best) ? other : best));
}

function labelOf(axis, value) {
  return value === null ? "–" : axis.values[value];
}

function control(side, axis) {
  const cell = cellOf(side);
  const values = choices(cell, axis);
  const label = document.createElement("label");
  const id = `${side}-${axis.name}`;
  label.htmlFor = id;
  label.textContent = axis.title;
  let input;
  if (sliders.has(axis.name) && values.length > 2 && !values.includes(null)) {
    input = document.createElement("input");
    input.type = "range";
    Object.assign(input, { min: 0, max: values.length - 1, step: 1 });
    input.value = values.indexOf(cell.at[axis.index]);
    input.setAttribute("aria-valuetext", labelOf(axis, cell.at[axis.index]));
  } else {
    input = document.createElement("select");
    for (const value of values) input.add(new Option(labelOf(axis, value), value, false, value === cell.at[axis.index]));
    input.disabled = values.length < 2;
  }
  input.id = id;
  input.addEventListener(input.type === "range" ? "input" : "change", () => {
    const value = input.type === "range" ? values[Number(input.value)] : values[input.selectedIndex];
    place(side, nearest(cellOf(side), axis, value).path, id);
  });
  const said = document.createElement("output");
  if (input.type === "range") said.textContent = labelOf(axis, cell.at[axis.index]);
  const part = document.createElement("div");
  part.className = "control";
  part.append(label, input, said);
  return part;
}

// Put a cell into a side. focused: the control that did it, which keeps the focus as it is made anew.
function place(side, path, focused) {
  state[side] = path;
  render();
  if (focused) byId(focused)?.focus();
  else byId("said").textContent = `${side.toUpperCase()} shows ${cellOf(side).name}.`;
}

function target() {
  return document.querySelector("input[name=target]:checked").value;
}

// ---------------------------------------------------------------- pictures

async function bytesOf(sheet) {
  if (!decoded.has(sheet.src)) {
    const image = new Image();
    image.src = sheet.src;
    decoded.set(sheet.src, image.decode().then(() => {
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    }));
  }
  return decoded.get(sheet.src);
}

function hasFilm(pictures) {
  return pictures?.film?.timesteps !== undefined;
}

// Which state of a film is shown at t: the last one that the chain has reached by then.
function stateAt(film, t) {
  let found = 0;
  film.timesteps.forEach((time, index) => {
    if (time >= t) found = index;
  });
  return found;
}

// Raw values of an image to 0..255, as evaluation/displays.py does.
function displayed(raw, display) {
  let low = -1;
  let high = 1;
  if (display === "minmax") {
    low = Math.min(...raw);
    high = Math.max(...raw);
  }
  return raw.map((value) => (Math.min(Math.max(value, low), high) - low) / (high - low || 1) * 255);
}

async function drawPictures(side) {
  const canvas = byId(`canvas-${side}`);
  const pictures = picturesOf(side);
  const path = state[side];
  if (!pictures) return;
  const film = hasFilm(pictures) && state.t !== LAST;
  const sheet = film ? pictures.film : pictures.last;
  const column = film ? stateAt(pictures.film, state.t) : 0;
  const page = await bytesOf(sheet);
  if (state[side] !== path) return; // another was chosen meanwhile
  const { n, channels, height, width } = pictures;
  const across = Math.min(n, 4);
  const gap = 1;
  canvas.width = across * (width + gap) - gap;
  canvas.height = Math.ceil(n / across) * (height + gap) - gap;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const [low, high] = sheet.ranges[column];
  for (let index = 0; index < n; index += 1) {
    const raw = [];
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const at = ((index * height + y) * page.width + column * width + x) * 4;
        for (let c = 0; c < channels; c += 1) raw.push(low + (page.data[at + c] / 255) * (high - low));
      }
    }
    const values = displayed(raw, state.display);
    const tile = context.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel += 1) {
      for (let c = 0; c < 3; c += 1) tile.data[pixel * 4 + c] = values[pixel * channels + (channels === 1 ? 0 : c)];
      tile.data[pixel * 4 + 3] = 255;
    }
    context.putImageData(tile, (index % across) * (width + gap), Math.floor(index / across) * (height + gap));
  }
  const when = film ? `t = ${pictures.film.timesteps[column]}` : "final images";
  canvas.setAttribute("aria-label", `The first ${n} samples of ${cellOf(side).name}: ${when}, ${state.display} display`);
  byId(`when-${side}`).textContent = whenText(side, pictures, film ? pictures.film.timesteps[column] : LAST);
}

function whenText(side, pictures, t) {
  if (pictures.film?.left_out) return "Final images. The film of this cell was left out, to keep the page small; `make film SAMPLES=...` makes a GIF of it.";
  if (!hasFilm(pictures)) return "Final images: there is no chain here.";
  const first = pictures.film.timesteps[0];
  const waits = state.t > first ? ` (its chain begins at t = ${first})` : "";
  return t === LAST ? "Final images" : `t = ${t}${waits}`;
}

// ---------------------------------------------------------------- time

// The timesteps of both films, from the first to the final image.
function times() {
  const both = SIDES.flatMap((side) => (hasFilm(picturesOf(side)) ? picturesOf(side).film.timesteps : [LAST]));
  return [...new Set(both)].sort((x, y) => y - x);
}

function renderTime() {
  const every = times();
  const slider = byId("step");
  slider.max = every.length - 1;
  let at = every.findIndex((t) => t <= state.t);
  if (at < 0) at = every.length - 1;
  slider.value = at;
  const text = every[at] === LAST ? "final image" : `t = ${every[at]}`;
  slider.setAttribute("aria-valuetext", text);
  byId("step-said").textContent = text;
}

let playing = null;

function stop() {
  clearInterval(playing);
  playing = null;
  byId("play").textContent = "Play";
}

function play() {
  if (playing !== null) return stop();
  if (state.t === LAST) [state.t] = times();
  byId("play").textContent = "Pause";
  playing = setInterval(() => {
    const every = times();
    const next = every[every.findIndex((t) => t <= state.t) + 1];
    state.t = next === undefined ? LAST : next;
    if (state.t === LAST) stop();
    renderPictures();
  }, 200);
}

// ---------------------------------------------------------------- numbers

function renderNumbers() {
  const [a, b] = SIDES.map(cellOf);
  const reference = a.reference === null ? null : data.cells[a.reference];
  const body = byId("numbers").tBodies[0];
  body.replaceChildren();
  data.metrics.forEach((metric, index) => {
    const values = [a, b, reference].map((cell) => cell?.values[state.display]?.[index] ?? null);
    values.push(data.floors[state.display]?.[metric.name] ?? null);
    if (values.every((value) => value === null)) return;
    const row = body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = metric.word + (metric.lower === null ? "" : metric.lower ? " ↓" : " ↑");
    head.title = metric.meaning;
    row.append(head);
    for (const value of values) row.insertCell().textContent = value === null ? "–" : String(Number(value.toPrecision(3)));
  });
  byId("reference-name").textContent = reference === null ? "There is no chain of all steps to compare A with." : `Reference of A: ${reference.name}.`;
}

function renderContrast() {
  const [a, b] = SIDES.map((side) => indexOf.get(state[side]));
  const holder = byId("contrast");
  const about = data.contrasts.filter(({ strata }) => strata.some(([x, y]) => (x.includes(a) && y.includes(b)) || (x.includes(b) && y.includes(a))));
  holder.replaceChildren();
  for (const { claim, statement, verdict, evidence } of about) {
    const part = document.createElement("p");
    const word = document.createElement("span");
    word.className = `verdict ${verdict}`;
    word.textContent = verdict;
    part.append(word, ` ${claim}: ${statement} ${evidence}`);
    holder.append(part);
  }
  if (!about.length) holder.append(Object.assign(document.createElement("p"), { textContent: "No claim of this study is about these two." }));
}

// ---------------------------------------------------------------- all

function renderPictures() {
  renderTime();
  SIDES.forEach(drawPictures);
  writeAddress();
}

function render() {
  for (const side of SIDES) {
    byId(`controls-${side}`).replaceChildren(...varying.map((axis) => control(side, axis)));
    byId(`name-${side}`).textContent = cellOf(side).name;
    byId(`standing-${side}`).textContent = cellOf(side).standing;
  }
  renderNumbers();
  renderContrast();
  renderPictures();
}

function startExplorer() {
  readAddress();
  byId("step").addEventListener("input", (event) => {
    stop();
    state.t = times()[Number(event.target.value)];
    renderPictures();
  });
  byId("play").addEventListener("click", play);
  byId("display").addEventListener("change", (event) => {
    state.display = event.target.value;
    render();
  });
  byId("swap").addEventListener("click", () => {
    [state.a, state.b] = [state.b, state.a];
    render();
  });
  addEventListener("hashchange", () => readAddress() && render());
  render();
}
