// The list of connections, and what there is to say of the one that is selected.
import { $, ago, chip, h, moment, plural, put, say, trip } from "./words.js";

const gravity = { bad: 0, gone: 1, warn: 2, busy: 3, off: 4, good: 5, "": 6 };
const items = new Map();

// seen is how a connection is to be taken at a time: what nobody tells any more is not
// shown as if it were so.
export function seen(c, now) {
  const stale = c.stale_after > 0 && now > c.stale_after;
  return stale ? { tone: "gone", word: "not heard of", since: c.as_of, stale } : { ...c.condition, since: c.since, stale };
}

export function show(all, now, selected, only, old, handlers) {
  const list = $("rows");
  const sorted = [...all.values()].map((c) => ({ c, is: seen(c, now) }))
    .sort((a, b) => gravity[a.is.tone] - gravity[b.is.tone] || a.c.connection.localeCompare(b.c.connection, undefined, { numeric: true }));
  const wanted = sorted.filter(({ c, is }) => !only || is.tone !== "good" || c.connection === selected);
  $("only-label").hidden = all.size < 2;
  for (const [name, item] of items) if (!wanted.some(({ c }) => c.connection === name)) { item.remove(); items.delete(name); }
  const focused = document.activeElement;
  wanted.forEach(({ c, is }, n) => {
    let item = items.get(c.connection);
    if (!item) {
      const button = h("button", { type: "button", class: "row", onclick: () => handlers.select(c.connection) });
      item = h("li", {}, button);
      items.set(c.connection, item);
    }
    if (list.children[n] !== item) list.insertBefore(item, list.children[n] ?? null);
    const button = item.firstElementChild;
    button.setAttribute("aria-pressed", String(c.connection === selected));
    button.tabIndex = c.connection === selected || (n === 0 && !wanted.some((w) => w.c.connection === selected)) ? 0 : -1;
    button.classList.toggle("stale", is.stale);
    put(button, ...cells(c, is, now));
  });
  if (list.contains(focused)) focused.focus();
  $("rows-empty").hidden = wanted.length > 0;
  say($("rows-empty"), all.size ? `All ${all.size} connections are healthy.` : "There is no connection yet. It appears here as soon as a run has written its first event.");
  const by = new Map();
  for (const { is } of sorted) by.set(is.word, (by.get(is.word) ?? 0) + 1);
  say($("tally"), all.size ? `${old ? "then: " : ""}${plural(all.size, "connection")}: ${[...by].map(([w, n]) => `${n} ${w}`).join(", ")}` : "");
}

function cells(c, is, now) {
  const cell = (name, content) => h("span", { class: `cell ${name}` }, h("span", { class: "cell-name" }, name), content);
  const beat = c.heartbeat.at ? (c.heartbeat.misses ? chip("warn", `${c.heartbeat.misses} missed`) : h("span", { class: "beat" }, trip(c.heartbeat.trip_ms))) : h("span", { class: "quiet" }, "–");
  const level = (l) => (is.stale ? chip("", `was ${l.word}`) : chip(l.tone, l.word));
  return [
    h("span", { class: "cell name" }, c.connection),
    h("span", { class: "cell condition" }, chip(is.tone, is.word, is.since ? ago(now - is.since) : "")),
    cell("session", level(c.session)), cell("link", level(c.link)), cell("farms", level(c.farms)), cell("subscriptions", level(c.data)),
    cell("heartbeat", is.stale ? h("span", { class: "quiet" }, "–") : beat),
  ];
}

// keys moves among the rows.
export function keys(e) {
  const rows = [...$("rows").querySelectorAll("button")];
  const n = rows.indexOf(document.activeElement);
  const to = { ArrowDown: n + 1, ArrowUp: n - 1, Home: 0, End: rows.length - 1 }[e.key];
  if (n < 0 || to === undefined || !rows[to]) return;
  e.preventDefault();
  rows[to].focus();
}

export function details(c, now, commands, handlers) {
  const box = $("details");
  box.hidden = !c;
  if (!c) return;
  const is = seen(c, now);
  const facts = [];
  const fact = (name, ...content) => facts.push(h("dt", {}, name), h("dd", {}, ...content));
  if (is.stale) fact("nothing heard", `since ${moment(c.as_of, now)}, for ${ago(now - c.as_of)}. Its process is gone, or its host asleep, or this page's server is cut off from the bus. What follows was so then.`);
  if (c.reasons.length) fact("because", h("ul", { role: "list" }, ...c.reasons.map((r) => h("li", {}, r.words, h("span", { class: "quiet" }, ` ${r.since ? `for ${ago(now - r.since)}` : ""} · fault: ${r.fault}`)))));
  if (c.incidents.length) fact("incident", h("ul", { role: "list" }, ...c.incidents.map((i) => h("li", {}, link(i), ` ${i.words}`))));
  if (c.session.note) fact("session", c.session.note);
  if (c.retry_at) fact("next attempt", c.retry_at > now ? `in ${ago(c.retry_at - now)}` : "now");
  if (c.gateway) fact("gateway", c.gateway);
  if (c.link.since) fact("link", `${c.link.word} for ${ago(now - c.link.since)}`, c.link.note ? ` · ${c.link.note}` : "");
  if (c.farm_list.length) fact("farms", h("span", { class: "chips" }, ...c.farm_list.map((f) => chip(f.tone, f.name, f.word)), c.farms_more ? `and ${c.farms_more} more` : ""));
  if (c.data.note) fact("subscriptions", c.data.note);
  if (c.data_list.length) fact("not live", h("span", { class: "chips" }, ...c.data_list.map((s) => chip(s.tone, s.name, s.word + (s.note ? `: ${s.note}` : ""))), c.data_more ? `and ${c.data_more} more` : ""));
  if (c.gaps) fact("gaps", `${plural(c.gaps, "stretch")} without bars to be filled`.replace("stretchs", "stretches"));
  if (c.heartbeat.at) fact("heartbeat", `answered ${ago(now - c.heartbeat.at)} ago in ${trip(c.heartbeat.trip_ms)}, gateway's clock ${c.heartbeat.skew_ms >= 0 ? "+" : "−"}${(Math.abs(c.heartbeat.skew_ms) / 1000).toFixed(1)} s from ours`);
  if (c.ending.at) fact("last end", `${ago(now - c.ending.at)} ago: ${c.ending.words}`);
  fact("so far", [plural(c.counts.sessions, "session"), `${c.counts.losses} lost`, plural(c.counts.attempts, "attempt"), `${c.counts.failures} failed`, plural(c.counts.errors, "error")].join(", "));
  if (c.pending.length) fact("under way", c.pending.join(", "));
  const buttons = commands.length ? h("div", { class: "buttons" }, ...commands.map((v) => h("button", { type: "button", "data-verb": v }, `${v[0].toUpperCase()}${v.slice(1)}…`))) : "";
  put(box, h("h3", {}, c.connection, " ", chip(is.tone, is.word, is.since ? `for ${ago(now - is.since)}` : "")), h("dl", {}, ...facts), buttons);
}

const link = (i) => h("a", { href: `/incident/${encodeURIComponent(i.id)}`, "data-incident": i.id }, i.id);
