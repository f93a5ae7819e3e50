// The page of the live view and of the report. All texts go into the document as text, never as markup.
"use strict";

const MAX_DRAWN = 100; // Runs with curves at once.
const DRAWN_AT_FIRST = 5;
const MAX_DETAILED = 6; // Runs whose histograms, images and texts are shown at once.
const MAX_COMPARED = 12;
const MAX_UNSEARCHED = 20; // Boxes of a menu without a field to look for one.
const MAX_DASHED = 30; // Dashes of more lines tell nothing apart, and take ten times as long to draw.
const MAX_ADDRESS = 20000; // Letters of names in it.
const ROWS_AT_ONCE = 150;
const VERTICES = 15000; // So many are drawn within a tenth of a second.
const POLL_MILLISECONDS = 500;
const COLORS = ["#3b82f6", "#f97316", "#16a34a", "#dc2626", "#9333ea", "#0891b2", "#ca8a04", "#db2777", "#65a30d", "#64748b"];
const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3], [12, 4]];

const $ = (id) => document.getElementById(id);

// A run may be called "constructor".
const entry = (object, key) => (object && Object.hasOwn(object, key) ? object[key] : null);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// What is shown, also in the address, so that a link leads to it.

const INITIAL = { run: [], tag: null, column: null, sort: "name", filter: "", x: "step", smooth: 0, logx: "", logy: "", over: "" };
const state = { ...INITIAL };
const LISTS = ["run", "tag", "column"];
let wasChosen = false; // Whether the address or somebody has chosen runs, if only to leave them all.

function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, INITIAL, table.state);
  for (const key of Object.keys(state)) {
    if (!query.has(key)) continue;
    state[key] = LISTS.includes(key) ? query.getAll(key).filter(Boolean) : query.get(key);
  }
  wasChosen = query.has("run") || state.run.length > 0;
}

// What an address names may no longer be there.
function settle() {
  state.column ??= table.columns.filter((column) => column.shown).map((column) => column.name);
  state.tag ??= table.informative.slice(0, 2);
  state.smooth = Math.max(0, Math.min(table.smoothing.length - 1, Math.round(state.smooth) || 0));
  if (!axes().includes(state.x)) state.x = axes()[0];
  if (!Object.hasOwn(table.groups, state.over)) state.over = "";
}

const axes = () => table.x ?? ["step", "time", ...(embedded ? [] : table.tags)];

function writeAddress() {
  const shown = Object.entries(state).filter(([key, value]) => value && (wasChosen || key !== "run"));
  const query = toQuery(shown.map(([key, value]) => [key, value.length === 0 ? "" : value]));
  history.replaceState(null, "", `#${query}`);
}

const toQuery = (entries) => new URLSearchParams(entries.flatMap(([key, value]) => [value].flat().map((item) => [key, item])));

// Where it comes from: the server of the live view, or what the report holds.

const embedded = $("data").textContent.trim();
let store = null;

async function ask(path, query = {}) {
  if (!embedded) {
    const response = await fetch(`${path}?${toQuery(Object.entries(query))}`);
    if (!response.ok) throw new Error(`${response.status}`);
    return response.json();
  }
  if (!store) {
    const stream = new Blob([bytesOf(embedded)]).stream().pipeThrough(new DecompressionStream("gzip"));
    store = await new Response(stream).json();
  }
  if (path === "table") return store.table;
  if (path === "details") return entry(store.details, query.run) ?? {};
  const found = (run) => entry(store.means, query.over)?.[groupOf(run)] ?? entry(store.curves, run);
  return Object.fromEntries(query.run.map((run) => [run, found(run) ?? {}]));
}

// Browsers before 2026 have no `fromBase64`.
const bytesOf = (text) => Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floats = (text) => new Float32Array(bytesOf(text).buffer);
const doubles = (text) => new Float64Array(bytesOf(text).buffer);

// The table

let table;
let positions = new Map(); // Of columns and of runs, by their names.
let places = new Map();
let visible = []; // The runs that pass the filter, in order.
let shownRows = ROWS_AT_ONCE;
let chosenRuns = new Set();
const slots = new Map(); // The colour of each line that is drawn, which it keeps.

