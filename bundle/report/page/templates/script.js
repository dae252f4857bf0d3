"use strict";
// The viewer draws films in three planes; tables can be sorted and searched. Without this script the page is pictures
// and tables.
document.documentElement.classList.add("script");
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const HU_MIN = -1000, HU_RANGE = 1400, SIDE = 480;
// matplotlib's inferno at even steps, as the key of colours in the style sheet
const HEAT = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
const heat = (part) => {
  const at = Math.min(Math.max(part, 0), 1) * (HEAT.length - 1), k = Math.min(Math.floor(at), HEAT.length - 2);
  return HEAT[k].map((low, c) => low + (HEAT[k + 1][c] - low) * (at - k));
};
const COLORS = Array.from({ length: 256 }, (_, i) => heat(i / 255));

// of one nodule: its facts, and its films by kind and method, decoded when they are first looked at
function openNodule(anchor) {
  const holder = document.querySelector(`noscript[data-nodule="${anchor}"]`);
  const films = new DOMParser().parseFromString(holder.textContent, "text/html");
  const decoded = new Map();
  const film = (kind, method) => {
    const key = `${kind} ${method}`;
    if (!decoded.has(key)) {
      const source = all("img", films).find((i) => i.dataset.kind === kind && i.dataset.method === method);
      decoded.set(key, source ? decode(source.getAttribute("src")) : Promise.resolve(null));
    }
    return decoded.get(key);
  };
  return { facts: JSON.parse(holder.dataset.facts), film };
}

async function decode(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data, width } = context.getImageData(0, 0, canvas.width, canvas.height);
  return { data, width };
}

// a view as a radiologist has it: axial with anterior up, the others with superior up
function geometry(facts, axis) {
  const [columns, rows] = [0, 1, 2].filter((i) => i !== axis);
  const mm = (i) => facts.size[i] * facts.spacing[i];
  return { columns: facts.size[columns], rows: facts.size[rows], ratio: mm(columns) / mm(rows) };
}

function voxel(facts, axis, index, column, row) {
  if (axis === 2) return [column, row, index];
  const z = facts.size[2] - 1 - row;
  return axis === 1 ? [column, index, z] : [index, column, z];
}

const value = (film, facts, [x, y, z]) => film.data[4 * (y * film.width + z * facts.size[0] + x)];

function paint(canvas, facts, axis, index, colour, outlines) {
  const { columns, rows, ratio } = geometry(facts, axis);
  const scale = Math.max(1, Math.ceil(SIDE / Math.max(columns, rows)));
  const small = new OffscreenCanvas(columns, rows), pen = small.getContext("2d");
  const picture = pen.createImageData(columns, rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = 4 * (row * columns + column);
      picture.data.set([...colour(voxel(facts, axis, index, column, row)), 255], at);
    }
  }
  pen.putImageData(picture, 0, 0);
  [canvas.width, canvas.height] = [columns * scale, rows * scale];
  canvas.style.aspectRatio = ratio;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  for (const { film, style, width } of outlines) {
    const within = (column, row) => column >= 0 && row >= 0 && column < columns && row < rows;
    const inside = (column, row) =>
      within(column, row) && value(film, facts, voxel(facts, axis, index, column, row)) > 127;
    context.beginPath();
    for (let row = 0; row <= rows; row++) {
      for (let column = 0; column <= columns; column++) {
        const here = inside(column, row), [x, y] = [column * scale, row * scale];
        if (here !== inside(column - 1, row)) { context.moveTo(x, y); context.lineTo(x, y + scale); }
        if (here !== inside(column, row - 1)) { context.moveTo(x, y); context.lineTo(x + scale, y); }
      }
    }
    [context.strokeStyle, context.lineWidth] = [style, width];
    context.stroke();
  }
}

