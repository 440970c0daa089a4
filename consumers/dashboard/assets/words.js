// Times and durations in words, elements from words. Whatever a gateway says becomes
// text here and never HTML.

let utc = false;
const formats = new Map();

export function setUTC(on) { utc = on; formats.clear(); }
export function isUTC() { return utc; }

function format(name, options) {
  let f = formats.get(name);
  if (!f) {
    f = new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...(utc ? { timeZone: "UTC" } : {}), ...options });
    formats.set(name, f);
  }
  return f;
}

const two = { hour: "2-digit", minute: "2-digit" };
export const clock = (ms) => format("clock", { ...two, second: "2-digit" }).format(ms);
export const hourMinute = (ms) => format("hm", two).format(ms);
export const day = (ms) => format("day", { weekday: "short", day: "numeric", month: "short" }).format(ms);
export const full = (ms) => `${format("full", { weekday: "short", day: "numeric", month: "short", ...two, second: "2-digit" }).format(ms)} ${zoneName(ms)}`;

// moment is a time as short as it can be told apart from now.
export function moment(ms, now) {
  return day(ms) === day(now) ? clock(ms) : `${day(ms)} ${clock(ms)}`;
}

export function zoneName(ms = Date.now()) {
  if (utc) return "UTC";
  const part = format("zone", { ...two, timeZoneName: "short" }).formatToParts(ms).find((p) => p.type === "timeZoneName");
  return part ? part.value : "";
}

// zoneOffset is how many milliseconds the viewer's clock is ahead of UTC.
export const zoneOffset = (ms) => (utc ? 0 : -new Date(ms).getTimezoneOffset() * 60000);

// lasting words a duration in at most two units.
export function lasting(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  if (s < 3599.5) return pair(Math.round(s), 60, "min", "s");
  if (s < 86370) return pair(Math.round(s / 60), 60, "h", "min");
  return pair(Math.round(s / 3600), 24, "d", "h");
}

// ago words a duration that is looked at again and again, so without what changes fast.
export function ago(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return lasting(s * 1000);
}

function pair(n, per, large, small) {
  const rest = n % per;
  return rest ? `${(n - rest) / per} ${large} ${rest} ${small}` : `${n / per} ${large}`;
}

export function offset(ms) {
  if (Math.abs(ms) < 1) return "0";
  return (ms < 0 ? "−" : "+") + lasting(Math.abs(ms));
}

export const trip = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);
export const plural = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

// A sign for each tone: colours never say anything alone.
export const signs = { good: "●", off: "■", busy: "◌", warn: "▲", bad: "✕", gone: "?", "": "·" };

// h makes an element. Children that are no elements become text.
export function h(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "onclick") e.addEventListener("click", value);
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

// chip shows a word with its tone.
export function chip(tone, text, more) {
  return h("span", { class: `chip ${tone || "none"}` }, h("span", { class: "sign", "aria-hidden": "true" }, signs[tone] ?? signs[""]), h("span", { class: "word" }, text), more ? h("span", { class: "since" }, more) : "");
}

export const $ = (id) => document.getElementById(id);

// put makes something the content of an element. What is there already stays as it is,
// so that it keeps the focus and what is selected in it.
export function put(e, ...children) { become(e, h("div", {}, ...children)); }

function become(e, next) {
  const old = [...e.childNodes], wanted = [...next.childNodes];
  wanted.forEach((n, i) => {
    const o = old[i];
    if (!o) e.append(n);
    else if (o.nodeName !== n.nodeName) o.replaceWith(n);
    else if (o.nodeType === Node.TEXT_NODE) { if (o.data !== n.data) o.data = n.data; } else {
      for (const a of [...o.attributes]) if (!n.hasAttribute(a.name)) o.removeAttribute(a.name);
      for (const a of n.attributes) if (o.getAttribute(a.name) !== a.value) o.setAttribute(a.name, a.value);
      become(o, n);
    }
  });
  for (const o of old.slice(wanted.length)) o.remove();
}

export function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}