const collator = new Intl.Collator(undefined, { numeric: true });
const isNotFinite = (value) => ["nan", "inf", "-inf"].includes(value);
const valueOf = (run, column) => entry(table.rows, run)?.[positions.get(column)] ?? null;
const groupOf = (run) => table.groups[state.over]?.[places.get(run)];

function take(answer) {
  if (!answer.columns) return false;
  table = { ...answer, rows: { ...table.rows, ...answer.rows } };
  positions = new Map(table.columns.map((column, index) => [column.name, index]));
  places = new Map(table.order.map((run, index) => [run, index]));
  settle();
  return true;
}

// The filter: an expression, which the server of the live view evaluates, or a text to look for.

let passing = null; // The runs that pass; null if there is no filter.
let filtering = 0;
const isExpression = (text) => /[<>=!()[\]+*%]|\b(and|or|not|in)\b/.test(text);

async function filter() {
  const own = ++filtering;
  const text = state.filter.trim();
  let answer = {};
  if (isExpression(text)) {
    answer = embedded ? { error: "A report is searched for text alone. For an expression, write the report with --where, or use fifteen view." }
      : await ask("where", { expression: text });
    if (own !== filtering) return;
  } else if (text) {
    const wanted = text.toLowerCase();
    answer.runs = table.order.filter((run) => table.rows[run].some((value) => value !== null && String(value).toLowerCase().includes(wanted)));
  }
  $("mistake").textContent = answer.error ?? "";
  $("filter").ariaInvalid = "error" in answer;
  if (!answer.error) passing = text ? new Set(answer.runs) : null;
  renderTable();
}

function arrange() {
  const name = state.sort.replace(/^-/, "");
  const direction = state.sort.startsWith("-") ? -1 : 1;
  const rank = (value) => (value === null || isNotFinite(value) ? 2 : typeof value === "number" ? 0 : 1);
  const keyed = table.order.filter((run) => !passing || passing.has(run)).map((run) => [run, name === "name" ? places.get(run) : valueOf(run, name)]);
  keyed.sort(([, a], [, b]) => {
    const [first, second] = [rank(a), rank(b)];
    if (first !== second || first === 2) return first - second;
    return direction * (first === 0 ? a - b : collator.compare(a, b));
  });
  visible = keyed.map(([run]) => run);
}

function show(value, column) {
  if (value === null) return "–";
  if (typeof value !== "number") return String(value);
  if (column === "changed") return age(value);
  if (column === "progress") return `${Math.floor(100 * value)} %`;
  if (column === "size") return bytes(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

function age(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (passed >= length) return `${Math.floor(passed / length)} ${unit} ago`;
  }
  return `${Math.floor(passed)} s ago`;
}

function bytes(size) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) return `${unit === "B" ? size : size.toFixed(1)} ${unit}`;
    size /= 1024;
  }
  return `${size.toFixed(1)} TiB`;
}

function heading(name) {
  const [, path = "", rest] = /^(.*[./])?([^./]*)$/s.exec(name.replace(/:last$/, ""));
  return [make("span", { className: "path" }, path), rest];
}

function renderHead() {
  const text = `Choose the first ${MAX_DRAWN} runs of the table, or none`;
  const all = make("input", { type: "checkbox", title: text, ariaLabel: text });
  all.onchange = () => choose(all.checked ? visible.slice(0, MAX_DRAWN) : []);
  const cells = [make("th", { className: "check" }, all)];
  for (const column of shownColumns()) {
    const button = make("button", { type: "button", title: column.name }, ...heading(column.name));
    const order = state.sort === column.name ? "ascending" : state.sort === `-${column.name}` ? "descending" : "none";
    if (order !== "none") button.append(order === "ascending" ? " ▲" : " ▼");
    button.onclick = () => {
      state.sort = state.sort === column.name ? `-${column.name}` : column.name;
      shownRows = ROWS_AT_ONCE;
      renderTable();
      $("scroll").scrollTop = 0;
      [...$("head").querySelectorAll("button")].find((other) => other.title === column.name)?.focus();
    };
    cells.push(make("th", { scope: "col", ariaSort: order }, button));
  }
  $("head").replaceChildren(make("tr", {}, ...cells));
}

