package dashboard_test

import (
	"fmt"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/prometheus/client_golang/prometheus"

	"ibconn/consumers/dashboard"
	"ibconn/consumers/web"
	"ibconn/events"
	"ibconn/testenv/browser"
)

// serve serves a page as a run does, behind package web's guard.
func serve(t testing.TB, page *dashboard.Page) string {
	t.Helper()
	site := &web.Site{Log: page.Log, Metrics: prometheus.NewRegistry(), More: page.Handler()}
	server := httptest.NewServer(site.Handler())
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// paints is when the page was first painted, and had its data drawn, in milliseconds
// from the beginning of the navigation.
const paints = `(async () => {
	const first = name => performance.getEntriesByName(name)[0]?.startTime ?? 0;
	return [first("first-paint"), first("first-contentful-paint"), first("ibconn-data"), first("ibconn-drawn"), performance.getEntriesByType("longtask").length];
})()`

// TestAWeekOfThirtyTwoConnectionsIsShownAtOnce prints what the page costs.
func TestAWeekOfThirtyTwoConnectionsIsShownAtOnce(t *testing.T) {
	chrome := browser.Open(t)
	now := time.Now().UTC()
	w := newTale(false)
	began := time.Now()
	for n := range 32 {
		w.life(events.ConnectionID(fmt.Sprintf("feed-%d", 20+n)), uint64(n)).aWeek(now)
	}
	w.life("main", 99).aWeek(now)
	took := time.Since(began).Round(time.Millisecond)
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	t.Logf("%d events of 33 connections folded in %v; the heap is %d MB", w.last, took, memory.HeapAlloc>>20)
	url := serve(t, &dashboard.Page{Model: w.model, Log: w})
	tab := chrome.Tab(t)

	tab.Size(1440, 1000, false)
	tab.Go(url + "/?span=week")
	tab.Until("the connections and the timeline", `document.querySelectorAll("#rows li").length === 33 && document.querySelectorAll("#lane-names li").length >= 33`)
	at := browser.Eval[[]float64](tab, paints)
	requests, bytes := tab.Loaded()
	t.Logf("first paint %.0f ms, first content %.0f ms, data there %.0f ms, timeline drawn %.0f ms, %.0f long tasks; %d answers, %.0f KB in all", at[0], at[1], at[2], at[3], at[4], requests, bytes/1024)
	if bytes > 2<<20 {
		t.Errorf("the page takes %.0f bytes, want at most 2 MiB", bytes)
	}
	if requests < 8 || at[0] <= 0 || at[3] <= 0 {
		t.Errorf("it was not measured: %d answers, paints %v", requests, at)
	}
	clicked := browser.Eval[float64](tab, `(async () => { const t = performance.now(); document.querySelector('[data-span="day"]').click();
		while (!document.getElementById("range").textContent.includes("to now") || document.querySelector('[data-span="day"]').ariaPressed !== "true") await new Promise(requestAnimationFrame);
		await new Promise(requestAnimationFrame); return performance.now() - t; })()`)
	t.Logf("a click on another span is painted after %.0f ms", clicked)
	tab.Shot("week-light")

	// All of them at once have something to tell.
	var telling sync.WaitGroup
	telling.Go(func() {
		for n := range 2000 {
			l := w.life(events.ConnectionID(fmt.Sprintf("feed-%d", 20+n%32)), uint64(n))
			l.attempt = l.state(l.name).Attempt.Number
			l.beats(now, now.Add(31*time.Second), 15*time.Second)
			l.tell(l.name, now, &events.GatewayReported{Attempt: l.attempt, RequestID: -1, Code: 2000 + n, Message: "again"})
		}
		w.tell("main", now, &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 1, Message: "that is all"})
	})
	live := browser.Eval[[]float64](tab, `(async () => { const t = performance.now(); let last = t, most = 0;
		while (!document.getElementById("lines").textContent.includes("that is all")) { await new Promise(requestAnimationFrame); const at = performance.now(); most = Math.max(most, at - last); last = at; }
		return [last - t, most]; })()`)
	telling.Wait()
	t.Logf("6000 events are shown after %.0f ms, and meanwhile a frame took %.0f ms at most", live[0], live[1])
	tab.Dark(true)
	tab.Click("[data-span='week']")
	tab.Click("#rows button")
	tab.Until("the details", `!document.getElementById("details").hidden && document.querySelector(".u-over")`)
	tab.Until("the heartbeats", `document.getElementById("beats-words").textContent.includes("median")`)
	tab.Shot("week-dark")
}

// hostile is what a gateway may say.
const hostile = `<img src=x onerror="window.pwned=1"><script>window.pwned=2</script>`

