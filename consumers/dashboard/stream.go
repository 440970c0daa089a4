package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxStreams is how many pages may follow at once.
	maxStreams = 32
	// newsEvery is how soon after some news the next may come: what happens meanwhile
	// comes together.
	newsEvery = 250 * time.Millisecond
	// tickEvery is how long a stream is silent at most, so that a page can tell that it
	// broke. The page waits for three of them.
	tickEvery = 4 * time.Second
	// takeWithin is how long a page may take to take news. One that is slower is given
	// up; it comes back, and goes on from where it was.
	takeWithin = 10 * time.Second
	// comeBack is after how many milliseconds a page asks again.
	comeBack = 1500
)

// stream sends what is new behind a position, until the page or the server goes away.
// Nothing is queued: each time it is what there is by then.
func (p *Page) stream(w http.ResponseWriter, r *http.Request) {
	after, err := resumeFrom(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, fmt.Errorf("%d pages follow already: close one", maxStreams))
		return
	}
	out := http.NewResponseController(w)
	// The server's deadlines are for answers that end.
	if err := out.SetReadDeadline(time.Time{}); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("this server cannot stream: %w", err))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := sender{Page: p, w: w, out: out, last: after}
	if s.send(fmt.Sprintf("retry: %d\n\n", comeBack)) == nil {
		s.run(r.Context())
	}
}

// resumeFrom returns the position behind which a page wants to go on: what its browser
// says when it comes back wins over the address it asked first.
func resumeFrom(r *http.Request) (uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	if text == "" {
		return 0, fmt.Errorf("after is missing: want the position of an overview")
	}
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return 0, fmt.Errorf("after=%.40q: want a position of the log", text)
	}
	return n, nil
}

// sender is a stream under way.
type sender struct {
	*Page
	w    http.ResponseWriter
	out  *http.ResponseController
	last uint64 // told up to there
}

func (s *sender) run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		if err := s.tell(); err != nil {
			return
		}
		pause := time.NewTimer(newsEvery)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-s.Model.wait(s.last):
		case <-tick.C:
		}
	}
}

// tell sends the news.
func (s *sender) tell() error {
	n := s.Model.news(s.last)
	n.Now, n.Reading = millisOf(s.now()), s.reading()
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	s.last = n.Position
	return s.send(fmt.Sprintf("event: news\nid: %d\ndata: %s\n\n", n.Position, b))
}

func (s *sender) send(text string) error {
	if err := s.out.SetWriteDeadline(time.Now().Add(takeWithin)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.out.Flush()
}