const shownColumns = () => table.columns.filter((column) => state.column.includes(column.name));

function renderTable() {
  writeAddress();
  arrange();
  renderHead();
  const focused = document.activeElement?.closest?.("#rows tr")?.dataset.run;
  const columns = shownColumns();
  $("rows").replaceChildren(...visible.slice(0, shownRows).map((run) => row(run, columns)));
  if (visible.length > shownRows) {
    const end = make("tr", {}, make("td", { colSpan: columns.length + 1 }, `${visible.length - shownRows} more`));
    end.onclick = more;
    $("rows").append(end);
    watcher.observe(end);
  }
  if (focused) [...$("rows").children].find((other) => other.dataset.run === focused)?.querySelector("input").focus({ preventScroll: true });
  const total = table.order.length;
  const some = visible.length < total ? `${visible.length} of ` : "";
  $("count").textContent = `${some}${total} ${total === 1 ? "run" : "runs"}, ${state.run.length} chosen`;
}

function more() {
  if (visible.length <= shownRows) return;
  shownRows += ROWS_AT_ONCE;
  renderTable();
}

const watcher = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more());

function row(run, columns) {
  const box = make("input", { type: "checkbox", ariaLabel: `Choose ${run}` });
  const element = make("tr", {}, make("td", { className: "check" }, box));
  element.dataset.run = run;
  for (const column of columns) {
    const value = valueOf(run, column.name);
    const text = show(value, column.name);
    const cell = make("td", { title: column.name === "changed" && value ? new Date(value * 1000).toLocaleString() : String(value ?? "") }, text);
    if ((typeof value === "number" && column.name !== "changed") || isNotFinite(value)) cell.className = "number";
    if (value === null) cell.className = "missing";
    if (value === "unreadable" || (column.name === "status" && /^(failed|killed|diverged)/.test(text))) cell.className = "bad";
    element.append(cell);
  }
  mark(element, run);
  element.onclick = (event) => {
    if (event.target !== box) box.checked = !box.checked;
    choose(box.checked ? [...state.run, run] : state.run.filter((other) => other !== run));
  };
  return element;
}

function mark(element, run) {
  const [isChosen, line] = [chosenRuns.has(run), lineOf(run)];
  element.classList.toggle("chosen", isChosen);
  element.querySelector("input").checked = isChosen;
  // Also of a run that is not chosen, but counts in a mean that is drawn.
  element.querySelector("td").style.borderLeftColor = slots.has(line) ? colorOf(line) : "transparent";
}

function choose(runs) {
  chosenRuns = new Set(runs);
  state.run = [...chosenRuns];
  wasChosen ||= chosenRuns.size > 0;
  const lines = new Set(state.run.map(lineOf));
  for (const line of [...slots.keys()]) if (!lines.has(line)) slots.delete(line);
  const taken = new Set(slots.values());
  let next = 0;
  for (const line of lines) {
    if (slots.has(line)) continue;
    while (taken.has(next)) next++;
    slots.set(line, next++);
  }
  for (const element of $("rows").children) if (element.dataset.run) mark(element, element.dataset.run);
  $("count").textContent = $("count").textContent.replace(/\d+ chosen$/, `${state.run.length} chosen`);
  writeAddress();
  draw();
}

const colorOf = (line) => COLORS[slots.get(line) % COLORS.length];
const dashOf = (line) => (slots.size > MAX_DASHED ? [] : DASHES[Math.floor(slots.get(line) / COLORS.length) % DASHES.length]);

// The run whose name the line of a run has: itself, or the first of its group.
function lineOf(run) {
  const number = groupOf(run);
  return number === undefined ? run : table.order[table.groups[state.over].indexOf(number)];
}

// The curves

const cache = new Map();
const plots = new Map();
let plotsLook = "";
let xRange;
let drawing = 0;

