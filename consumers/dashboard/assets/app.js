// The page of ibconn: what it shows is in its address, and what it knows comes from
// /api. It never shows old as new: when nothing comes, it says so and since when.
import { $, clock, full, isUTC, moment, put, say, setUTC, signs, zoneName, h } from "./words.js";
import * as beats from "./beats.js";
import * as connections from "./connections.js";
import * as events from "./events.js";
import * as lanes from "./lanes.js";
import * as story from "./story.js";
import * as stream from "./stream.js";

const spans = { minutes: 600e3, hour: 3600e3, day: 86400e3, week: 7 * 86400e3 };
const refreshEvery = { minutes: 1000, hour: 5000, day: 60e3, week: 300e3 };

const all = new Map(); // the connections by name
let commands = [], reading = true, more = 0;
let view = {}, picked = false;

// Times of the server, since the viewer's clock may be another.
let ahead = 0, state = "connecting", lastNews = 0;
const now = () => (state === "broken" || state === "paused" ? lastNews : Date.now() + ahead);

// ---- what is shown is in the address ----

function readAddress() {
  const q = new URLSearchParams(location.search);
  const incident = location.pathname.match(/^\/incident\/([^/]+)$/)?.[1] ?? new URLSearchParams(location.hash.slice(1)).get("incident");
  let id = "";
  try { id = incident ? decodeURIComponent(incident) : ""; } catch { /* it is none */ }
  view = {
    connection: q.get("connection") ?? "", span: Object.hasOwn(spans, q.get("span")) ? q.get("span") : "hour", end: Number(q.get("end")) || 0,
    kind: q.get("kind") ?? "", severity: q.get("severity") ?? "", q: q.get("q") ?? "", incident: id,
  };
}

function address() {
  const q = new URLSearchParams();
  if (view.connection && picked) q.set("connection", view.connection);
  if (view.span !== "hour") q.set("span", view.span);
  for (const k of ["end", "kind", "severity", "q"]) if (view[k]) q.set(k, view[k]);
  return (view.incident ? `/incident/${encodeURIComponent(view.incident)}` : "/") + (q.size ? `?${q}` : "");
}

function go(change, push) {
  Object.assign(view, change);
  history[push ? "pushState" : "replaceState"](null, "", address());
}

// ---- asking ----

async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const params = (o) => new URLSearchParams(Object.entries(o).filter(([, v]) => v)).toString();

// later runs something soon, and not again before it is done.
function later(what, wait) {
  let due = 0, busy = false, again = false;
  const run = async () => {
    due = 0;
    if (busy) { again = true; return; }
    busy = true;
    try { await what(); } catch (e) { failed(e); } finally {
      busy = false;
      if (again) { again = false; soon(); }
    }
  };
  const soon = () => { due ||= setTimeout(run, wait); };
  return soon;
}

// failed is for requests that did not work: mostly the stream breaks at the same time.
function failed() { if (state === "live") setState("broken"); }

const drawLanes = later(async () => {
  const asked = { connection: view.connection, span: view.span, end: view.end, limit: 500, pieces: Math.min(Math.max(Math.round($("lanes").clientWidth / 2), 100), 1200) };
  const t = await ask(`/api/timeline?${params(asked)}`);
  if (asked.connection !== view.connection || asked.span !== view.span || asked.end !== view.end) { drawLanes(); return; }
  const at = now();
  lanes.show({ ...t, now: Math.min(at, view.end || at), connection: view.connection });
  if (!performance.getEntriesByName("ibconn-drawn").length) performance.mark("ibconn-drawn");
  say($("range"), `${full(t.from)} to ${view.end ? full(t.to) : "now"}${t.more ? `; ${t.more} older incidents are not drawn` : ""}`);
}, 60);

