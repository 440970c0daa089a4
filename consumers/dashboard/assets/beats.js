// The plot of heartbeats, drawn by uPlot.
/* global uPlot */
import { $, clock, day, hourMinute, plural, say, trip, isUTC } from "./words.js";

let plot = null, shown = null;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// missed marks the heartbeats that were missed at the top, with a cross each.
function missed(u) {
  const { ctx } = u, r = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = css("--bad");
  ctx.lineWidth = 1.5 * r;
  ctx.beginPath();
  let last = -Infinity;
  for (let n = 0; n < shown.at.length; n++) {
    if (!shown.missed[n]) continue;
    const x = u.valToPos(shown.at[n], "x", true), y = u.bbox.top + 7 * r, s = 3.5 * r;
    if (x - last < 4 * r) continue;
    last = x;
    ctx.moveTo(x - s, y - s); ctx.lineTo(x + s, y + s);
    ctx.moveTo(x + s, y - s); ctx.lineTo(x - s, y + s);
  }
  ctx.stroke();
  ctx.restore();
}

function options(width, span) {
  const grid = { stroke: () => css("--line"), width: 1 }, ticks = { show: false };
  const gutter = $("lane-names").offsetWidth;
  return {
    width, height: 170, padding: [8, 0, 0, 0], legend: { live: true, markers: { width: 0 } },
    tzDate: (ts) => (isUTC() ? uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC") : new Date(ts * 1e3)),
    cursor: { y: false, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (u, least, most) => [0, Math.max((most ?? 0) * 1.15, 1)] } },
    axes: [
      { stroke: () => css("--muted"), grid, ticks, size: 30, space: 64, font: "11px system-ui, sans-serif", values: (u, at, axis, space, step) => at.map((s) => (step < 60 ? clock(s * 1e3) : span === "week" || (span === "day" && hourMinute(s * 1e3) === "00:00") ? `${day(s * 1e3).replace(/^\w+,? /, "")}${span === "week" && hourMinute(s * 1e3) !== "00:00" ? ` ${hourMinute(s * 1e3)}` : ""}` : hourMinute(s * 1e3))) },
      { stroke: () => css("--muted"), grid, ticks, size: gutter, gap: 8, font: "11px system-ui, sans-serif", values: (u, all) => all.map((v) => `${v} ms`) },
    ],
    series: [
      { label: "at", value: (u, s) => (s === null ? "–" : span === "hour" || span === "minutes" ? clock(s * 1e3) : `${day(s * 1e3)} ${hourMinute(s * 1e3)}`) },
      { label: "slowest", stroke: () => css("--beat-soft"), width: 1, points: { show: false }, value: (u, v) => (v === null ? "–" : trip(v)) },
      { label: "mean", stroke: () => css("--beat"), width: 1.75, points: { show: (u, n, from, to) => to - from < 40, size: 4 }, value: (u, v) => (v === null ? "–" : trip(v)) },
      { label: "fastest", stroke: () => css("--beat-soft"), width: 1, points: { show: false }, value: (u, v) => (v === null ? "–" : trip(v)) },
    ],
    bands: [{ series: [1, 3], fill: () => css("--beat-fill") }],
    hooks: { draw: [missed] },
  };
}

let key = "";

export function show(pulse, connection, span) {
  shown = pulse;
  const some = pulse.at.length > 0;
  $("beats").hidden = !some;
  $("beats-empty").hidden = some;
  if (!some) {
    say($("beats-empty"), connection ? `No heartbeat of ${connection} in this time.` : "Select a connection to see its heartbeats.");
    say($("beats-words"), connection ?? "");
    return;
  }
  const answered = pulse.mean.filter((v) => v !== null).sort((a, b) => a - b);
  const lost = pulse.missed.reduce((a, b) => a + b, 0);
  const words = [connection];
  if (answered.length) words.push(`median ${trip(answered[Math.floor(answered.length / 2)])}`, `slowest ${trip(pulse.most.reduce((a, b) => Math.max(a, b ?? 0), 0))}`);
  words.push(lost ? `${plural(lost, "heartbeat")} missed (✕)` : "none missed");
  say($("beats-words"), words.join(" · "));
  const width = $("beats").clientWidth;
  const data = [pulse.at, pulse.most, pulse.mean, pulse.least];
  const next = `${connection} ${span} ${isUTC()} ${$("lane-names").offsetWidth}`;
  if (plot && key === next) {
    if (plot.width !== width) plot.setSize({ width, height: 170 });
    plot.setData(data, false);
    plot.setScale("x", { min: pulse.from / 1000, max: pulse.to / 1000 });
    return;
  }
  plot?.destroy();
  key = next;
  plot = new uPlot(options(width, span), data, $("beats"));
  plot.setScale("x", { min: pulse.from / 1000, max: pulse.to / 1000 });
  const canvas = plot.root.querySelector("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-labelledby", "beats-title beats-words");
}

export function retheme() { plot?.redraw(); }

export function start() {
  new ResizeObserver(() => { if (plot && !$("beats").hidden) plot.setSize({ width: $("beats").clientWidth, height: 170 }); }).observe($("beats").parentElement);
}