function lines() {
  const known = state.run.filter((run) => places.has(run));
  return [...new Set(known.map(lineOf))].slice(0, MAX_DRAWN);
}

function labelsOf(runs) {
  const over = state.over;
  const fields = table.columns.filter((column) => column.kind === "field" && column.name !== over && (!over || column.name.split(".")[0] === over.split(".")[0]));
  const differing = fields.filter((column) => new Set(runs.map((run) => valueOf(run, column.name))).size > 1).slice(0, 4);
  const texts = runs.map((run) => differing.map((column) => `${column.name.split(".").pop()}=${show(valueOf(run, column.name))}`).join(", "));
  const isEnough = differing.length > 0 && differing.length < 4 && new Set(texts).size === runs.length;
  return runs.map((run, index) => {
    const count = membersOf(run).length;
    return (isEnough ? texts[index] : run) + (count > 1 ? ` (n=${count})` : "");
  });
}

// The runs whose mean is drawn under the name of a run.
function membersOf(run) {
  const number = groupOf(run);
  return number === undefined ? [run] : table.order.filter((_, index) => table.groups[state.over][index] === number);
}

function divergedOf(run) {
  const members = membersOf(run);
  const diverged = members.filter((member) => members.length > 1 && valueOf(member, "diverged_at") !== null);
  const texts = diverged.map((member) => `${member} (${state.over.split(".").pop()}=${show(valueOf(member, state.over))})`);
  return texts.length ? `: ${texts.join(", ")}` : "";
}

function pointsFor(count) {
  const wanted = VERTICES / Math.max(1, count * state.tag.length);
  return [1000, 500, 250, 125].find((points) => points <= wanted) ?? 60;
}

async function draw() {
  const own = ++drawing;
  const runs = lines();
  const tags = state.tag.filter((tag) => table.tags.includes(tag));
  const points = pointsFor(runs.length);
  const query = { points, over: state.over, x: state.x, ...zoom };
  const keyOf = (run, tag) => JSON.stringify([run, tag, query]);
  await Promise.all(tags.flatMap((tag) => parts(runs.filter((run) => !cache.has(keyOf(run, tag)))).map(async (run) => {
    const answer = await ask("curves", { run, tag, ...query });
    for (const name of run) cache.set(keyOf(name, tag), decoded(entry(entry(answer, name), tag)));
  })));
  if (own !== drawing) return;
  const curves = new Map(tags.map((tag) => [tag, runs.map((run) => cache.get(keyOf(run, tag)))]));
  const labels = labelsOf(runs);
  renderLegend(runs, labels, curves);
  renderPlots(runs, labels, curves);
  document.documentElement.dataset.drawn = own;
  renderDetails();
}

// An address has a largest length, and names may be long.
function parts(runs) {
  const longest = Math.max(...runs.map((run) => encodeURIComponent(run).length));
  const size = Math.ceil(MAX_ADDRESS / longest);
  return runs.flatMap((_, index) => (index % size ? [] : [runs.slice(index, index + size)]));
}

function decoded(curve) {
  if (!curve) return null;
  const x = Object.fromEntries(Object.entries(curve.x).map(([name, text]) => [name, doubles(text)]));
  return { ...curve, x, y: curve.y.map(floats), low: curve.low?.map(floats), high: curve.high?.map(floats) };
}

function renderLegend(runs, labels, curves) {
  const left = state.run.length - runs.length;
  const gone = state.run.filter((run) => !places.has(run)).length;
  $("hint").textContent = !table.order.length ? "There are no experiments here yet."
    : !state.run.length ? "Choose runs in the table to see their curves."
    : gone ? `${gone} of ${state.run.length} chosen runs ${gone > 1 ? "are" : "is"} not here, or no longer.`
    : !curves.size ? "Choose scalars to draw."
    : left > 0 && !state.over ? `The first ${MAX_DRAWN} of ${state.run.length} chosen runs are drawn.` : "";
  $("legend").replaceChildren(...runs.map((run, index) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: 24, y1: 6, y2: 6, stroke: colorOf(run), "stroke-width": 2.5, "stroke-dasharray": dashOf(run).join(" ") })) line.setAttribute(name, value);
    const key = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    key.setAttribute("width", 24);
    key.setAttribute("height", 12);
    key.append(line);
    const item = make("li", { title: run }, key, labels[index]);
    const diverged = [...curves.values()].map((list) => list[index]?.diverged).filter((at) => at !== null && at !== undefined);
    if (diverged.length) item.append(make("span", { className: "bad" }, ` diverged at ${Math.min(...diverged)}${divergedOf(run)}`));
    return item;
  }));
}

