// The timeline: lanes on one canvas, so that it stays quick with any number of them.
import { $, clock, day, full, h, hourMinute, lasting, moment, plural, zoneOffset } from "./words.js";

const rowHeight = 24, bar = 16, axisHeight = 22, hour = 3600e3;
// The worst of what falls on one pixel is drawn last, on top.
const order = ["", "good", "off", "busy", "gone", "warn", "bad"];

let drawn = null, cursor = null, row = 0, patterns = new Map(), handlers = {};

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// legend shows each tone as it is drawn.
const meaning = [["good", "well"], ["busy", "on the way"], ["warn", "not well"], ["bad", "down"], ["off", "not wanted"], ["gone", "not heard of"]];

export function start(on) {
  handlers = on;
  const canvas = $("lanes");
  $("legend").replaceChildren(...meaning.map(([tone, text]) => h("li", {}, h("canvas", { width: 44, height: 24, "data-tone": tone, "aria-hidden": "true" }), text)));
  canvas.addEventListener("pointermove", (e) => point(e));
  canvas.addEventListener("pointerdown", (e) => point(e));
  canvas.addEventListener("pointerleave", () => { cursor = null; paint(); readOut(); });
  canvas.addEventListener("click", () => act());
  canvas.addEventListener("keydown", keys);
  new ResizeObserver(() => paint()).observe(canvas);
  legend();
}

export function retheme() { patterns = new Map(); paint(); legend(); }

export function show(timeline) {
  const lanes = [];
  if (timeline.incidents.length) {
    const segments = timeline.incidents.toReversed().map((i) => ({ from: Math.max(i.opened_at, timeline.from), to: Math.min(i.open ? timeline.now : i.closed_at, timeline.to), tone: i.worst.tone, word: i.words, incident: i.id, closed: i.closed_at }));
    lanes.push({ name: "incidents", kind: "incidents", segments });
  }
  for (const l of timeline.lanes) {
    const end = Math.min(timeline.now, timeline.to);
    const segments = l.segments.map(([at, mark, times, count], n) => ({
      from: timeline.from + at, to: n + 1 < l.segments.length ? timeline.from + l.segments[n + 1][0] : end,
      tone: l.words[mark].tone, word: l.words[mark].word, times, count,
    }));
    lanes.push({ name: l.name, kind: l.lane, connection: l.connection, segments });
  }
  drawn = { ...timeline, lanes };
  row = Math.min(row, Math.max(lanes.length - 1, 0));
  names();
  paint();
  legend();
  readOut();
}

function names() {
  const items = drawn.lanes.map((l) => {
    const li = h("li", { class: `lane-${l.kind}`, title: l.name });
    if (l.kind === "condition" && !drawn.connection) li.append(h("button", { type: "button", class: "plain", onclick: () => handlers.select(l.connection) }, l.name));
    else li.append(h("span", {}, l.name));
    return li;
  });
  const list = $("lane-names");
  const focused = list.contains(document.activeElement) ? document.activeElement.textContent : null;
  list.replaceChildren(...items);
  if (focused) [...list.querySelectorAll("button")].find((b) => b.textContent === focused)?.focus();
}

// x maps a time onto the canvas.
const x = (at, width) => ((at - drawn.from) / (drawn.to - drawn.from)) * width;

function pattern(ctx, tone) {
  if (patterns.has(tone)) return patterns.get(tone);
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8 * devicePixelRatio;
  const t = tile.getContext("2d");
  t.scale(devicePixelRatio, devicePixelRatio);
  t.fillStyle = css(`--lane-${tone}`);
  t.fillRect(0, 0, 8, 8);
  t.strokeStyle = css("--lane-mark");
  t.fillStyle = css("--lane-mark");
  t.lineWidth = 1.5;
  t.beginPath();
  switch (tone) {
    case "bad": t.moveTo(-2, 10); t.lineTo(10, -2); t.moveTo(-2, 2); t.lineTo(2, -2); t.moveTo(6, 10); t.lineTo(10, 6); break;
    case "warn": t.rect(1.5, 1.5, 1.6, 1.6); t.rect(5.5, 5.5, 1.6, 1.6); t.fill(); t.beginPath(); break;
    case "gone": t.moveTo(0, 0); t.lineTo(8, 8); t.moveTo(8, 0); t.lineTo(0, 8); break;
    case "busy": t.moveTo(4, 0); t.lineTo(4, 8); break;
    case "off": t.moveTo(0, 4); t.lineTo(8, 4); break;
  }
  t.stroke();
  const p = ctx.createPattern(tile, "repeat");
  p.setTransform(new DOMMatrix().scale(1 / devicePixelRatio));
  patterns.set(tone, p);
  return p;
}

