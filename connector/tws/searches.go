package tws

import (
	"sync"
	"time"
)

// searches remembers when the last searches for symbols were sent, for their
// answers. A gateway that answers none of them makes it no larger.
type searches struct {
	mu   sync.Mutex
	last [16]search
	next int
}

type search struct {
	id int64
	at time.Time
}

func (s *searches) sent(id int64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[s.next] = search{id, at}
	s.next = (s.next + 1) % len(s.last)
}

// sentAt returns when the search with that id was sent; for one that is not
// remembered, now: nothing is known to lie between.
func (s *searches) sentAt(id int64, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, asked := range s.last {
		if asked.id == id {
			return asked.at
		}
	}
	return now
}