const drawBeats = later(async () => {
  if (!view.connection) { beats.show({ at: [] }, "", view.span); return; }
  const asked = { connection: view.connection, span: view.span, end: view.end, pieces: Math.min(Math.max(Math.round($("beats").parentElement.clientWidth / 2), 100), 1200) };
  const pulse = await ask(`/api/heartbeats?${params(asked)}`);
  if (asked.connection === view.connection && asked.span === view.span) beats.show(pulse, view.connection, view.span);
}, 60);

let listing = null; // of incidents, as it was last asked for
const listIncidents = later(async () => {
  const asked = view.connection;
  listing = { ...await ask(`/api/incidents?${params({ connection: asked, limit: 100 })}`), asked };
  story.list(listing, asked, now());
}, 60);

const filter = () => ({ connection: view.connection, kind: view.kind, severity: view.severity, q: view.q });
const listEvents = later(async () => { events.show(await ask(`/api/events?${params({ ...filter(), limit: 100 })}`), false); }, 30);

async function older(before) {
  try { events.show(await ask(`/api/events?${params({ ...filter(), before, limit: 100 })}`), true); } catch (e) { failed(e); }
}

async function lookAll() {
  const o = await ask("/api/overview");
  all.clear();
  for (const c of o.connections) all.set(c.connection, c);
  ({ commands, reading, more } = o);
  ahead = o.now - Date.now();
  lastNews = o.now;
  if (!picked && all.size === 1) view.connection = [...all.keys()][0];
  if (view.connection && !all.has(view.connection)) view.connection = "";
  render();
  drawAll();
  return o.position;
}

function drawAll() { drawLanes(); drawBeats(); listIncidents(); listEvents(); }

// ---- news ----

const shape = (c) => c && JSON.stringify([c.condition, c.session.word, c.link.word, c.farms.word, c.farm_list.map((f) => f.word), c.data.word, c.incidents.length]);

const open = (c) => (c?.incidents ?? []).map((i) => i.id).join();

// inTurn does one thing behind the other: what was asked for earlier and is answered
// later must not take the place of news.
let turn = Promise.resolve();
const inTurn = (what) => { turn = turn.then(what).catch(failed); };

function news(n) {
  ahead = n.now - Date.now();
  lastNews = n.now;
  inTurn(() => take(n));
}

async function take(n) {
  const was = reading;
  reading = Boolean(n.reading);
  if (n.reset || (was && !reading)) {
    await lookAll();
    return;
  }
  if (reading) { // what comes now was long ago
    render();
    return;
  }
  let moved = false;
  const incidents = new Set(n.incidents);
  for (const c of n.connections ?? []) {
    const before = all.get(c.connection);
    if (before?.position > c.position) continue; // the overview was newer
    const changed = shape(before) !== shape(c);
    moved ||= changed;
    if (changed) announce(before, c);
    // One that is over is told as closed only when it stays so.
    if (open(before) !== open(c)) incidents.add(c.connection);
    all.set(c.connection, c);
    if (!before && !picked && all.size === 1) { view.connection = c.connection; drawAll(); }
    else if (!before && !picked && all.size === 2) { view.connection = ""; drawAll(); }
  }
  if (n.more) listEvents();
  else if (n.lines?.length) events.add(n.lines);
  if (incidents.size) { listIncidents(); drawLanes(); if (view.incident && incidents.has(view.incident.replace(/-\d+$/, ""))) story.open(view.incident).catch(failed); }
  if (moved && !view.end) drawLanes();
  render();
}

function announce(before, after) {
  if (!before || before.condition.word === after.condition.word) return;
  say($("announce"), `${after.connection} is ${after.condition.word}`);
}

function setState(next) {
  if (next === state) return;
  const back = next === "live" && (state === "broken" || state === "paused");
  state = next;
  if (back) inTurn(lookAll); // whatever was missed
  render();
}

// ---- showing ----

