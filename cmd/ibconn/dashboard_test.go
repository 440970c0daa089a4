package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/browser"
	"ibconn/testenv/gateway"
)

// shows is true once the row of main says a word.
func shows(word string) string {
	return `document.querySelector("#rows .row .condition")?.textContent.includes("` + word + `")`
}

func TestTheDashboardShowsAGatewayDieAndWhatCameOfIt(t *testing.T) {
	chrome := browser.Open(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	base := p.out.find(t, httpLine)
	p.ready()
	if _, err := bus.Ask(t.Context(), p.nc, "main", events.VerbSubscribe, events.Request{Contract: events.Contract{Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}, Kind: events.SubscribeQuotes}); err != nil {
		t.Fatal(err)
	}

	tab := chrome.Tab(t)
	defer tab.Close()
	tab.Size(1440, 1500, false)
	tab.Go(base + "/?span=minutes")
	tab.Until("a healthy connection", shows("healthy")+` && document.querySelector("#rows .session").textContent.includes("ready") && document.querySelector("#stream").textContent.includes("Live")`)
	tab.Until("no incident", `document.getElementById("incidents-empty").textContent.includes("quiet")`)
	tab.Until("heartbeats", `document.getElementById("beats-words").textContent.includes("median")`)
	tab.Shot("healthy-light")

	browser.Eval[int](tab, `(window.stays = 1)`)
	if err := gw.Refuse(true); err != nil {
		t.Fatal(err)
	}
	gw.Reset()
	tab.Until("the gateway's death, live", shows("down")+` && window.stays === 1`)
	tab.Until("an incident", `document.querySelector("#incidents a.open")`)
	tab.Until("a lane that is red", `document.getElementById("lanes").ariaLabel.includes("Trouble in: ")`)
	tab.Until("the attempts that fail", `document.getElementById("lines").textContent.includes("attempt 3 failed")`)
	tab.Shot("down-light")
	tab.Dark(true)
	tab.Shot("down-dark")
	tab.Dark(false)

	// A colleague is sent the link.
	link := browser.Eval[string](tab, `document.querySelector("#incidents a.open").href`)
	if !strings.HasPrefix(link, base+"/incident/main-") {
		t.Errorf("the link of the incident is %s", link)
	}
	other := chrome.Tab(t)
	defer other.Close()
	other.Size(1440, 1000, false)
	other.Go(link)
	other.Until("the story", `document.getElementById("story").open && document.querySelectorAll("#story-body .steps li").length >= 2 && document.querySelector("#story-body .root").textContent.includes("the gateway reset the connection")`)
	other.Shot("story-light")
	other.Dark(true)
	other.Shot("story-dark")

	phone := chrome.Tab(t)
	defer phone.Close()
	phone.Size(390, 844, true)
	phone.Go(base + "/")
	phone.Until("the same on a phone", shows("down"))
	phone.Until("its timeline", `document.querySelectorAll("#lane-names li").length > 4`)
	phone.Shot("phone-light")
	phone.Dark(true)
	browser.Eval[int](phone, `(document.getElementById("timeline-title").scrollIntoView(), 0)`)
	phone.Shot("phone-dark")

	if err := gw.Refuse(false); err != nil {
		t.Fatal(err)
	}
	tab.Until("the recovery, live", shows("healthy")+` && window.stays === 1`)
	other.Until("the end of the story", `document.querySelector("#story-body .steps .end") && document.querySelector("#story-body .lead").textContent.includes("over")`)
	other.Press("\x1b")
	other.Until("the page behind it", `location.pathname === "/" && document.querySelector("#incidents a:not(.open)")`)
}

func TestTheDashboardSaysWhenNobodyTellsItAnything(t *testing.T) {
	tab := browser.Open(t).Tab(t, "net::ERR_")
	defer tab.Close()
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startRun(t, runArgs(dir, gw.Addr()))
	base := p.out.find(t, httpLine)
	p.ready()
	tab.Go(base + "/")
	tab.Until("a healthy connection", shows("healthy"))
	tab.Until("its events", `document.querySelectorAll("#lines .line").length > 5`)
	browser.Eval[int](tab, `(window.stays = 1)`)
	p.stop()
	tab.Until("that no word comes", `!document.getElementById("banner").hidden && document.getElementById("banner").textContent.includes("No word from ibconn since") && document.body.classList.contains("old")`)
	tab.Shot("no-word")
	again := startRun(t, runArgs(dir, gw.Addr(), "--http", strings.TrimPrefix(base, "http://")))
	again.out.find(t, httpLine)
	tab.Until("that it is told again", `window.stays === 1 && document.getElementById("banner").hidden && document.getElementById("details").textContent.includes("2 sessions") && `+shows("healthy"))
}

func TestTheDashboardIsServedElsewhere(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	ctx, stop := context.WithCancel(t.Context())
	var out, errors output
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"consume", "dashboard", "--nats", p.url, "--http", "127.0.0.1:0"}, console{Out: &out, Err: &errors})
	}()
	url := out.find(t, `the dashboard at (http://\S+)/`)
	within(t, "the connection, ready", func() bool {
		_, body := fetch(t, url+"/api/overview")
		return containsAll(body, `"connection":"main"`, `"word":"ready"`, `"reading":false`)
	})
	if code, body := fetch(t, url+"/"); code != http.StatusOK || !strings.Contains(body, "<title>ibconn</title>") {
		t.Errorf("the page is %d, %.100s", code, body)
	}
	if _, body := fetch(t, url+"/api/events?limit=500"); strings.Contains(body, account) || !strings.Contains(body, "session open") {
		t.Errorf("the events are %s", body)
	}
	stop()
	if exit := <-ended; exit != exitDone {
		t.Errorf("it ends with %d, %q", exit, errors.String())
	}
}