function renderPlots(runs, labels, curves) {
  const tags = runs.length ? [...curves.keys()] : [];
  const look = JSON.stringify([tags, state.logx, state.logy, state.x, isDark()]);
  if (look !== plotsLook) {
    plotsLook = look;
    // All plots have the same x axis. It shows all curves, until somebody zooms into one of them.
    xRange = new Bokeh.DataRange1d({ range_padding: 0.04 });
    xRange.change.connect(zoomed);
    plots.clear();
    for (const tag of tags) plots.set(tag, makePlot(tag));
    showFigures($("plots"), [...plots.values()].map(({ figure }) => figure));
  }
  for (const [tag, plot] of plots) fill(plot, runs, labels, curves.get(tag));
}

// Bokeh draws later on, perhaps when there are other figures already. So it draws into an element of its own.
function showFigures(host, figures) {
  const grid = make("div", { className: "grid" });
  host.replaceChildren(grid);
  if (figures.length) Bokeh.Plotting.show(figures, grid);
}

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function makeFigure(options) {
  const figure = Bokeh.Plotting.figure({ sizing_mode: "stretch_width", css_classes: ["plot"], ...options });
  const style = getComputedStyle(document.documentElement);
  const [text, faint, line] = ["--text", "--faint", "--line"].map((name) => style.getPropertyValue(name).trim());
  Object.assign(figure, { background_fill_color: null, border_fill_color: null, outline_line_color: line, min_border_right: 12 });
  figure.toolbar.logo = null;
  Object.assign(figure.title ?? {}, { text_color: text, text_font: "system-ui, sans-serif" });
  for (const axis of [...figure.xaxes, ...figure.yaxes]) {
    Object.assign(axis, { axis_label_text_color: faint, major_label_text_color: faint, axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null, axis_label_text_font_style: "normal" });
  }
  for (const grid of [...figure.xgrids, ...figure.ygrids]) grid.grid_line_color = line;
  return figure;
}

function makePlot(tag) {
  const figure = makeFigure({
    title: tag, height: 280, tools: "box_zoom,pan,wheel_zoom,reset,save", active_drag: "box_zoom", toolbar_location: "above",
    x_axis_type: state.logx ? "log" : "linear", y_axis_type: state.logy ? "log" : "linear",
    x_range: xRange, y_range: new Bokeh.Range1d({ start: 0, end: 1, reset_start: 0, reset_end: 1 }), x_axis_label: axisName(state.x),
  });
  const bands = new Bokeh.ColumnDataSource({ data: { xs: [], ys: [], color: [] } });
  figure.patches({ field: "xs" }, { field: "ys" }, { source: bands, fill_color: { field: "color" }, fill_alpha: 0.18, line_color: null });
  const source = new Bokeh.ColumnDataSource({ data: { xs: [], ys: [], color: [], dash: [], label: [] } });
  const renderer = figure.multi_line({ field: "xs" }, { field: "ys" }, {
    source, line_color: { field: "color" }, line_dash: { field: "dash" }, line_width: 1.6, line_join: "bevel",
  });
  const tooltips = [["run", "@label"], [axisName(state.x), "$snap_x{0.[000]}"], ["value", "$snap_y{0.[000000]}"]];
  figure.add_tools(new Bokeh.HoverTool({ renderers: [renderer], tooltips, line_policy: "nearest", point_policy: "snap_to_data", attachment: "horizontal" }));
  return { figure, source, bands };
}

const axisName = (x) => (x === "time" ? "seconds" : x);

