// Draws the timelines of the page on its canvas, and takes keys, mouse and the buttons of findings. What it shows is
// in the page; `data-view` and `data-cursor` of the canvas say which part of it is shown, for whoever tests the page.
const canvas = document.querySelector("canvas");
const output = document.querySelector("output");
const choices = [...document.querySelectorAll("input[name=series]")];
const timelines = JSON.parse(document.getElementById("timelines").textContent).map(unfold);

const LABEL = 84, BAND = 14, STEP = 48, DEPTH = 58, CALLS = 12, GAP = 16, AXIS = 22, TOP = 10;
let shown = timelines[0], view = whole(shown), cursor = 0, drag = null;

// Times are stored as differences, names by number.
function unfold(timeline) {
  const slices = (flat) => {
    const list = [];
    for (let i = 0, at = 0; i < flat.length; i += 3) {
      at += flat[i];
      list.push({ from: at, to: at + flat[i + 1], name: timeline.names[flat[i + 2]] });
    }
    return list.sort((one, other) => one.from - other.from);
  };
  const depth = (flat) => {
    const list = [];
    for (let i = 0, at = 0; i < flat.length; i += 2) {
      at += flat[i];
      list.push({ from: at, value: flat[i + 1] });
    }
    return list;
  };
  const vcpus = timeline.vcpus.map((vcpu) => ({
    regions: slices(vcpu.regions), switches: slices(vcpu.switches), hypercalls: slices(vcpu.hypercalls),
    tasks: slices(vcpu.tasks), steps: slices(vcpu.steps), depth: depth(vcpu.depth),
  }));
  const marks = timeline.marks.map(([at, vcpu, text]) => ({ at, vcpu, text })).sort((one, other) => one.at - other.at);
  const hypercalls = vcpus.flatMap((vcpu) => vcpu.hypercalls.map((call) => call.from)).sort((one, other) => one - other);
  const hasSteps = vcpus.some((vcpu) => vcpu.steps.length > 0);
  return { name: timeline.name, unit: timeline.unit, end: Math.max(1, timeline.end), vcpus, marks, hypercalls, hasSteps };
}

function whole(timeline) {
  const end = timeline.hasSteps ? timeline.end + 1 : timeline.end * 1.01;
  return { from: 0, to: Math.max(1, end) };
}

// The first element from `at` on, in a list sorted by `from`.
function firstFrom(list, at) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].from < at) low = middle + 1; else high = middle;
  }
  return low;
}

function laneHeight() {
  return BAND + (shown.hasSteps ? BAND + STEP : 0) + DEPTH + CALLS + GAP;
}

function draw() {
  const width = canvas.clientWidth, height = TOP + shown.vcpus.length * laneHeight() + AXIS;
  const scale = window.devicePixelRatio || 1;
  canvas.style.height = height + "px";
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif";
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue("--" + name).trim();
  const toX = (at) => LABEL + (at - view.from) / (view.to - view.from) * (width - LABEL - 8);
  const paint = { pen, colour, toX, right: width - 8, most: deepest() };
  shown.vcpus.forEach((vcpu, number) => lane(paint, vcpu, number, TOP + number * laneHeight()));
  marks(paint, height);
  axis(paint, height);
  line(paint, toX(cursor + (shown.hasSteps ? 0.5 : 0)), TOP - 6, height - AXIS, colour("focus"), 1);
  canvas.dataset.view = view.from + " " + view.to;
  canvas.dataset.cursor = cursor;
  document.documentElement.dataset.drawn = shown.name;
}

// The most that is queued on any vCPU in what is shown.
function deepest() {
  let most = 1;
  for (const { depth } of shown.vcpus) {
    const before = firstFrom(depth, view.from) - 1;
    if (before >= 0) most = Math.max(most, depth[before].value);
    for (const { value } of visible(depth)) most = Math.max(most, value);
  }
  return most;
}

function line({ pen, right }, x, from, to, colour, width) {
  if (x < LABEL || x > right) return;
  pen.fillStyle = colour;
  pen.fillRect(x - width / 2, from, width, to - from);
}

function lane(paint, vcpu, number, top) {
  const { pen, colour } = paint;
  pen.fillStyle = colour("ink");
  pen.fillText("vcpu " + number, 8, top + BAND - 2);
  let y = top;
  boxes(paint, vcpu.regions, y, BAND, colour("region"), colour("good"), colour("ink"));
  y += BAND;
  if (shown.hasSteps) {
    boxes(paint, vcpu.tasks, y, BAND, colour("task"), colour("line"), colour("ink"));
    boxes(paint, vcpu.steps, y + BAND, STEP, colour("paper"), colour("line"), colour("ink"));
    y += BAND + STEP;
  }
  depth(paint, vcpu.depth, y);
  switches(paint, vcpu.switches, top, y + DEPTH);
  let last = -1;
  for (const call of visible(vcpu.hypercalls)) {
    const x = Math.round(paint.toX(call.from));
    if (x !== last) line(paint, x, y + DEPTH + 1, y + DEPTH + CALLS, colour("hypercall"), 1);
    last = x;
  }
}