function startViewer(viewer) {
  const find = (selector) => viewer.querySelector(selector);
  const planes = all(".plane", viewer).map((box) => ({ box, axis: Number(box.dataset.axis), slider: box.querySelector(".slider") }));
  const look = getComputedStyle(document.documentElement);
  const waiting = new Set();
  let nodule = null, turn = 0;

  function chosen() {
    const ticked = all("input[name=method]:checked", viewer);
    const methods = ticked.map((box) => ({ name: box.value, label: box.dataset.label }));
    return [{ name: "truth", label: "truth" }, { name: "observed", label: "observed slices only" }, ...methods];
  }

  // what a panel shows: a colour for each voxel, and words if it has nothing to show
  async function panel({ name }, mode) {
    const { facts, film } = nodule;
    const truth = await film("image", "truth");
    const [level, width] = [Number(find("#level").value), Number(find("#width").value)];
    const grey = (byte) => {
      const hu = HU_MIN + (byte / 255) * HU_RANGE, shown = (255 * (hu - level + width / 2)) / width;
      return [shown, shown, shown];
    };
    const own = name === "truth" || name === "observed" ? truth : await film("image", name);
    if (name === "observed") {
      const seen = new Set(facts.observed);
      return { colour: (at) => (seen.has(at[facts.axis]) ? grey(value(truth, facts, at)) : [31, 78, 121]), words: "" };
    }
    if (mode === "image" || name === "truth") {
      const words = own ? "" : "mask only, on the truth";
      return { colour: (at) => grey(value(own ?? truth, facts, at)), words };
    }
    const expected = mode === "error" ? await film("error", name) : null;
    if (mode === "error" ? !expected : !own) {
      return { colour: () => [128, 128, 128], words: mode === "error" ? "expects no error" : "gives a mask only" };
    }
    if (expected) return { colour: (at) => COLORS[value(expected, facts, at)], words: "" };
    const most = facts.limit / (HU_RANGE / 255);
    const off = (at) => Math.abs(value(own, facts, at) - value(truth, facts, at));
    return { colour: (at) => heat(off(at) / most), words: "" };
  }

  async function draw(only = planes) {
    const mine = ++turn, { facts, film } = nodule, mode = find("input[name=mode]:checked").value;
    for (const plane of only) waiting.add(plane);
    viewer.dataset.drawing = mine;
    const filled = async (one) => ({ ...one, ...(await panel(one, mode)), mask: await film("mask", one.name) });
    const panels = await Promise.all(chosen().map(filled));
    const consensus = await film("mask", "truth");
    if (mine !== turn) return; // a later call draws what waits
    for (const { box, axis, slider } of waiting) {
      const index = Number(slider.value);
      const where = box.querySelector(".where"), z = ((index + facts.start[axis]) * facts.spacing[axis]).toFixed(1);
      const seen = facts.observed.includes(index) ? ", observed" : ", not observed";
      const state = axis === facts.axis ? seen : "";
      where.textContent = `${index + 1} of ${facts.size[axis]}, ${"xyz"[axis]} = ${z} mm${state}`;
      slider.setAttribute("aria-valuetext", where.textContent);
      const places = box.querySelector(".panels");
      while (places.children.length > panels.length) places.lastChild.remove();
      while (places.children.length < panels.length) places.append(emptyPanel());
      panels.forEach((one, i) => {
        const figure = places.children[i], canvas = figure.querySelector("canvas");
        figure.querySelector("figcaption").textContent = one.words ? `${one.label}: ${one.words}` : one.label;
        canvas.setAttribute("aria-label", `${one.label}, ${box.textContent.trim().split(" ")[0]}, ${where.textContent}`);
        const outlines = [];
        if (find("#outlines").checked) {
          outlines.push({ film: consensus, style: look.getPropertyValue("--consensus"), width: 7 });
          const own = one.name === "truth" ? null : one.mask;
          if (own) outlines.push({ film: own, style: look.getPropertyValue("--outline"), width: 3 });
        }
        paint(canvas, facts, axis, index, one.colour, outlines);
      });
    }
    waiting.clear();
    find("#window-text").textContent = `${find("#level").value}, ${find("#width").value} HU`;
    const key = find(".heat");
    key.hidden = mode === "image";
    key.querySelector("b").textContent = facts.limit;
    viewer.dataset.drawn = mine;
  }

  function emptyPanel() {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    figure.append(document.createElement("figcaption"), canvas);
    return figure;
  }

  function take(anchor) {
    nodule = openNodule(anchor);
    for (const { axis, slider } of planes) {
      slider.max = nodule.facts.size[axis] - 1;
      slider.value = nodule.facts.first[axis];
    }
    draw();
  }

  find("#nodule").addEventListener("change", (event) => take(event.target.value));
  for (const plane of planes) plane.slider.addEventListener("input", () => draw([plane]));
  for (const input of all("input:not(.slider)", viewer)) {
    input.addEventListener("input", () => {
      if (input.name === "window") [find("#level").value, find("#width").value] = input.value.split(",");
      if (input.id === "level" || input.id === "width") {
        const now = `${find("#level").value},${find("#width").value}`;
        for (const preset of all("input[name=window]", viewer)) preset.checked = preset.value === now;
      }
      draw();
    });
  }
  // a finger or the mouse goes sideways through the slices; up and down still moves the page
  for (const plane of planes) {
    const panels = plane.box.querySelector(".panels");
    let from = null;
    panels.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, value: Number(plane.slider.value) };
    });
    panels.addEventListener("pointermove", (event) => {
      if (!from || !event.buttons) return;
      const wanted = String(Math.round(from.value + (event.clientX - from.x) / 6));
      const before = plane.slider.value;
      plane.slider.value = wanted;
      if (plane.slider.value !== before) draw([plane]);
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) panels.addEventListener(end, () => { from = null; });
  }
  take(find("#nodule").value);
}

// a column's head sorts its table: numbers by their size, others as words
function sortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
      const key = (row) => {
        const words = row.cells[column].textContent.replace("−", "-");
        const number = parseFloat(words.replace(/^[<>≥ =+]+/, ""));
        return Number.isNaN(number) ? words : number;
      };
      // what is no number stays below numbers
      const order = (a, b) => (typeof a === typeof b ? down * (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
      body.append(...[...body.rows].map((row) => [key(row), row]).sort(([a], [b]) => order(a, b)).map(([, row]) => row));
      table.classList.add("sorted");
    });
  });
}

function searchable(figure) {
  const rows = [...figure.querySelector("tbody").rows];
  if (rows.length < 9) return;
  const label = document.createElement("label"), input = document.createElement("input");
  input.type = "search";
  label.className = "search";
  label.append("find ", input);
  figure.querySelector("figcaption").after(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  });
}

// a link into what is folded opens it
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
}

for (const figure of all("figure.table")) {
  sortable(figure.querySelector("table"));
  searchable(figure);
}
addEventListener("hashchange", openTarget);
openTarget();
const viewer = document.getElementById("compare");
if (viewer) startViewer(viewer);