let zoom = {}; // The part of the x axis whose points the live view has asked for.
let zoomTimer = 0;

function zoomed() {
  if (embedded) return;
  clearTimeout(zoomTimer);
  zoomTimer = setTimeout(() => {
    const { start, end } = xRange.have_updated_interactively ? xRange : {};
    if (start === zoom.start && end === zoom.end) return;
    zoom = start === undefined ? {} : { start, end };
    for (const key of [...cache.keys()]) if ("start" in JSON.parse(key)[2]) cache.delete(key);
    draw();
  }, 150);
}

function fill(plot, runs, labels, curves) {
  const data = { xs: [], ys: [], color: [], dash: [], label: [] };
  const bands = { xs: [], ys: [], color: [] };
  curves.forEach((curve, index) => {
    if (!curve) return;
    const x = drawable(curve.x[state.x], state.logx);
    const yOf = (values) => drawable(values[state.smooth], state.logy);
    data.xs.push(x);
    data.ys.push(yOf(curve.y));
    data.color.push(colorOf(runs[index]));
    data.dash.push(dashOf(runs[index]));
    data.label.push(labels[index]);
    if (curve.low) {
      bands.xs.push([...x, ...[...x].reverse()]);
      bands.ys.push([...yOf(curve.low), ...[...yOf(curve.high)].reverse()]);
      bands.color.push(colorOf(runs[index]));
    }
  });
  plot.bands.data = bands;
  plot.source.data = data;
  setRangeOfY(plot, rangeOfY(curves.filter(Boolean)));
}

const drawable = (values, isLog) => (isLog ? values.map((value) => (value > 0 ? value : NaN)) : values);

function rangeOfY(curves) {
  const known = curves.filter((curve) => curve.limits);
  if (!known.length) return [0.001, 1];
  const top = ({ limits }) => Math.max(...limits.map(Math.abs));
  const usual = known.map(top).sort((a, b) => a - b)[Math.floor((known.length - 1) / 2)];
  // A mean goes on without a run that is no longer finite.
  const good = known.filter((curve) => (curve.low || curve.diverged === null) && top(curve) <= 10 * usual);
  const used = good.length ? good : known;
  // Of the others, what is no larger than the usual.
  const ends = known.flatMap((curve) => curve.limits.filter((end) => used.includes(curve) || Math.abs(end) <= usual));
  let [low, high] = [Math.min(...ends), Math.max(...ends)];
  if (state.logy) {
    let least = Infinity;
    for (const { y } of used) for (const value of y[0]) if (value > 0 && value < least) least = value;
    low = Math.max(low, Number.isFinite(least) ? least / 1.1 : high / 1000);
  }
  return [low, high];
}

// A range that somebody has zoomed into stays, until it is reset.
function setRangeOfY({ figure: { y_range: range } }, [start, end]) {
  const isZoomed = range.start !== range.reset_start || range.end !== range.reset_end;
  range.setv({ reset_start: start, reset_end: end });
  if (!isZoomed) range.setv({ start, end });
}

// Below the curves

const details = new Map();

async function renderDetails() {
  const runs = state.run.filter((run) => places.has(run));
  if ($("differences").open) renderDifferences(runs.slice(0, MAX_COMPARED));
  const shown = runs.slice(0, MAX_DETAILED);
  if (!["histograms", "images", "texts"].some((id) => $(id).open)) return;
  for (const run of shown) if (!details.has(run)) details.set(run, await ask("details", { run }));
  for (const [id, render] of [["histograms", renderHistograms], ["images", renderImages], ["texts", renderTexts]]) {
    if ($(id).open) render($(id).querySelector("div"), shown);
  }
}

function fillSection(host, items, runs, what) {
  const advice = runs.length ? `The chosen runs have no ${what}.` : "Choose runs in the table.";
  host.replaceChildren(...(items.length ? items : [make("p", { className: "missing" }, advice)]));
}

