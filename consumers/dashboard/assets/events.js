// The tail of events, and its filters.
import { $, clock, day, full, h, put, say, signs } from "./words.js";
import { tones } from "./story.js";

const most = 300;
let all = [], filters = {}, oldest = false;

export function start(current, handlers) {
  filters = current;
  $("filters").addEventListener("submit", (e) => e.preventDefault());
  let timer = 0;
  const changed = (wait) => () => {
    clearTimeout(timer);
    timer = setTimeout(() => handlers.filter({ connection: $("f-connection").value, kind: $("f-kind").value, severity: $("f-severity").value, q: $("f-text").value.trim() }), wait);
  };
  for (const id of ["f-connection", "f-kind", "f-severity"]) $(id).addEventListener("change", changed(0));
  $("f-text").addEventListener("input", changed(250));
  $("older").addEventListener("click", () => handlers.older(all.at(-1)?.position ?? 0));
  put($("f-kind"), ...["", "state", "command", "subscription", "error", "heartbeat", "claimed"].map((k) => h("option", { value: k }, k || "all")));
}

export function choices(names, current) {
  filters = current;
  put($("f-connection"), h("option", { value: "" }, "all"), ...names.map((n) => h("option", { value: n }, n)));
  for (const [id, value] of [["f-connection", current.connection], ["f-kind", current.kind], ["f-severity", current.severity]]) if (document.activeElement !== $(id)) $(id).value = value;
  if (document.activeElement !== $("f-text")) $("f-text").value = current.q;
}

const grave = { "": 0, info: 0, warning: 1, error: 2 };
const fits = (l) => (!filters.connection || l.connection === filters.connection) && (!filters.kind || l.kind === filters.kind) &&
  grave[l.severity] >= grave[filters.severity] && (!filters.q || l.text.toLowerCase().includes(filters.q.toLowerCase()) || l.what.includes(filters.q.toLowerCase()));

// show shows a tail; more says that there are older ones here, cut that the log alone has them.
export function show(tail, behind) {
  all = behind ? all.concat(tail.lines) : tail.lines;
  oldest = !tail.more;
  $("older").hidden = oldest;
  say($("events-note"), oldest && tail.cut ? "Older events are in the log: ibconn watch --since 24h" : "");
  render();
}

// add takes what is new, oldest first.
export function add(lines) {
  const fresh = lines.filter((l) => fits(l) && (!all.length || l.position > all[0].position)).toReversed();
  if (!fresh.length) return;
  all = fresh.concat(all);
  if (all.length > most) { all.length = most; $("older").hidden = false; oldest = false; say($("events-note"), ""); }
  render();
}

export function render() {
  $("events-empty").hidden = all.length > 0;
  const filtered = filters.kind || filters.severity || filters.q;
  say($("events-empty"), filtered ? "No event here fits the filter." : "No event yet.");
  $("events").hidden = all.length === 0;
  const box = $("events"), top = box.scrollTop, before = box.scrollHeight;
  const rows = [];
  let last = "";
  const several = !filters.connection && new Set(all.map((l) => l.connection)).size > 1;
  for (const l of all) {
    if (day(l.at) !== last) { last = day(l.at); rows.push(h("li", { class: "day" }, last)); }
    rows.push(h("li", { class: `line ${l.severity}` },
      h("time", { datetime: new Date(l.at).toISOString(), title: full(l.at) }, clock(l.at)),
      h("span", { class: `sign ${tones[l.severity]}` }, tones[l.severity] ? signs[tones[l.severity]] : "", h("span", { class: "visually-hidden" }, l.severity === "info" ? "" : l.severity)),
      several ? h("span", { class: "who" }, l.connection) : "",
      h("span", { class: "text" }, l.text)));
  }
  $("lines").replaceChildren(...rows);
  if (top > 4) box.scrollTop = top + box.scrollHeight - before; // what is read stays where it is
}