function legend() {
  for (const c of $("legend").querySelectorAll("canvas")) {
    const ctx = c.getContext("2d");
    ctx.setTransform(2, 0, 0, 2, 0, 0);
    ctx.clearRect(0, 0, 22, 12);
    ctx.fillStyle = c.dataset.tone === "good" ? css("--lane-good") : pattern(ctx, c.dataset.tone);
    ctx.fillRect(0, 0, 22, 12);
  }
}

function paint() {
  const canvas = $("lanes");
  if (!drawn) return;
  const width = canvas.parentElement.clientWidth - $("lane-names").offsetWidth;
  const height = drawn.lanes.length * rowHeight + axisHeight;
  if (width <= 0) return;
  const ratio = devicePixelRatio;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.font = "11px system-ui, sans-serif";
  axis(ctx, width, height);
  drawn.lanes.forEach((l, n) => lane(ctx, l, n * rowHeight, width));
  if (cursor !== null) {
    ctx.fillStyle = css("--ink");
    ctx.fillRect(Math.round(x(cursor, width)), 0, 1, height - axisHeight);
    ctx.strokeStyle = css("--focus");
    ctx.lineWidth = 1.5;
    ctx.strokeRect(0.75, row * rowHeight + 2.75, width - 1.5, rowHeight - 5.5);
  }
  describe();
}

function lane(ctx, l, top, width) {
  const y = top + (rowHeight - bar) / 2;
  ctx.fillStyle = css("--line");
  ctx.fillRect(0, top + rowHeight / 2, width, 1);
  const rects = l.segments.map((s) => {
    const from = Math.max(x(s.from, width), 0), to = Math.min(x(s.to, width), width);
    // What is bad is seen however short it was.
    const least = ["bad", "warn", "gone"].includes(s.tone) ? 2.5 : 1;
    const w = Math.max(to - from, least);
    return { ...s, x: Math.min(from, width - w), w };
  }).filter((s) => s.tone);
  rects.sort((a, b) => order.indexOf(a.tone) - order.indexOf(b.tone));
  for (const s of rects) {
    ctx.fillStyle = s.tone === "good" ? css("--lane-good") : pattern(ctx, s.tone);
    ctx.fillRect(s.x, y, s.w, bar);
  }
  for (const s of rects) {
    const room = s.w - 8, text = l.kind === "incidents" ? s.incident : s.word + (s.count > 1 ? ` ${s.count}` : "");
    if (s.tone === "good" || room < 30) continue;
    const w = ctx.measureText(text).width;
    if (w > room - 18) continue;
    ctx.fillStyle = css("--surface");
    ctx.fillRect(s.x + 3, y + 1.5, w + 6, bar - 3);
    ctx.fillStyle = css("--ink");
    ctx.fillText(text, s.x + 6, y + bar - 4.5);
  }
}

// steps are how far apart marks of the axis may be.
const steps = [30e3, 60e3, 2 * 60e3, 5 * 60e3, 10 * 60e3, 15 * 60e3, 30 * 60e3, hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, 24 * hour];

function axis(ctx, width, height) {
  const span = drawn.to - drawn.from;
  const step = steps.find((s) => (s / span) * width >= 64) ?? 48 * hour;
  const zone = zoneOffset(drawn.to);
  ctx.textAlign = "left";
  for (let at = Math.ceil((drawn.from + zone) / step) * step - zone; at < drawn.to; at += step) {
    const left = Math.round(x(at, width));
    ctx.fillStyle = css("--line");
    ctx.fillRect(left, 0, 1, height - axisHeight + 4);
    ctx.fillStyle = css("--muted");
    const text = step < 60e3 ? clock(at) : step >= 24 * hour || (at + zone) % (24 * hour) === 0 ? day(at) : hourMinute(at);
    const w = ctx.measureText(text).width;
    if (left - w / 2 < 0 || left + w / 2 > width) continue;
    ctx.fillText(text, left - w / 2, height - 6);
  }
}