function renderDifferences(runs) {
  const host = $("differences").querySelector("div");
  const columns = table.columns.filter((column) => {
    const values = new Set(runs.map((run) => valueOf(run, column.name)));
    return values.size > 1 && (column.kind === "field" || (column.kind === "scalar" && column.name.endsWith(":last")));
  });
  const head = make("tr", {}, make("th", {}, ""), ...runs.map((run) => make("th", { scope: "col", title: run }, run)));
  const rows = columns.map((column) => make("tr", {}, make("th", { scope: "row" }, ...heading(column.name)), ...runs.map((run) => {
    const value = valueOf(run, column.name);
    return make("td", { title: String(value ?? ""), className: typeof value === "number" || isNotFinite(value) ? "number" : "" }, show(value, column.name));
  })));
  const differences = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  fillSection(host, rows.length ? [differences] : [], runs, runs.length > 1 ? "differences" : "other run to compare with");
}

function renderHistograms(host, runs) {
  const key = JSON.stringify([runs, table.version, isDark()]);
  if (host.dataset.key === key) return;
  host.dataset.key = key;
  const found = runs.flatMap((run) => Object.entries(details.get(run).histograms ?? {}).map(([tag, list]) => [run, tag, list]));
  if (!found.length) return fillSection(host, [], runs, "histograms");
  showFigures(host, found.slice(0, 24).map(([run, tag, list]) => histogram(runs.length > 1 ? `${tag} (${run})` : tag, list, colorOf(lineOf(run)))));
}

function histogram(title, list, color) {
  const data = { left: [], right: [], bottom: [], top: [], alpha: [], count: [] };
  list.forEach(({ step, edges, counts }, index) => {
    const [bounds, numbers] = [doubles(edges), floats(counts)];
    const before = index ? step - list[index - 1].step : 1;
    const right = list[index + 1]?.step ?? step + before;
    const densities = [...numbers].map((count, j) => count / (bounds[j + 1] - bounds[j] || 1e-300));
    const most = Math.max(...densities);
    numbers.forEach((count, j) => {
      if (!count) return;
      for (const [name, value] of Object.entries({ left: step, right, bottom: bounds[j], top: bounds[j + 1], alpha: Math.sqrt(densities[j] / most), count })) data[name].push(value);
    });
  });
  const source = new Bokeh.ColumnDataSource({ data });
  const figure = makeFigure({ title, height: 220, tools: "box_zoom,reset", x_axis_label: "step" });
  const field = (name) => ({ field: name });
  figure.quad(field("left"), field("right"), field("bottom"), field("top"), { source, fill_color: color, fill_alpha: field("alpha"), line_color: null });
  figure.add_tools(new Bokeh.HoverTool({ tooltips: [["step", "@left"], ["from", "@bottom"], ["to", "@top"], ["count", "@count"]] }));
  return figure;
}

function renderImages(host, runs) {
  const items = runs.flatMap((run) => (details.get(run).images ?? []).map(([tag, step, address]) => {
    const caption = `${runs.length > 1 ? `${run}, ` : ""}${tag}, step ${step}`;
    return make("figure", {}, make("img", { src: address, alt: caption, loading: "lazy" }), make("figcaption", {}, caption));
  }));
  fillSection(host, items, runs, "images");
}

function renderTexts(host, runs) {
  const items = runs.flatMap((run) => {
    const note = valueOf(run, "note");
    const problems = (entry(table.problems, run) ?? []).map((text) => ["problem", text]);
    const texts = (details.get(run).texts ?? []).map(([tag, step, text]) => [`${tag}, step ${step}`, text]);
    return [["directory", details.get(run).path ?? ""], ...(note ? [["note", note]] : []), ...problems, ...texts].map(([title, text]) => make("div", {}, make("strong", {}, `${run}: ${title}`), make("pre", {}, text)));
  });
  fillSection(host, items, runs, "notes or texts");
}

// Controls