function render() {
  const at = now();
  connections.show(all, at, view.connection, $("only").checked, state === "broken" || state === "paused" || reading, { select });
  connections.details(all.get(view.connection), at, commands);
  events.choices([...all.keys()].sort(), filter());
  if (listing) story.list(listing, listing.asked, at);
  renderState(at);
  for (const b of document.querySelectorAll("[data-span]")) b.setAttribute("aria-pressed", String(b.dataset.span === view.span));
  $("later").disabled = $("to-now").disabled = !view.end;
  say($("foot"), `${more ? `${more} more connections are not shown. ` : ""}Times are ${isUTC() ? "UTC" : `yours (${zoneName(at)})`}. All of it follows from the log.`);
  const worst = [...all.values()].map((c) => connections.seen(c, at)).filter((s) => ["bad", "gone", "warn"].includes(s.tone));
  document.title = (state === "broken" ? "? no word – " : state === "paused" ? "paused – " : worst.length ? `${signs[worst[0].tone]} ${worst.length} not healthy – ` : "") + (view.incident ? `${view.incident} – ` : "") + "ibconn";
}

function renderState(at) {
  const pill = $("stream");
  const words = { connecting: ["busy", "Connecting"], live: ["good", `Live · ${clock(at)}`], broken: ["bad", "No word"], paused: ["off", "Paused"] }[state];
  pill.className = `stream ${words[0]}`;
  put(pill, h("span", { class: "sign", "aria-hidden": "true" }, signs[words[0]]), " ", h("span", { class: "text" }, words[1]));
  document.body.classList.toggle("old", state === "broken" || state === "paused" || reading);
  const banner = $("banner");
  let text = "";
  if (state === "broken") text = `No word from ibconn since ${moment(lastNews, Date.now())}. What is shown was so then, and may not be so now. Trying again.`;
  else if (state === "paused") text = "Paused, as nobody looked.";
  else if (reading && state === "live") text = "The log is still being read: what is shown is not up to date yet.";
  banner.hidden = !text;
  say(banner, text);
}

function select(name) {
  picked = true;
  go({ connection: view.connection === name ? "" : name }, false);
  render();
  drawAll();
}

function openStory(id, push = true) {
  go({ incident: id }, push);
  story.open(id).catch(failed);
  render();
}

// ---- commands ----

const effects = {
  reconnect: (c) => `The session of ${c.connection}${c.gateway ? ` with ${c.gateway}` : ""} is ended, if there is one, and a new one is opened at once. Data stops until then.`,
  connect: (c) => `${c.connection} is to be connected from now on; an attempt is made at once, also where the breaker is open.`,
  disconnect: (c) => `The session of ${c.connection} is ended, and it stays away until somebody says connect. All its data stops.`,
};
let asked = null;

function askFor(verb) {
  const c = all.get(view.connection);
  if (!c || !effects[verb]) return;
  asked = { verb, connection: c.connection, id: `http-${crypto.randomUUID()}` };
  say($("ask-title"), `${verb[0].toUpperCase()}${verb.slice(1)} ${c.connection}?`);
  say($("ask-words"), effects[verb](c));
  say($("ask-yes"), `${verb[0].toUpperCase()}${verb.slice(1)} ${c.connection}`);
  say($("ask-said"), "");
  say($("ask-no"), "Cancel");
  $("ask-yes").hidden = false;
  $("ask-yes").disabled = false;
  $("ask-reason").value = "";
  $("ask").showModal();
  $("ask-no").focus();
}

