// Package browser opens pages in a headless Chromium, for tests.
//
//	tab := browser.Open(t).Tab(t)
//	tab.Go(url)
//	tab.Until("the heading", `document.querySelector("h1")?.textContent === "ibconn"`)
//	tab.Shot("page")
//
// Guarantees:
//   - A message in the console that is an error, an exception, a refused resource and a
//     breach of the content security policy fail the test.
//   - Nothing outlives the test. Waiting is for a condition, with a deadline.
//
// # Non-obvious
//
//   - Without a Chromium the test is skipped, and fails where CI=true is set.
//   - Pictures go to the directory that IBCONN_ARTEFACTS names, or else to the test's
//     artifact directory, which `go test -artifacts` keeps.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// limit bounds whatever is waited for.
const limit = 60 * time.Second

// artefacts is where pictures go. It is read before a test may clear its environment.
var artefacts = os.Getenv("IBCONN_ARTEFACTS")

// names are what a Chromium may be called.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// Browser is a browser of one test.
type Browser struct{ ctx context.Context }

// Open starts a browser, which ends with the test.
func Open(t testing.TB) *Browser {
	t.Helper()
	path := find(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1440, 1000))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses to have one then
	}
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // which waits; how it ends is no business of a test
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s does not start: %v", path, err)
	}
	return &Browser{ctx}
}

func find(t testing.TB) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no Chromium: CI must run this test")
	}
	t.Skip("there is no Chromium on this machine: install one to test pages in it")
	return ""
}

// Tab is a tab of a browser.
type Tab struct {
	t     testing.TB
	ctx   context.Context
	close func()

	mu       sync.Mutex
	wrong    []string
	bytes    float64
	requests int
}

// Tab opens a tab, which is closed with the test. What its console says by then must
// be no error, but for messages with one of the texts that are expected.
func (b *Browser) Tab(t testing.TB, expected ...string) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	tab := &Tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, tab.hear); err != nil {
		t.Fatal(err)
	}
	tab.close = sync.OnceFunc(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		for _, what := range tab.Wrong() {
			if !containsAny(what, expected) {
				t.Errorf("the browser says: %s", what)
			}
		}
	})
	t.Cleanup(tab.close)
	call(tab, network.Enable, network.EnableParams{})
	call(tab, log.Enable, cdp.Empty{})
	call(tab, runtime.Enable, cdp.Empty{})
	return tab
}

// Close closes the tab at once: what it shows may end with the test's context, which
// is before the test's clean-ups.
func (tab *Tab) Close() { tab.close() }

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

func (tab *Tab) hear(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, a := range e.Args {
				words = append(words, string(a.Value)+a.Description)
			}
			tab.wrong = append(tab.wrong, "console: "+strings.Join(words, " "))
		}
	case *runtime.EventExceptionThrown:
		what := e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			what += " " + thrown.Description
		}
		tab.wrong = append(tab.wrong, "exception: "+what)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			tab.wrong = append(tab.wrong, fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventLoadingFinished:
		tab.bytes += e.EncodedDataLength
		tab.requests++
	}
}

// Wrong is what the browser complained of so far.
func (tab *Tab) Wrong() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.wrong...)
}

// Loaded is how many answers came to their end so far, and of how many bytes, headers
// included.
func (tab *Tab) Loaded() (requests int, bytes float64) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return tab.requests, tab.bytes
}

// run runs an action, and fails the test when that does not work.
func run[T any](tab *Tab, a chromedp.Action[T]) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		tab.t.Fatal(err)
	}
	return v
}

func call[P, R any](tab *Tab, cmd cdp.Command[P, R], params P) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, limit)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		tab.t.Fatal(err)
	}
}

// Size makes the window so large; a phone touches, and has no bars to scroll by.
func (tab *Tab) Size(width, height int64, phone bool) {
	tab.t.Helper()
	options := []chromedp.EmulateViewportOption{chromedp.EmulateScale(1)}
	if phone {
		options = []chromedp.EmulateViewportOption{chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait}
	}
	run(tab, chromedp.EmulateViewport(width, height, options...))
}

// Dark makes the system's theme dark, or light, and its motions none, so that nothing is
// on its way from one to the other.
func (tab *Tab) Dark(on bool) {
	tab.t.Helper()
	value := "light"
	if on {
		value = "dark"
	}
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: value}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// Paper shows the page as it is printed, or as it is on a screen.
func (tab *Tab) Paper(on bool) {
	tab.t.Helper()
	media := ""
	if on {
		media = "print"
	}
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media})
}

// Print prints the page on the paper that its style names, and returns the PDF.
func (tab *Tab) Print() []byte {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, limit)
	defer cancel()
	yes := true
	printed, err := chromedp.Call(ctx, page.PrintToPDF, page.PrintToPDFParams{PreferCSSPageSize: &yes})
	if err != nil {
		tab.t.Fatal(err)
	}
	return printed.Data
}

// Go opens an address.
func (tab *Tab) Go(url string) {
	tab.t.Helper()
	run(tab, chromedp.Navigate(url))
}

// Until waits until an expression is true.
func (tab *Tab) Until(what, expression string) {
	tab.t.Helper()
	for end := time.Now().Add(limit); !Eval[bool](tab, "Boolean("+expression+")"); {
		if time.Now().After(end) {
			tab.t.Fatalf("%s: not within %v. The page says:\n%s\nand the browser: %q", what, limit, Eval[string](tab, "document.body.innerText"), tab.Wrong())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Eval evaluates an expression, and waits for it where it is a promise.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return run(tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Click clicks the first element that a selector of CSS finds.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	run(tab, chromedp.Click(chromedp.CSS(selector)))
}

// Press presses keys, as package kb of chromedp writes them.
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	run(tab, chromedp.KeyEvent(keys))
}

// Shot takes a picture of what is seen as name.png.
func (tab *Tab) Shot(name string) {
	tab.t.Helper()
	picture := run(tab, chromedp.CaptureScreenshot())
	dir := artefacts
	if dir == "" {
		dir = tab.t.ArtifactDir()
	}
	path := filepath.Join(dir, name+".png")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		tab.t.Fatal(err)
	}
	tab.t.Logf("%s: %d bytes", path, len(picture))
}
