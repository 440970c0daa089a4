package report_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"ibconn/events"
	"ibconn/replay/report"
	"ibconn/testenv/browser"
	"ibconn/testenv/nights"
)

// sections are the parts that every report has.
var sections = []string{"summary", "timeline", "heartbeats", "incidents", "story", "statistics", "events"}

// sheets finds the pages of a PDF.
var sheets = regexp.MustCompile(`/Type\s*/Page[^s]`)

// TestThePageInABrowser opens reports on a screen, on a phone and on paper. What the
// browser's console says fails it.
func TestThePageInABrowser(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	tab := browser.Open(t).Tab(t)
	for _, test := range []struct {
		name      string
		all       []events.Recorded
		collector report.Collector
	}{
		{"month", month(t).All, report.Collector{Zone: zone, Stories: 3}},
		{"incident", nights.Play(t, scenarios+"daily_restart.txt"), report.Collector{Zone: zone, Stories: 1, Only: "main-8"}},
		{"hostile", hostile(t).All, report.Collector{Zone: zone, Stories: 3}},
		{"quiet", nights.Play(t, scenarios+"start.txt"), report.Collector{Zone: zone, Stories: 3}},
	} {
		r := collect(t, test.all, test.collector)
		var page bytes.Buffer
		if err := r.HTML(&page); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), test.name+".html")
		if err := os.WriteFile(path, page.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		tab.Size(1120, 1400, false)
		tab.Dark(false)
		tab.Go("file://" + path)
		for _, s := range sections {
			if !browser.Eval[bool](tab, `document.querySelector("section#`+s+` h2")?.getBoundingClientRect().height > 0`) {
				t.Errorf("%s: there is no section %s", test.name, s)
			}
		}
		for name, want := range map[string]int{
			`script,img,iframe,object,embed,form`:                          0,
			`svg[role=img]:not(:has(title)),svg[role=img]:not(:has(desc))`: 0,
			`table:not(:has(thead th[scope]))`:                             0,
			`svg[role=img] title:empty`:                                    0,
		} {
			if got := browser.Eval[int](tab, "document.querySelectorAll("+quoted(name)+").length"); got != want {
				t.Errorf("%s: %d elements are %s, want %d", test.name, got, name, want)
			}
		}
		tab.Shot("report-" + test.name + "-light")
		tab.Dark(true)
		tab.Shot("report-" + test.name + "-dark")
		if light, dark := browser.Eval[string](tab, `getComputedStyle(document.body).backgroundColor`), "rgb(20, 23, 27)"; light != dark {
			t.Errorf("%s: in the dark the ground is %s", test.name, light)
		}
		for _, width := range []int64{360, 768, 1120} {
			tab.Size(width, 800, width == 360)
			if got := browser.Eval[int64](tab, `document.documentElement.scrollWidth`); got > width {
				t.Errorf("%s: at %d px it is %d px wide: %s", test.name, width, got, browser.Eval[string](tab,
					`[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll")).slice(0, 3).map(e => e.outerHTML.slice(0, 150)).join("\n")`))
			}
		}
		tab.Size(360, 1200, true)
		tab.Shot("report-" + test.name + "-phone")
		tab.Size(720, 1020, false)
		tab.Paper(true)
		tab.Shot("report-" + test.name + "-paper")
		tab.Paper(false)
		if pdf := tab.Print(); len(sheets.FindAll(pdf, -1)) == 0 || !bytes.HasPrefix(pdf, []byte("%PDF-")) {
			t.Errorf("%s: it prints as %d bytes without a page", test.name, len(pdf))
		}
	}
	if requests, _ := tab.Loaded(); requests > 4 {
		t.Errorf("four pages made %d requests: want one each", requests)
	}
}

func quoted(s string) string { return "`" + s + "`" }