func TestWhatAGatewaySaysStaysText(t *testing.T) {
	chrome := browser.Open(t)
	now := time.Now().UTC()
	w := newTale(true)
	l := w.life("main", 1)
	l.begin(now.Add(-10 * time.Minute))
	at := l.open(now.Add(-10*time.Minute), "usfarm", hostile)
	l.subscribe(at, "aapl-bars")
	l.beats(at, now, 15*time.Second)
	l.farm(now, hostile, events.FarmDown)
	l.tell("main", now, &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 399, Class: events.ClassUnknown, Message: hostile})
	l.tell("main", now, &events.SubscriptionRefused{Subscription: "aapl-bars", Attempt: 1, RequestID: 1, Code: 200, Message: hostile, Tries: 1})
	l.tell("main", now, &events.LinkWentDown{Attempt: 1, Code: 1100, Message: hostile, Window: hostile})
	url := serve(t, &dashboard.Page{Model: w.model, Log: w})
	tab := chrome.Tab(t, "404 (Not Found)") // there is no such incident
	tab.Size(1440, 1700, false)
	for _, path := range []string{"/", "/?connection=%3Cimg%20src=x%20onerror=%22window.pwned=1%22%3E&q=%3Cb%3E", "/incident/%3Cimg%20src=x%20onerror=alert(1)%3E"} {
		tab.Go(url + path)
		tab.Until("the connection", `document.querySelectorAll("#rows li").length === 1`)
	}
	tab.Go(url + "/")
	tab.Until("the gateway's words", `document.getElementById("lines").textContent.includes("<img src=x")`)
	tab.Until("the farm's name", `document.getElementById("details").textContent.includes("<img src=x") && document.getElementById("lane-names").textContent.includes("<img src=x")`)
	tab.Click("#incidents a")
	tab.Until("the story", `document.querySelectorAll("#story-body .line").length > 3 && document.getElementById("story-body").textContent.includes("<img src=x")`)
	tab.Press("\x1b")
	tab.Until("the story closed by Escape", `!document.getElementById("story").open && location.pathname === "/"`)
	if n := browser.Eval[int](tab, `document.querySelectorAll("main img, dialog img, main script, dialog script").length + (window.pwned ? 1 : 0)`); n != 0 {
		t.Errorf("the gateway's words made %d elements", n)
	}
}