async function give(e) {
  e.preventDefault();
  const { verb, connection, id } = asked;
  $("ask-yes").disabled = true;
  say($("ask-said"), "Sent. Waiting for what becomes of it…");
  let words;
  try {
    const response = await fetch(`/api/commands/${verb}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ connection, id, reason: $("ask-reason").value.trim() }) });
    const answer = await response.json();
    words = answer.error ?? answer.message;
    if (response.ok) $("ask-yes").hidden = true;
    else $("ask-yes").disabled = false; // the same id again does nothing twice
  } catch {
    words = "No answer came: look at the events for whether it was taken.";
    $("ask-yes").disabled = false;
  }
  say($("ask-said"), words);
  say($("ask-no"), "Close");
}

// ---- beginning ----

function theme() { return document.documentElement.dataset.theme ?? "system"; }

function retheme(next) {
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try { if (next === "system") localStorage.removeItem("ibconn-theme"); else localStorage.setItem("ibconn-theme", next); } catch { /* it holds for this page alone */ }
  sayTheme();
}

function sayTheme() {
  say($("theme"), `Theme: ${theme()}`);
  lanes.retheme();
  beats.retheme();
}

function pan(by) {
  const end = (view.end || Math.round(now())) + by * spans[view.span] * 0.5;
  go({ end: end >= now() ? 0 : Math.round(end) }, false);
  render();
  drawLanes();
  drawBeats();
}

function listen() {
  $("rows").addEventListener("keydown", connections.keys);
  $("only").addEventListener("change", render);
  for (const b of document.querySelectorAll("[data-span]")) b.addEventListener("click", () => { go({ span: b.dataset.span }, false); render(); drawLanes(); drawBeats(); });
  $("earlier").addEventListener("click", () => pan(-1));
  $("later").addEventListener("click", () => pan(1));
  $("to-now").addEventListener("click", () => { go({ end: 0 }, false); render(); drawLanes(); drawBeats(); });
  $("zone").addEventListener("click", () => {
    setUTC(!isUTC());
    $("zone").setAttribute("aria-pressed", String(isUTC()));
    try { localStorage.setItem("ibconn-utc", isUTC() ? "1" : ""); } catch { /* it holds for this page alone */ }
    render();
    drawAll();
  });
  $("theme").addEventListener("click", () => retheme({ system: "dark", dark: "light", light: "system" }[theme()]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", sayTheme);
  document.addEventListener("click", (e) => {
    const id = e.target.closest?.("[data-incident]")?.dataset.incident;
    if (id && !e.ctrlKey && !e.metaKey && !e.shiftKey && e.button === 0) { e.preventDefault(); openStory(id); }
    const verb = e.target.closest?.("[data-verb]")?.dataset.verb;
    if (verb) askFor(verb);
  });
  $("incidents").addEventListener("keydown", (e) => {
    const links = [...$("incidents").querySelectorAll("a")];
    const to = links.indexOf(document.activeElement) + { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (links[to]) { e.preventDefault(); links[to].focus(); }
  });
  $("story").addEventListener("close", () => { if (view.incident) { go({ incident: "" }, true); render(); } });
  addEventListener("popstate", () => {
    readAddress();
    picked = Boolean(view.connection);
    if (view.incident) story.open(view.incident).catch(failed); else story.close();
    render();
    drawAll();
  });
  $("ask-form").addEventListener("submit", give);
  $("ask-no").addEventListener("click", () => $("ask").close());
}

async function begin() {
  readAddress();
  picked = Boolean(view.connection);
  try { setUTC(localStorage.getItem("ibconn-utc") === "1"); } catch { /* the viewer's zone it is */ }
  $("zone").setAttribute("aria-pressed", String(isUTC()));
  say($("theme"), `Theme: ${theme()}`);
  lanes.start({ select, open: openStory });
  beats.start();
  story.start();
  events.start(filter(), { filter: (f) => { if (f.connection !== view.connection) picked = true; go(f, false); render(); drawAll(); }, older });
  listen();
  for (;;) {
    try {
      const position = await lookAll();
      performance.mark("ibconn-data");
      stream.start(position, { news, state: setState });
      break;
    } catch {
      lastNews ||= Date.now();
      setState("broken");
      await new Promise((done) => setTimeout(done, 3000));
    }
  }
  if (view.incident) { history.replaceState(null, "", address()); story.open(view.incident).catch(failed); }
  setInterval(render, 1000);
  let drawn = 0;
  setInterval(() => {
    if (state !== "live" || view.end || document.hidden || Date.now() - drawn < refreshEvery[view.span]) return;
    drawn = Date.now();
    drawLanes();
    drawBeats();
  }, 1000);
}

begin();