// Where many stand side by side, they would hide what lies behind them: then they are but ticks above the lane.
function switches(paint, list, top, bottom) {
  const all = [...visible(list)], isDense = all.length > (paint.right - LABEL) / 12;
  for (const one of all) line(paint, paint.toX(one.from), isDense ? top - 5 : top, isDense ? top - 1 : bottom, paint.colour("switch"), 1);
}

function* visible(list) {
  for (let i = firstFrom(list, view.from); i < list.length && list[i].from <= view.to; i++) yield list[i];
}

function boxes({ pen, toX, right }, list, y, height, fill, edge, ink) {
  let last = -1;
  for (const { from, to, name } of list) {
    if (from > view.to) break;
    if (to < view.from) continue;
    const left = Math.max(LABEL, toX(from)), end = Math.min(right, Math.max(toX(to), toX(from) + 1));
    if (end - left < 1.5 && Math.floor(left) === last) continue;
    last = Math.floor(left);
    pen.fillStyle = fill;
    pen.fillRect(left, y, Math.max(1, end - left), height);
    if (end - left < 3) continue;
    pen.strokeStyle = edge;
    pen.lineWidth = 1;
    pen.strokeRect(left + 0.5, y + 0.5, end - left - 1, height - 1);
    if (end - left > 30) inside(pen, name, left, y, end - left, height, ink);
  }
}

function inside(pen, text, x, y, width, height, ink) {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width - 3, height);
  pen.clip();
  pen.fillStyle = ink;
  const lines = wrapped(pen, text, width - 8).slice(0, Math.max(1, Math.floor(height / 14)));
  const first = y + (height - 14 * lines.length) / 2 + 11;
  lines.forEach((line, number) => pen.fillText(line, x + 4, first + 14 * number));
  pen.restore();
}

function wrapped(pen, text, width) {
  const lines = [];
  for (const word of text.split(" ")) {
    const longer = lines.length > 0 ? lines[lines.length - 1] + " " + word : word;
    if (lines.length > 0 && pen.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

// A column of the canvas is as high as the most that was queued within it.
function depth({ pen, colour, toX, right, most: deepest }, points, top) {
  const base = top + DEPTH, toY = (value) => base - value / deepest * (DEPTH - 6);
  pen.fillStyle = colour("dim");
  pen.fillText("max " + deepest, 8, top + 12);
  pen.fillRect(LABEL, base, right - LABEL, 1);
  pen.fillStyle = colour("depth");
  for (let i = Math.max(0, firstFrom(points, view.from) - 1); i < points.length && points[i].from <= view.to;) {
    const left = Math.max(LABEL, toX(points[i].from));
    let most = points[i].value, next = i + 1;
    while (next < points.length && toX(points[next].from) < left + 1) most = Math.max(most, points[next++].value);
    const until = next < points.length ? toX(points[next].from) : right;
    const value = until - left > 1.5 ? points[next - 1].value : most;
    if (most > value) pen.fillRect(left, toY(most), 1, base - toY(most));
    if (value > 0) pen.fillRect(left, toY(value), Math.max(1, Math.min(right, until) - left), base - toY(value));
    i = next;
  }
}

function marks(paint, height) {
  for (const { at, vcpu } of shown.marks) {
    const x = paint.toX(at + (shown.hasSteps ? 0.5 : 0));
    const top = vcpu === null ? TOP : TOP + vcpu * laneHeight();
    const bottom = vcpu === null ? height - AXIS : top + laneHeight() - GAP;
    line(paint, x, top, bottom, paint.colour("bad"), 2);
    line(paint, x, top, top + 7, paint.colour("bad"), 9);
  }
}

function axis({ pen, colour, toX, right }, height) {
  const span = view.to - view.from, rough = span / 7, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough));
  pen.fillStyle = colour("dim");
  pen.fillText(shown.unit, 8, height - 6);
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    const x = toX(at), text = at.toLocaleString("en");
    if (x + pen.measureText(text).width < right) pen.fillText(text, x + 3, height - 6);
    pen.fillRect(x, height - AXIS + 2, 1, 6);
  }
}

