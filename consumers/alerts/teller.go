package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"time"

	"ibconn/bus"
	"ibconn/consumers/incidents"
	"ibconn/consumers/status"
)

// Bus is what a Teller needs of the bus; *[bus.Alerts] is one.
type Bus interface {
	Open(ctx context.Context) error
	Read(ctx context.Context, from bus.AlertSource, after uint64, follow bool) iter.Seq2[bus.AlertInput, error]
	Put(ctx context.Context, key string, revision uint64, record []byte) (uint64, error)
	Connected() bool
}

const (
	// look is how often it is looked whether the bus is there.
	look = time.Second
	// again is how long to wait before the bus is read anew.
	again = time.Second
	// lastWithin is how long what is under way may take at the end.
	lastWithin = time.Second
	// openWithin is how long the bus may take to open what is kept.
	openWithin = 5 * time.Second
	// readWithin is how long all that is on the bus may take to be read.
	readWithin = 30 * time.Second
)

// Note is what came of an attempt to tell somebody.
type Note struct {
	Receiver, Host string
	ID             string
	Told           bool  // it took it
	Err            error // it did not; nil where it did
	Again          bool  // it is tried again
}

// Teller tells people. Fill in the fields and call Run once.
type Teller struct {
	Config   *Config
	Bus      Bus
	Instance string       // whose claims they are: no two processes' is the same
	Client   *http.Client // as [NewClient] makes it
	// Noted is told, where it is set, of what was told and what was refused, and of
	// a receiver that fails the first time. It is called by one goroutine.
	Noted func(Note)
	// Waiting is told, where it is set, that the bus cannot be read, once until it
	// can, by the same goroutine.
	Waiting func(error)
}

// outcome is what came of a delivery.
type outcome struct {
	Delivery
	record   Record
	revision uint64
	tried    bool
	err      error
}

// Run tells people until ctx ends, whose cause it returns. A bus that is away or
// cannot be read is waited for.
func (t *Teller) Run(ctx context.Context) error {
	b := NewBook(t.Config, t.Instance)
	r := &telling{Teller: t, book: b, failing: make(map[string]bool), outcomes: make(chan outcome)}
	// What is under way outlives ctx for a moment.
	posting, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastWithin):
			cut()
		case <-posting.Done():
		}
	})
	defer stop()
	r.posting = posting
	r.run(ctx)
	return context.Cause(ctx)
}

var errAway = errors.New("the bus cannot be reached")

// telling is a Teller while it runs. One goroutine has the book.
type telling struct {
	*Teller
	book     *Book
	failing  map[string]bool // receivers that failed last
	posting  context.Context // of what is under way
	outcomes chan outcome
	underway int
	waiting  bool // Waiting was told
}

func (t *telling) run(ctx context.Context) {
	var reading *reading
	defer func() {
		if reading != nil {
			reading.end()
		}
		for t.underway > 0 {
			t.done(<-t.outcomes)
		}
	}()
	lost := false
	var notBefore time.Time
	for ctx.Err() == nil {
		now := time.Now()
		up := t.Bus.Connected()
		switch {
		case !up && !lost:
			lost = true
			t.book.Lose(now)
			t.cannot(ctx, errAway)
			if reading != nil {
				reading.end()
				reading = nil
			}
		case up && reading == nil && !now.Before(notBefore):
			lost = false
			var err error
			if reading, err = t.read(ctx); err != nil {
				t.cannot(ctx, err)
				notBefore = time.Now().Add(again)
				break
			}
			t.waiting = false
			t.book.Begin(time.Now())
		}
		wake := t.tell()
		if err := t.wait(ctx, reading, wake); err != nil && reading != nil {
			t.cannot(ctx, err)
			reading.end()
			reading, notBefore = nil, time.Now().Add(again)
		}
	}
}

// cannot says once why the bus is waited for.
func (t *telling) cannot(ctx context.Context, err error) {
	if !t.waiting && t.Waiting != nil && ctx.Err() == nil {
		t.Waiting(err)
	}
	t.waiting = true
}

// tell begins what is to be told, and returns when to look again.
func (t *telling) tell() time.Time {
	do, wake := t.book.Next(time.Now())
	for _, d := range do {
		t.underway++
		go func() { t.outcomes <- t.deliver(d) }()
	}
	return wake
}