function point(e) {
  if (!drawn) return;
  const box = $("lanes").getBoundingClientRect();
  cursor = drawn.from + ((e.clientX - box.left) / box.width) * (drawn.to - drawn.from);
  row = Math.min(Math.max(Math.floor((e.clientY - box.top) / rowHeight), 0), drawn.lanes.length - 1);
  const s = at(drawn.lanes[row]);
  $("lanes").classList.toggle("clickable", Boolean(s?.incident) || (drawn.lanes[row]?.kind === "condition" && !drawn.connection));
  paint();
  readOut();
}

const at = (l) => l?.segments.findLast((s) => s.from <= cursor && cursor <= Math.max(s.to, s.from + (drawn.to - drawn.from) / 300));

function act() {
  const l = drawn?.lanes[row];
  if (!l || cursor === null) return;
  const s = at(l);
  if (s?.incident) handlers.open(s.incident);
  else if (l.kind === "condition" && !drawn.connection) handlers.select(l.connection);
}

function keys(e) {
  if (!drawn?.lanes.length) return;
  const segments = drawn.lanes[row].segments;
  switch (e.key) {
    case "ArrowLeft": cursor = segments.findLast((s) => s.from < (cursor ?? drawn.to))?.from ?? drawn.from; break;
    case "ArrowRight": cursor = segments.find((s) => s.from > (cursor ?? drawn.from))?.from ?? Math.min(drawn.now, drawn.to); break;
    case "ArrowUp": row = Math.max(row - 1, 0); cursor ??= Math.min(drawn.now, drawn.to); break;
    case "ArrowDown": row = Math.min(row + 1, drawn.lanes.length - 1); cursor ??= Math.min(drawn.now, drawn.to); break;
    case "Enter": act(); return;
    case "Escape": cursor = null; break;
    default: return;
  }
  e.preventDefault();
  paint();
  readOut();
}

// readOut says what was so at the cursor: of the lane it is on first.
function readOut() {
  const out = $("readout");
  if (!drawn || cursor === null) {
    out.textContent = drawn?.lanes.length ? "Point at the timeline, or use the arrow keys in it." : "";
    return;
  }
  const words = (l) => {
    const s = at(l);
    if (!s) return `${l.name}: nothing known`;
    const more = [];
    if (s.count > 1) more.push(String(s.count));
    if (s.times > 1) more.push(`the worst of ${plural(s.times, "change")}`);
    more.push(`for ${lasting(s.to - s.from)}`);
    return `${l.name}: ${s.incident ? `${s.incident}, ` : ""}${s.word || "nothing known"} (${more.join(", ")})`;
  };
  const others = drawn.lanes.filter((l, n) => n !== row && (drawn.connection || !["good", "", undefined].includes(at(l)?.tone)) && l.kind !== "incidents");
  const shown = others.slice(0, 6).map(words);
  if (others.length > shown.length) shown.push(`and ${others.length - shown.length} more`);
  out.replaceChildren(h("strong", {}, full(cursor)), " ", h("span", { class: "first" }, words(drawn.lanes[row])), shown.length ? h("span", { class: "others" }, shown.join(" · ")) : "");
}

// describe says the timeline in a sentence, for who does not see it.
function describe() {
  const bad = drawn.lanes.filter((l) => l.segments.some((s) => s.tone === "bad" || s.tone === "gone")).map((l) => l.name);
  $("lanes").setAttribute("aria-label", `Timeline from ${full(drawn.from)} to ${moment(drawn.to, drawn.from)}, ${plural(drawn.lanes.length, "lane")}. ` +
    (bad.length ? `Trouble in: ${bad.slice(0, 10).join(", ")}.` : "No trouble in it."));
}