// What each vCPU is doing at the cursor, in words.
function say() {
  const at = Math.floor(cursor), words = shown.vcpus.map((vcpu, number) => {
    const region = vcpu.regions.find((region) => region.from <= at && at < Math.max(region.to, region.from + 1));
    const step = vcpu.steps.find((step) => step.from === at);
    const task = vcpu.tasks.find((task) => task.from <= at && at < task.to);
    const index = firstFrom(vcpu.depth, at + 1) - 1, queued = index < 0 ? 0 : vcpu.depth[index].value;
    const calls = vcpu.hypercalls.filter((call) => call.from === at).map((call) => "hypercall (" + call.name + ")");
    const parts = [task && task.name, step && step.name, region && region.name + " in a region", queued + " queued", ...calls];
    return "vcpu " + number + ": " + parts.filter(Boolean).join(", ");
  });
  const found = shown.marks.filter((mark) => mark.at === at).map((mark) => "found: " + mark.text);
  output.textContent = [shown.unit + " " + at.toLocaleString("en"), ...words, ...found].join(" \u00b7 ");
  for (const row of document.querySelectorAll(".way tr[data-at]")) {
    const is = Number(row.dataset.at) === at && timelines[row.dataset.series] === shown;
    row.classList.toggle("current", is);
  }
}

function show() {
  draw();
  say();
}

// The cursor goes to `at`, and the view with it if that is outside.
function goTo(at) {
  cursor = Math.min(shown.end, Math.max(0, at));
  const span = view.to - view.from;
  if (cursor < view.from || cursor > view.to) move(cursor - span / 2 - view.from);
  show();
}

function move(by) {
  const { from: least, to: most } = whole(shown), span = view.to - view.from;
  const from = Math.min(Math.max(least, view.from + by), Math.max(least, most - span));
  view = { from, to: from + span };
}

function zoom(factor, about) {
  const all = whole(shown), span = Math.min(all.to, Math.max(4, (view.to - view.from) * factor));
  const share = (about - view.from) / (view.to - view.from);
  view = { from: about - span * share, to: about - span * share + span };
  move(0);
}

function next(list, forward) {
  const at = forward ? list.find((at) => at > cursor) : list.findLast((at) => at < cursor);
  if (at !== undefined) goTo(at);
}

function choose(series) {
  shown = timelines[series];
  choices[series].checked = true;
  view = whole(shown);
  cursor = Math.min(cursor, shown.end);
}

const marked = () => shown.marks.map((mark) => mark.at);
const keys = {
  ArrowLeft: (shift) => goTo(cursor - reach(shift)),
  ArrowRight: (shift) => goTo(cursor + reach(shift)),
  "+": () => zoom(0.5, cursor), "=": () => zoom(0.5, cursor), "-": () => zoom(2, cursor),
  0: () => { view = whole(shown); },
  Home: () => goTo(0), End: () => goTo(shown.end),
  n: () => next(marked(), true), p: () => next(marked(), false),
  h: () => next(shown.hypercalls, true), g: () => next(shown.hypercalls, false),
};

function reach(isPage) {
  const span = view.to - view.from;
  return isPage ? span / 2 : Math.max(1, Math.round(span / 200));
}

canvas.addEventListener("keydown", (event) => {
  const key = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!key || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  key(event.shiftKey);
  show();
});

const atPointer = (event) => {
  const box = canvas.getBoundingClientRect();
  return view.from + (event.clientX - box.left - LABEL) / (box.width - LABEL - 8) * (view.to - view.from);
};
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, atPointer(event));
  show();
}, { passive: false });
canvas.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, from: view.from, moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const by = (drag.x - event.clientX) / (canvas.clientWidth - LABEL - 8) * (view.to - view.from);
  drag.moved ||= Math.abs(drag.x - event.clientX) > 3;
  move(drag.from + by - view.from);
  draw();
});
canvas.addEventListener("pointerup", (event) => {
  if (drag && !drag.moved) goTo(Math.round(atPointer(event)));
  drag = null;
});

choices.forEach((choice, series) => choice.addEventListener("change", () => { choose(series); show(); }));
for (const place of document.querySelectorAll("[data-at]")) {
  place.addEventListener("click", () => {
    choose(Number(place.dataset.series));
    const at = Number(place.dataset.at), around = shown.hasSteps ? shown.end : Math.max(40, shown.end / 400);
    view = { from: at - around, to: at + around };
    move(0);
    goTo(at);
    if (place.tagName === "BUTTON") {
      canvas.focus();
      canvas.scrollIntoView({ block: "center" });
    }
  });
}
new ResizeObserver(draw).observe(canvas.parentElement);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
if (shown.marks.length > 0) cursor = shown.marks[0].at;
show();
