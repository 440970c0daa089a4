package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"time"

	"ibconn/consumers/follow"
)

// assets is the page: all that it needs, so that it works without a network.
//
//go:embed assets
var assets embed.FS

// Page answers requests from a Model. Fill in the fields; requests may come before the
// log was read, and what is shown says so.
type Page struct {
	Model  *Model
	Log    follow.Log      // for the events of incidents
	Caught <-chan struct{} // closed once the Model has what there was at the start
	// Command, where it is set, gives commands to connections. Without it none are taken.
	Command Commander
	Now     func() time.Time // [time.Now] where it is nil

	once    sync.Once
	streams chan struct{} // holds one for each stream
	stories chan struct{} // and for each story that is read
}

const (
	// maxStories is how many stories may be read from the log at once.
	maxStories = 2
	indexFile  = "index.html"
)

// Handler answers requests: the page at / and /incident/ID, what it consists of under
// /assets/, and what it asks for under /api/.
func (p *Page) Handler() http.Handler {
	p.once.Do(func() { p.streams, p.stories = make(chan struct{}, maxStreams), make(chan struct{}, maxStories) })
	mux := http.NewServeMux()
	files := embedded()
	for name, f := range files {
		mux.Handle("GET /assets/"+name, f)
	}
	mux.Handle("GET /{$}", files[indexFile])
	mux.Handle("GET /incident/{id}", files[indexFile])
	mux.HandleFunc("GET /api/overview", p.overview)
	mux.HandleFunc("GET /api/timeline", asked(p, func(q query, now time.Time) (any, error) { return p.Model.timeline(q, now.UnixMilli()), nil }))
	mux.HandleFunc("GET /api/heartbeats", asked(p, func(q query, _ time.Time) (any, error) {
		if q.connection == "" {
			return nil, errors.New("connection is missing: heartbeats are of one")
		}
		return p.Model.pulse(q), nil
	}))
	mux.HandleFunc("GET /api/incidents", asked(p, func(q query, _ time.Time) (any, error) { return p.Model.incidents(q), nil }))
	mux.HandleFunc("GET /api/incidents/{id}", p.story)
	mux.HandleFunc("GET /api/events", asked(p, func(q query, _ time.Time) (any, error) { return p.Model.tail(q), nil }))
	mux.HandleFunc("GET /api/stream", p.stream)
	mux.HandleFunc("POST /api/commands/{verb}", p.give)
	return mux
}

func (p *Page) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// reading says whether what there was at the start is still being read.
func (p *Page) reading() bool {
	select {
	case <-p.Caught:
		return false
	default:
		return p.Caught != nil
	}
}

func (p *Page) overview(w http.ResponseWriter, _ *http.Request) {
	o := p.Model.overview(p.now())
	o.Reading = p.reading()
	if p.Command != nil {
		for _, v := range verbs {
			o.Commands = append(o.Commands, string(v))
		}
	}
	answer(w, http.StatusOK, o)
}

// asked answers a query.
func asked(p *Page, of func(q query, now time.Time) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		now := p.now()
		q, err := parse(r.URL.Query(), now)
		var a any
		if err == nil {
			a, err = of(q, now)
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		answer(w, http.StatusOK, a)
	}
}

// story tells an incident, its events from the log included.
func (p *Page) story(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	i, where, known := p.Model.incident(id)
	switch {
	case known:
	case p.reading():
		refuse(w, http.StatusServiceUnavailable, errors.New("the log is still being read: ask again in a moment"))
		return
	default:
		refuse(w, http.StatusNotFound, fmt.Errorf("there is no incident %.60q here; each connection's last %d are known", id, maxIncidents))
		return
	}
	select {
	case p.stories <- struct{}{}:
		defer func() { <-p.stories }()
	case <-r.Context().Done():
		return
	case <-time.After(storyWithin):
		refuse(w, http.StatusServiceUnavailable, fmt.Errorf("%d others read a story already: ask again in a moment", maxStories))
		return
	}
	s := storyOf(i)
	if err := s.read(r.Context(), p.Log, where); err != nil {
		refuse(w, http.StatusServiceUnavailable, fmt.Errorf("the log could not be read: %w", err))
		return
	}
	answer(w, http.StatusOK, s)
}

// file is one file of the page.
type file struct {
	name, kind, tag string
	content         []byte
}

// ServeHTTP serves it. A browser may keep it, and asks whether it is still the same.
func (f file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", f.tag)
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}

// kindOf is what a file is: no machine's table of types counts.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "text/plain; charset=utf-8"
}

// embedded are the files of the page by their names.
var embedded = sync.OnceValue(func() map[string]file {
	all := make(map[string]file)
	root, err := fs.Sub(assets, "assets")
	if err == nil {
		err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := fs.ReadFile(root, name)
			sum := sha256.Sum256(content)
			all[name] = file{name: name, kind: kindOf(name), tag: `"` + hex.EncodeToString(sum[:8]) + `"`, content: content}
			return err
		})
	}
	if err != nil {
		panic(err) // the program was built without its page
	}
	return all
})

// answer writes v as JSON.
func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // whoever hung up does not want it
}

func refuse(w http.ResponseWriter, code int, err error) {
	answer(w, code, map[string]string{"error": err.Error()})
}
