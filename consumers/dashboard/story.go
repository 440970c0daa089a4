package dashboard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/consumers/incidents"
	"ibconn/events"
)

// story is an incident from its beginning to its end.
type story struct {
	brief
	AsOf     millis   `json:"as_of"`
	Summary  []string `json:"summary"` // sentences
	Steps    []step   `json:"steps"`   // the root cause first, then what came of it, in order
	Names    []string `json:"names"`   // of subscriptions that stopped, or failed
	Affected int      `json:"affected"`
	// Lines are the events of its time in words, the oldest first; where there are too
	// many the first and the last, and Omitted is how many are between them, behind
	// the line OmittedAfter.
	Lines        []*line `json:"lines"`
	Omitted      int     `json:"omitted"`
	OmittedAfter int     `json:"omitted_after"`
	Cut          bool    `json:"cut"` // there is more than was read
}

// step is something that happened in an incident.
type step struct {
	Kind   string       `json:"kind"` // root, consequence or end
	At     millis       `json:"at"`
	Offset int64        `json:"offset_ms"` // from when the incident was noticed
	Level  events.Level `json:"level"`
	What   string       `json:"what"`
	Words  string       `json:"words"`
	Names  []string     `json:"names"`
	Count  int          `json:"count"`
	LastAt millis       `json:"last_at"`
}

const (
	// storyFirst and storyLast are how many events at its beginning and its end a
	// story has in words.
	storyFirst = 150
	storyLast  = 150
	// storyReads is how many events are read for it at most, heartbeats included.
	storyReads = 50_000
	// storyWithin is how long that may take.
	storyWithin = 20 * time.Second
)

func storyOf(i incidents.Incident) story {
	s := story{brief: briefOf(i), AsOf: millisOf(i.AsOf), Summary: sentences(i), Names: i.Subscriptions.Names, Affected: i.Subscriptions.Count}
	at := func(t time.Time) int64 { return t.Sub(i.OpenedAt).Milliseconds() }
	s.Steps = append(s.Steps, stepOf("root", i.Root, at))
	for _, c := range i.Chain {
		s.Steps = append(s.Steps, stepOf("consequence", c, at))
	}
	end := func(t time.Time, words string) {
		if !t.IsZero() {
			s.Steps = append(s.Steps, step{Kind: "end", At: millisOf(t), Offset: at(t), What: "over", Words: words, Count: 1, LastAt: millisOf(t)})
		}
	}
	end(i.ReadyAt, "there is a session again")
	if i.Stopped {
		end(i.ClosedAt, "the connection was stopped")
	} else {
		end(i.ClosedAt, "the connection is healthy again")
	}
	end(i.DataAt, "every subscription that had stopped delivers again")
	return s
}

func stepOf(kind string, s incidents.Step, at func(time.Time) int64) step {
	return step{
		Kind: kind, At: millisOf(s.FirstAt), Offset: at(s.FirstAt), Level: s.Level, What: strings.ReplaceAll(string(s.What), "_", " "),
		Words: s.Words, Names: s.Names, Count: s.Count, LastAt: millisOf(s.LastAt),
	}
}

// sentences tell an incident in short.
func sentences(i incidents.Incident) []string {
	var all []string
	add := func(when bool, format string, args ...any) {
		if when {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	lasted := events.Between(i.OpenedAt, i.OpenedAt.Add(i.Duration()))
	how := "was degraded"
	if i.Worst == events.ConditionDown {
		how = "was down"
	}
	add(i.Open(), "%s has not been healthy for %v, as of its last event.", i.Connection, lasted)
	add(!i.Open(), "%s %s, and that was over after %v.", i.Connection, how, lasted)
	add(true, "It began with this: %s. Fault: %s.", strings.TrimRight(i.Root.Words, ". "), faultOf(i.Attribution))
	add(i.Window != "", "It fell into the maintenance window %s.", short(i.Window))
	add(i.DetectedAfter > 0, "It had been so for %v before it was noticed.", i.DetectedAfter)
	add(i.Attempts > 0, "Attempts to open a session: %d.", i.Attempts)
	add(!i.ReadyAt.IsZero(), "A new session was ready after %v.", i.ReadyAfter)
	add(i.Returns > 0, "It seemed to be over %s, and came back.", times(i.Returns))
	add(i.Subscriptions.Count > 0, "Subscriptions that stopped, went dark or failed: %d.", i.Subscriptions.Count)
	add(!i.DataAt.IsZero(), "All that had stopped delivered again after %v.", i.DataAfter)
	add(i.Gaps.Detected > 0, "Stretches of missing bars: %d, of which %d were filled, and %d cannot be.", i.Gaps.Detected, i.Gaps.Filled, i.Gaps.Unfillable)
	add(i.Stopped, "It ended because the connection was stopped.")
	return all
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// read fills in the events of the story's time from the log.
func (s *story) read(ctx context.Context, log follow.Log, where span) error {
	ctx, cancel := context.WithTimeout(ctx, storyWithin)
	defer cancel()
	condition, reads, last := events.Condition(""), 0, []*line(nil)
	s.Lines = []*line{}
	for e, err := range log.Read(ctx, bus.Query{Connection: s.Connection, After: max(where.from, 1) - 1}) {
		if errors.Is(err, events.ErrMalformed) {
			continue
		}
		if err != nil {
			return err
		}
		if !s.Open && e.StreamSeq > where.to {
			break
		}
		if reads++; reads > storyReads {
			s.Cut = true
			break
		}
		if stands, ok := e.Event.(events.StateEvent); ok {
			condition = stands.After().Condition
		}
		if events.Routine(e.Recorded) {
			continue
		}
		l := lineOf(e, condition)
		if len(s.Lines) < storyFirst {
			s.Lines = append(s.Lines, l)
			continue
		}
		if last = append(last, l); len(last) > 2*storyLast {
			s.Omitted += storyLast
			last = append([]*line(nil), last[storyLast:]...)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.OmittedAfter = len(s.Lines)
	over := max(len(last)-storyLast, 0)
	s.Omitted += over
	s.Lines = append(s.Lines, last[over:]...)
	return nil
}