// wait takes one thing that comes, until a time at the latest. An error says that
// the bus cannot be read any more.
func (t *telling) wait(ctx context.Context, r *reading, wake time.Time) error {
	rest := look
	if !wake.IsZero() {
		rest = min(rest, max(time.Until(wake), 0))
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	var inputs chan input
	if r != nil {
		inputs = r.inputs
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
	case o := <-t.outcomes:
		t.done(o)
	case in := <-inputs:
		if in.err != nil {
			return in.err
		}
		t.add(in)
	}
	return nil
}

// input is a message of a source, or that one cannot be read any more.
type input struct {
	from bus.AlertSource
	bus.AlertInput
	err error
}

// reading is the goroutines that follow the sources.
type reading struct {
	inputs chan input
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func (r *reading) end() {
	r.cancel()
	r.ended.Wait()
}

// sources are what there is to read: records first, so that it is known of what
// nothing more is to be told.
var sources = []bus.AlertSource{bus.AlertRecords, bus.AlertStatuses, bus.AlertIncidents}

// read takes what there is of each source anew, and then follows them.
func (t *telling) read(ctx context.Context) (*reading, error) {
	first, stop := context.WithTimeout(ctx, readWithin)
	defer stop()
	if err := t.open(first); err != nil {
		return nil, err
	}
	t.book.Reset()
	reached := make(map[bus.AlertSource]uint64)
	for _, from := range sources {
		for in, err := range t.Bus.Read(first, from, 0, false) {
			if err != nil {
				return nil, err
			}
			reached[from] = in.Place
			t.add(input{from: from, AlertInput: in})
		}
	}
	if first.Err() != nil {
		return nil, context.Cause(first)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &reading{inputs: make(chan input), cancel: cancel}
	for _, from := range sources {
		r.ended.Go(func() { t.follow(ctx, from, reached[from], r.inputs) })
	}
	return r, nil
}

func (t *telling) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	return t.Bus.Open(ctx)
}

func (t *telling) follow(ctx context.Context, from bus.AlertSource, after uint64, to chan<- input) {
	give := func(in input) bool {
		select {
		case to <- in:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for in, err := range t.Bus.Read(ctx, from, after, true) {
		if !give(input{from, in, err}) || err != nil {
			return
		}
	}
	give(input{err: errors.New("it ended")})
}

func (t *telling) add(in input) {
	switch in.from {
	case bus.AlertRecords:
		t.book.AddRecord(in.Key, in.Place, in.Payload, time.Now())
	case bus.AlertStatuses:
		if d, err := status.Decode(in.Payload); err == nil {
			t.book.AddStatus(d, in.Place)
		}
	case bus.AlertIncidents:
		var i incidents.Incident
		if json.Unmarshal(in.Payload, &i) == nil && i.ID != "" && !i.OpenedAt.IsZero() {
			t.book.AddIncident(i, in.Sequence, in.Part)
		}
	}
}

// deliver claims a delivery, tells it, and marks it.
func (t *telling) deliver(d Delivery) outcome {
	o := outcome{Delivery: d}
	began := time.Now()
	if d.Alert == nil {
		o.record = d.Marked(false, began)
		o.revision, o.err = t.put(d, d.Revision, o.record)
		return o
	}
	claimed, err := t.put(d, d.Revision, d.Claim(t.Instance))
	if err != nil {
		o.err = err
		return o
	}
	// A host that slept since may have been taken for dead.
	if time.Since(began) > slack/2 {
		o.err = errors.New("the claim took too long")
		return o
	}
	_, err = Send(t.posting, t.Client, d.Receiver, d.Alert, time.Now)
	o.tried, o.err = true, err
	var later *retryError
	switch {
	case t.posting.Err() != nil && err != nil:
		return o // it may have been taken, so the claim stands
	case errors.As(err, &later):
		o.record = d.Failed(later.after)
	default:
		o.record = d.Marked(err != nil, time.Now())
	}
	o.revision = t.mark(d, claimed, o.record)
	return o
}

// mark puts a record in place of a claim, for as long as it takes. It returns 0
// when somebody else took that, or the end came.
func (t *telling) mark(d Delivery, claimed uint64, r Record) uint64 {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		revision, err := t.put(d, claimed, r)
		if err == nil || errors.Is(err, bus.ErrAlertTaken) {
			return revision
		}
		select {
		case <-time.After(wait):
		case <-t.posting.Done():
			return 0
		}
	}
}

func (t *telling) put(d Delivery, revision uint64, r Record) (uint64, error) {
	if d.Local {
		return 0, nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("alerts: record of %s: %w", d.Key, err)
	}
	return t.Bus.Put(t.posting, d.Key, revision, b)
}

// done takes what came of a delivery.
func (t *telling) done(o outcome) {
	t.underway--
	t.book.Done(o.Delivery, o.record, o.revision, time.Now())
	if !o.tried {
		return
	}
	_, refused := errors.AsType[*RefusedError](o.err)
	again := o.err != nil && !refused
	if again && t.failing[o.Receiver.Name] {
		return
	}
	t.failing[o.Receiver.Name] = again
	if t.Noted != nil {
		t.Noted(Note{Receiver: o.Receiver.Name, Host: o.Receiver.URL.String(), ID: o.Alert.ID, Told: o.err == nil, Err: o.err, Again: again})
	}
}