// contrasts is what text on the page is too faint to be read: less than 4.5 to 1
// against what is behind it.
const contrasts = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
	const over = (top, under) => [0, 1, 2].map(n => top[n] * top[3] + under[n] * (1 - top[3])).concat(1);
	const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const behind = e => { const all = []; for (let p = e; p; p = p.parentElement) { const c = rgba(getComputedStyle(p).backgroundColor); all.unshift(c); } return all.reduce((under, top) => over(top, under), [255, 255, 255, 1]); };
	const faint = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility({ visibilityProperty: true }) || e.matches(":disabled, option, .visually-hidden, .skip") || e.closest("noscript")) continue;
		const bg = behind(e), opacity = Number(getComputedStyle(e).opacity), ink = rgba(getComputedStyle(e).color);
		const a = light(over([ink[0], ink[1], ink[2], ink[3] * opacity], bg)), b = light(bg);
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) faint.add(e.className + " " + JSON.stringify(e.textContent.slice(0, 30)) + " " + ratio.toFixed(2));
	}
	return [...faint];
})()`

// nameless is what can be used and does not say what it is, and what names it twice.
const nameless = `(() => {
	const all = [];
	for (const e of document.querySelectorAll("button, a, input, select, canvas, [tabindex], dialog, section, [role=group], [role=region]")) {
		const by = (e.getAttribute("aria-labelledby") ?? "").split(" ").map(id => document.getElementById(id)?.textContent ?? "").join("");
		const closed = e.closest("dialog:not([open])");
		if (!(e.ariaLabel || by.trim() || [...(e.labels ?? [])].some(l => l.textContent.trim()) || e.textContent.trim()) && !closed && e.getAttribute("aria-hidden") !== "true") all.push(e.outerHTML.slice(0, 120));
	}
	const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
	for (const id of new Set(ids.filter((id, n) => ids.indexOf(id) !== n))) all.push("twice: " + id);
	if (document.querySelectorAll("h1").length !== 1 || document.querySelectorAll("main").length !== 1 || !document.documentElement.lang) all.push("landmarks");
	return all;
})()`

// TestThePageCanBeReadAndUsed looks at what a person needs who has a phone, a keyboard,
// or weak eyes.
func TestThePageCanBeReadAndUsed(t *testing.T) {
	chrome := browser.Open(t)
	now := time.Now().UTC()
	w := newTale(true)
	for n, name := range []events.ConnectionID{"main", "paper", "a-name-of-thirty-two-characters0", "off"} {
		l := w.life(name, uint64(n)+7)
		l.aWeek(now)
		switch n {
		case 0:
			l.lose(now.Add(-5*time.Minute), events.CauseReset, 8)
		case 1:
			l.farm(now.Add(-2*time.Minute), "usfarm", events.FarmDown)
			l.tell(name, now, &events.SubscriptionRefused{Subscription: "eur-usd-quotes", Attempt: 1, RequestID: 1, Code: 354, Message: "Requested market data is not subscribed.", Tries: 1})
		case 3:
			l.tell(name, now, &events.Stopped{Cause: events.CauseAskedFor})
		}
	}
	url := serve(t, &dashboard.Page{Model: w.model, Log: w})
	tab := chrome.Tab(t)

	tab.Size(360, 780, true)
	for _, path := range []string{"/", "/?connection=main&span=week", "/?connection=a-name-of-thirty-two-characters0&span=day"} {
		tab.Go(url + path)
		tab.Until("the page", `document.querySelectorAll("#rows li").length === 4 && document.querySelectorAll("#lane-names li").length > 3 && document.querySelectorAll("#incidents a").length > 1`)
		if width := browser.Eval[int](tab, `document.documentElement.scrollWidth`); width > 360 {
			t.Errorf("%s is %d pixels wide on a phone of 360", path, width)
		}
	}
	tab.Click("#incidents a")
	tab.Until("the story", `document.querySelectorAll("#story-body .line").length > 3`)
	if width := browser.Eval[int](tab, `document.getElementById("story").scrollWidth`); width > 360 {
		t.Errorf("a story is %d pixels wide on a phone of 360", width)
	}

	tab.Size(1440, 1700, false)
	tab.Go(url + "/?connection=paper")
	tab.Until("the page", `document.querySelectorAll("#rows li").length === 4 && document.querySelectorAll("#lines li").length > 3 && document.querySelector(".u-over")`)
	if all := browser.Eval[[]string](tab, nameless); len(all) > 0 {
		t.Errorf("no names: %q", all)
	}
	for _, dark := range []bool{false, true} {
		tab.Dark(dark)
		tab.Shot(map[bool]string{false: "several-light", true: "several-dark"}[dark])
		if all := browser.Eval[[]string](tab, contrasts); len(all) > 0 {
			t.Errorf("dark %v: too faint: %q", dark, all)
		}
	}

	// The tab key comes to everything, in the order of the page; arrows move in lists.
	reached := make(map[string]bool)
	for range 60 {
		tab.Press("\t")
		reached[browser.Eval[string](tab, `(e => e.id || e.className || e.tagName)(document.activeElement)`)] = true
	}
	for _, want := range []string{"skip", "zone", "theme", "only", "row", "earlier", "lanes", "f-connection", "f-kind", "f-severity", "f-text", "events"} {
		if !reached[want] {
			t.Errorf("the tab key does not come to %s, only to %v", want, reached)
		}
	}
	browser.Eval[int](tab, `(document.querySelector('#rows button[tabindex="0"]').focus(), 0)`)
	before := browser.Eval[string](tab, `document.activeElement.querySelector(".name").textContent`)
	tab.Press(kb.ArrowDown)
	tab.Press(kb.Enter)
	tab.Until("another connection", fmt.Sprintf(`new URLSearchParams(location.search).get("connection") !== %q && document.activeElement.getAttribute("aria-pressed") === "true"`, before))
	browser.Eval[int](tab, `(document.getElementById("lanes").focus(), 0)`)
	tab.Press(kb.ArrowDown)
	tab.Press(kb.ArrowLeft)
	tab.Until("what was so then", `document.getElementById("readout").textContent.includes("session:")`)

	// What is shown anew each second keeps the focus.
	clock := browser.Eval[string](tab, `(window.link = document.querySelector("#incidents a"), window.link.focus(), document.getElementById("stream").textContent)`)
	tab.Until("a second later", fmt.Sprintf(`document.getElementById("stream").textContent !== %q`, clock))
	if !browser.Eval[bool](tab, `document.activeElement === window.link && window.link.isConnected`) {
		t.Error("a link that had the focus lost it within a second")
	}

	// The filters hold for what is listed, and stand in the address.
	browser.Eval[int](tab, `(document.getElementById("f-text").focus(), 0)`)
	tab.Press("session open")
	tab.Until("the filtered events", `location.search.includes("q=session+open") && [...document.querySelectorAll("#lines .text")].every(e => e.textContent.includes("session open"))`)
}

func TestThePageSaysThatTheLogIsStillBeingRead(t *testing.T) {
	chrome := browser.Open(t)
	now := time.Now().UTC()
	w := newTale(true)
	l := w.life("main", 1)
	l.begin(now.Add(-48 * time.Hour))
	l.tell("main", now.Add(-47*time.Hour), &events.DialFailed{Attempt: 1, Stage: events.PhaseDialing, Cause: events.CauseRefused, Failures: 1, RetryAt: now.Add(-47 * time.Hour)})
	caught := make(chan struct{})
	url := serve(t, &dashboard.Page{Model: w.model, Log: w, Caught: caught})
	tab := chrome.Tab(t)
	tab.Go(url + "/")
	tab.Until("that it is not up to date", `document.getElementById("banner").textContent.includes("still being read") && document.body.classList.contains("old")`)
	l.beats(l.open(now.Add(-time.Minute)), now, 15*time.Second)
	close(caught)
	tab.Until("how it is", `document.getElementById("banner").hidden && document.querySelector("#rows .condition").textContent.includes("healthy") && !document.body.classList.contains("old")`)
}
