// Incidents: the list, and the story of one.
import { $, chip, clock, day, full, h, lasting, moment, offset, plural, put, say, signs } from "./words.js";

let base = "";

export function list(listing, connection, now) {
  const all = listing.incidents;
  $("incidents-empty").hidden = all.length > 0;
  say($("incidents-empty"), `No incident${connection ? ` of ${connection}` : ""} is known. A quiet time.`);
  const recent = all.filter((i) => i.open || i.closed_at > now - 7 * 86400e3).length;
  say($("incidents-more"), all.length ? (recent ? `${recent} in the last week` : "none in the last week: a quiet week") : "");
  put($("incidents"), ...all.map((i) => h("li", {},
    h("a", { class: `incident ${i.open ? `open ${i.worst.tone}` : ""}`, href: `/incident/${encodeURIComponent(i.id)}`, "data-incident": i.id },
      h("span", { class: "when" }, moment(i.opened_at, now)),
      chip(i.open ? i.worst.tone : "", i.open ? `open, ${i.worst.word}` : `${i.worst.word}, over`),
      h("span", { class: "lasted" }, lasting((i.open ? now : i.closed_at) - i.opened_at)),
      h("span", { class: "id" }, i.id),
      h("span", { class: "what" }, i.words, h("span", { class: "quiet" }, ` · fault: ${i.fault}${i.window ? " · in a maintenance window" : ""}`))))),
    listing.more ? h("li", { class: "quiet" }, `and ${listing.more} older`) : "");
}

export async function open(id) {
  const dialog = $("story");
  base = `/incident/${encodeURIComponent(id)}`;
  say($("story-title"), `Incident ${id}`);
  if (!dialog.open) { $("story-body").replaceChildren(h("p", { class: "quiet" }, "Reading its events from the log…")); dialog.showModal(); $("story-title").focus(); }
  const response = await fetch(`/api/incidents/${encodeURIComponent(id)}`);
  const story = await response.json();
  if (!dialog.open || base !== `/incident/${encodeURIComponent(id)}`) return;
  if (story.error) { $("story-body").replaceChildren(h("p", { class: "empty" }, `This incident cannot be told: ${story.error}.`)); return; }
  put($("story-body"), ...tell(story));
}

export function close() { if ($("story").open) $("story").close(); }

export function start() {
  $("story-close").addEventListener("click", close);
  $("story").addEventListener("click", (e) => { if (e.target === $("story")) close(); });
  $("story-copy").addEventListener("click", async () => {
    const url = location.origin + base;
    try { await navigator.clipboard.writeText(url); say($("story-copy"), "copied"); } catch { say($("story-copy"), url); }
    setTimeout(() => say($("story-copy"), "copy link"), 2500);
  });
}

function tell(s) {
  const body = [
    h("p", { class: "lead" }, chip(s.open ? s.worst.tone : "good", s.open ? `open, ${s.worst.word}` : "over"), ` noticed ${full(s.opened_at)}`, s.closed_at ? `, over ${full(s.closed_at)}` : ""),
    h("ul", { class: "sentences", role: "list" }, ...s.summary.map((t) => h("li", {}, t))),
    h("h3", {}, "What came of what"),
    h("ol", { class: "steps", role: "list" }, ...s.steps.map((t) => h("li", { class: t.kind },
      h("span", { class: "offset", title: full(t.at) }, offset(t.offset_ms)),
      h("span", { class: "kind" }, t.kind === "root" ? "root cause" : t.kind === "end" ? "over" : t.level),
      h("span", {}, t.words, t.count > 1 ? h("span", { class: "quiet" }, ` · ${t.count} times, last ${moment(t.last_at, s.opened_at)}`) : "",
        t.names?.length ? h("span", { class: "quiet" }, ` · ${t.names.join(", ")}`) : "")))),
  ];
  if (s.names?.length) body.push(h("p", { class: "quiet" }, `Subscriptions: ${s.names.join(", ")}${s.affected > s.names.length ? ` and ${s.affected - s.names.length} more` : ""}`));
  body.push(h("h3", {}, "Its events, as the log has them"));
  const lines = [];
  let last = "";
  s.lines.forEach((l, n) => {
    if (day(l.at) !== last) { last = day(l.at); lines.push(h("li", { class: "day" }, last)); }
    lines.push(line(l, s.opened_at));
    if (s.omitted && n + 1 === s.omitted_after) lines.push(h("li", { class: "day" }, `${plural(s.omitted, "event")} between these are left out`));
  });
  body.push(h("ol", { class: "lines", role: "list" }, ...lines));
  if (s.cut) body.push(h("p", { class: "quiet" }, "There is more: the log has it (ibconn watch --since)."));
  return body;
}

const tones = { info: "", warning: "warn", error: "bad" };

function line(l, from) {
  return h("li", { class: `line ${l.severity}` }, h("time", { datetime: new Date(l.at).toISOString(), title: offset(l.at - from) }, clock(l.at)),
    h("span", { class: `sign ${tones[l.severity]}`, title: l.severity }, tones[l.severity] ? signs[tones[l.severity]] : "", h("span", { class: "visually-hidden" }, l.severity === "info" ? "" : l.severity)),
    h("span", { class: "text" }, l.text));
}

export { tones };