function checkboxes(host, names, chosen, change) {
  const labels = names.map((name) => {
    const box = make("input", { type: "checkbox", checked: chosen().includes(name) });
    box.onchange = () => change(box.checked ? [...chosen(), name] : chosen().filter((other) => other !== name));
    return make("label", {}, box, " ", name);
  });
  const search = make("input", { type: "search", placeholder: "Find", ariaLabel: "Find a name" });
  search.oninput = () => labels.forEach((label, index) => (label.hidden = !names[index].toLowerCase().includes(search.value.toLowerCase())));
  host.replaceChildren(...(names.length > MAX_UNSEARCHED ? [search] : []), ...labels);
}

let controlsKey = "";

function renderControls() {
  const key = JSON.stringify([table.columns, table.tags, Object.keys(table.groups)]);
  if (key === controlsKey) return;
  controlsKey = key;
  checkboxes($("columns"), table.columns.map((column) => column.name), () => state.column, (names) => {
    state.column = names;
    renderTable();
  });
  checkboxes($("tags"), table.tags, () => state.tag, (names) => {
    state.tag = table.tags.filter((tag) => names.includes(tag));
    writeAddress();
    draw();
  });
  $("x").replaceChildren(...axes().map((name) => make("option", { value: name }, axisName(name))));
  $("over").replaceChildren(make("option", { value: "" }, "–"), ...Object.keys(table.groups).map((name) => make("option", { value: name }, name)));
  $("over").value = state.over;
  $("smooth").max = table.smoothing.length - 1;
  $("smooth").value = state.smooth;
  $("smooth-value").textContent = table.smoothing[state.smooth] || "";
}

function connect() {
  let timer = 0;
  if (embedded) $("filter").placeholder = "Filter by text";
  $("filter").oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      state.filter = $("filter").value;
      shownRows = ROWS_AT_ONCE;
      filter().catch(() => {}); // The server has ended, which the page says.
    }, 60);
  };
  for (const [id, property] of [["x", "value"], ["logx", "checked"], ["logy", "checked"], ["over", "value"]]) {
    $(id).onchange = () => {
      if (id === "x") zoom = {};
      if (id === "over") slots.clear();
      state[id] = property === "checked" ? ($(id).checked ? "1" : "") : $(id).value;
      choose(state.run); // A mean has one colour, and so have all of its runs.
    };
  }
  $("smooth").oninput = () => {
    state.smooth = Number($("smooth").value);
    $("smooth-value").textContent = table.smoothing[state.smooth] || "";
    writeAddress();
    draw();
  };
  $("controls").onsubmit = () => false;
  for (const id of ["differences", "histograms", "images", "texts"]) $(id).ontoggle = renderDetails;
  // A menu closes with a click beside it, or with Escape.
  document.addEventListener("click", (event) => document.querySelectorAll(".menu[open]").forEach((menu) => menu.contains(event.target) || (menu.open = false)));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector(".menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("hashchange", () => {
    slots.clear();
    readAddress();
    settle();
    controlsKey = "";
    refresh();
  });
}

async function refresh() {
  renderControls();
  for (const id of ["filter", "x"]) if (document.activeElement !== $(id)) $(id).value = state[id];
  for (const id of ["logx", "logy"]) $(id).checked = state[id];
  await filter();
  choose(wasChosen ? state.run : visible.slice(0, DRAWN_AT_FIRST));
}

async function poll() {
  try {
    const answer = await ask("table", { since: table.version });
    if (take(answer)) {
      const changed = new Set(Object.keys(answer.rows));
      for (const key of [...cache.keys()]) {
        const [run, , { over }] = JSON.parse(key);
        if (over || changed.has(run)) cache.delete(key);
      }
      for (const run of changed) details.delete(run);
      await refresh();
    }
    $("live").className = "on";
    $("live").textContent = "live";
  } catch {
    $("live").className = "off";
    $("live").textContent = "the server has ended";
  }
  setTimeout(poll, document.hidden ? 10 * POLL_MILLISECONDS : POLL_MILLISECONDS);
}

async function start() {
  table = await ask("table", { since: 0 });
  readAddress();
  connect();
  take(table);
  $("title").textContent = document.title = table.title;
  await refresh();
  document.documentElement.dataset.ready = "1";
  if (!embedded) setTimeout(poll, POLL_MILLISECONDS);
}

start();
