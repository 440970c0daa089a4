// News from the server, and whether there is a way for them to come.
//
// The browser keeps at most six connections to a host, so a page that nobody has
// looked at for a minute gives its stream up, and says so in its title.

const silentFor = 12000, hiddenFor = 60000, again = 3000;

let source = null, position = 0, heard = 0, on = {}, paused = false, hiddenAt = 0, retry = 0;

// start follows from a position. on.news is told what comes, on.state "live",
// "broken" with since when, or "paused".
export function start(from, handlers) {
  position = from;
  on = handlers;
  heard = performance.now();
  open();
  setInterval(watch, 1000);
  document.addEventListener("visibilitychange", () => {
    hiddenAt = document.hidden ? performance.now() : 0;
    if (!document.hidden && paused) { paused = false; heard = performance.now(); open(); }
  });
}

function open() {
  source?.close();
  source = new EventSource(`/api/stream?after=${position}`);
  source.addEventListener("news", (e) => {
    heard = performance.now();
    const news = JSON.parse(e.data);
    position = news.position;
    on.state("live");
    on.news(news);
  });
  source.addEventListener("error", () => {
    if (paused) return;
    on.state("broken");
    // A refusal closes it for good; a break does not, and the browser comes back.
    if (source.readyState === EventSource.CLOSED) retry ||= setTimeout(() => { retry = 0; open(); }, again);
  });
}

function watch() {
  if (paused) return;
  if (hiddenAt && performance.now() - hiddenAt > hiddenFor) {
    paused = true;
    source.close();
    on.state("paused");
    return;
  }
  if (performance.now() - heard > silentFor) {
    heard = performance.now();
    on.state("broken");
    open();
  }
}