// post sends a command over HTTP.
func post(t *testing.T, url, body string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: liveness}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const reconnectMain = `{"connection":"main","id":"x1"}`

func TestTheDashboardTakesNoCommandUnlessItIsTold(t *testing.T) {
	chrome := browser.Open(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	base := p.out.find(t, httpLine)
	at := p.ready()
	tab := chrome.Tab(t)
	defer tab.Close()
	tab.Go(base + "/")
	tab.Until("the details", `!document.getElementById("details").hidden && document.getElementById("details").textContent.includes("heartbeat")`)
	if n := browser.Eval[int](tab, `document.querySelectorAll("[data-verb]").length`); n != 0 {
		t.Errorf("%d buttons for commands are shown, want none", n)
	}
	same := http.Header{"Origin": {base}, "Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}}
	if code, body := post(t, base+"/api/commands/reconnect", reconnectMain, same); code != http.StatusForbidden || !strings.Contains(body, "--http-commands") {
		t.Errorf("a command is answered %d, %s", code, body)
	}
	for e, err := range p.log.Read(t.Context(), bus.Query{After: at, Kinds: []events.Kind{events.KindCommand}}) {
		t.Errorf("a command is in the log: %+v, %v", e.Event, err)
	}
}

func TestTheDashboardReconnectsWhenItIsAllowedAndConfirmed(t *testing.T) {
	chrome := browser.Open(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--http-commands"))
	base := p.out.find(t, httpLine)
	at := p.ready()
	for name, header := range map[string]http.Header{
		"another site's page":         {"Origin": {"http://evil.example"}, "Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}},
		"another port's page":         {"Origin": {"http://127.0.0.1:1"}, "Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-site"}},
		"a page that lies of itself":  {"Origin": {base}, "Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}},
		"a page without an origin":    {"Origin": {"null"}, "Content-Type": {"application/json"}},
		"a program without an origin": {"Content-Type": {"application/json"}},
		"a form":                      {"Origin": {base}, "Content-Type": {"text/plain"}},
	} {
		if code, body := post(t, base+"/api/commands/reconnect", reconnectMain, header); code != http.StatusForbidden && code != http.StatusUnsupportedMediaType {
			t.Errorf("a command of %s is answered %d, %s", name, code, body)
		}
	}

	tab := chrome.Tab(t)
	defer tab.Close()
	tab.Size(1440, 1000, false)
	tab.Go(base + "/")
	tab.Until("the button", `document.querySelector('[data-verb="reconnect"]')`)
	tab.Click(`[data-verb="reconnect"]`)
	tab.Until("the question", `document.getElementById("ask").open && document.getElementById("ask-title").textContent === "Reconnect main?" && document.getElementById("ask-words").textContent.includes("is ended")`)
	tab.Shot("ask")
	tab.Press("\x1b")
	tab.Until("no question", `!document.getElementById("ask").open`)
	for e, err := range p.log.Read(t.Context(), bus.Query{After: at, Kinds: []events.Kind{events.KindCommand}}) {
		t.Errorf("a command is in the log that nobody confirmed: %+v, %v", e.Event, err)
	}
	tab.Click(`[data-verb="reconnect"]`)
	tab.Until("the question", `document.getElementById("ask").open`)
	tab.Click("#ask-yes")
	tab.Until("what became of it", `document.getElementById("ask-said").textContent === "reconnect is completed"`)
	accepted, _ := wait(p, at, func(e *events.CommandAccepted) bool { return e.Verb == events.VerbReconnect })
	if !strings.HasPrefix(accepted.CommandID, "http-") || !strings.Contains(accepted.Reason, "dashboard") {
		t.Errorf("the command is %+v, want it to say that it came from the dashboard", accepted)
	}
	p.healthy(at)
}
