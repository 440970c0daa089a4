package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"ibconn/events"
)

const (
	dialTimeout = 2 * time.Second
	// answerTime is how long an answer may take on top of what the request
	// itself allows.
	answerTime = 5 * time.Second
	// discoveryTime is how long services may be silent before there are no more
	// of them.
	discoveryTime = 300 * time.Millisecond
	// firstTime is how long the first of them may take: a hub may be far away. Where
	// there is none, the server says so at once.
	firstTime = 2 * time.Second
)

// Dial connects to the bus of another process. Once connected, it connects
// again whenever the connection is lost, until it is closed.
func Dial(address string, options ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(address, append([]nats.Option{
		nats.Name("ibconn client"),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
	}, options...)...)
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, nats.ErrNoServers):
		return nil, fmt.Errorf("bus: nothing answers at %s: is `ibconn run` up? (%w)", Redacted(address), err)
	default:
		return nil, fmt.Errorf("bus: connect to %s: %w", Redacted(address), err)
	}
}

// Redacted returns the URLs of a bus, parted by commas as NATS takes them,
// without the passwords in them.
func Redacted(urls string) string {
	var shown []string
	for part := range strings.SplitSeq(urls, ",") {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part // as NATS reads it
		}
		u, err := url.Parse(part)
		if err != nil {
			return "(a URL that cannot be read)"
		}
		shown = append(shown, u.Redacted())
	}
	return strings.Join(shown, ",")
}

// Offer is what one connection, or one pool of them, takes commands for.
type Offer struct {
	Connection events.ConnectionID   // its name, or the pool's
	Pool       []events.ConnectionID // the members, of a pool; nil otherwise
	Version    string                // of the program that runs it
	Verbs      []events.Verb         // in alphabetical order
}

// NobodyError says that nobody takes a command, and what there is instead.
type NobodyError struct {
	Connection events.ConnectionID
	Verb       events.Verb
	Offers     []Offer // what was found, by connection
}

// Error names the connections and verbs that there are.
func (e *NobodyError) Error() string {
	if len(e.Offers) == 0 {
		return "nobody takes commands here: is `ibconn run` up, and on this bus?"
	}
	var there []string
	for _, o := range e.Offers {
		verbs := o.verbs()
		if o.Connection == e.Connection && o.Pool != nil {
			return fmt.Sprintf("%q is a pool and takes no command %q; it takes: %s; its connections are %s", e.Connection, e.Verb, verbs, joined(o.Pool))
		}
		if o.Connection == e.Connection {
			return fmt.Sprintf("connection %q takes no command %q; it takes: %s", e.Connection, e.Verb, verbs)
		}
		there = append(there, fmt.Sprintf("%s (%s)", o.Connection, verbs))
	}
	return fmt.Sprintf("no connection %q here; there are: %s", e.Connection, strings.Join(there, ", "))
}

func (o Offer) verbs() string { return joined(o.Verbs) }

func joined[S ~string](all []S) string {
	words := make([]string, 0, len(all))
	for _, s := range all {
		words = append(words, string(s))
	}
	return strings.Join(words, ", ")
}

// Ask gives the command v to connection c and returns its answer. A refusal is
// an answer too: the error is nil whenever one came. Without a deadline in ctx
// the answer may take as long as req.Wait and 5 seconds. The error is a
// *[NobodyError] when nobody takes the command.
func Ask(ctx context.Context, nc *nats.Conn, c events.ConnectionID, v events.Verb, req events.Request) (events.Answer, error) {
	a, err := ask(ctx, nc, c, v, req)
	if err != nil {
		return events.Answer{}, fmt.Errorf("bus: %s %s: %w", v, c, err)
	}
	return a, nil
}

// AskAll gives the command v to connection c and yields its replies: the last
// one is the first that is not interim ([events.Answer.Interim]). A refusal is a
// reply too. An error ends it: a *[NobodyError] when nobody takes the command,
// nats.ErrSlowConsumer when the caller was too slow and replies are missing, and
// one that is context.DeadlineExceeded when no reply came for as long as idle.
func AskAll(ctx context.Context, nc *nats.Conn, c events.ConnectionID, v events.Verb, req events.Request, idle time.Duration) iter.Seq2[events.Answer, error] {
	return func(yield func(events.Answer, error) bool) {
		for a, err := range askAll(ctx, nc, c, v, req, idle) {
			if err != nil {
				err = fmt.Errorf("bus: %s %s: %w", v, c, err)
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

func askAll(ctx context.Context, nc *nats.Conn, c events.ConnectionID, v events.Verb, req events.Request, idle time.Duration) iter.Seq2[events.Answer, error] {
	return func(yield func(events.Answer, error) bool) {
		payload, err := payloadOf(c, v, req)
		if err != nil {
			yield(events.Answer{}, err)
			return
		}
		inbox, err := nc.SubscribeSync(nc.NewInbox())
		if err != nil {
			yield(events.Answer{}, err)
			return
		}
		defer inbox.Unsubscribe()
		if err := nc.PublishRequest(events.CommandSubject(c, v), inbox.Subject, payload); err != nil {
			yield(events.Answer{}, err)
			return
		}
		for {
			waiting, cancel := context.WithTimeout(ctx, idle)
			m, err := inbox.NextMsgWithContext(waiting)
			cancel()
			a, err := answerOf(ctx, nc, c, v, m, err)
			if !yield(a, err) || err != nil || !a.Interim() {
				return
			}
		}
	}
}

// payloadOf returns what the command v of c is sent with. Either name may come
// from a command line, and becomes part of a subject.
func payloadOf(c events.ConnectionID, v events.Verb, req events.Request) ([]byte, error) {
	if _, err := events.ParseConnectionID(string(c)); err != nil {
		return nil, err
	}
	if _, err := events.ParseConnectionID(string(v)); err != nil {
		return nil, fmt.Errorf("command %q is not a word", v)
	}
	return json.Marshal(req)
}

func ask(ctx context.Context, nc *nats.Conn, c events.ConnectionID, v events.Verb, req events.Request) (events.Answer, error) {
	payload, err := payloadOf(c, v, req)
	if err != nil {
		return events.Answer{}, err
	}
	limit := time.Duration(req.Wait) + answerTime
	asking, cancel := ctx, context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok {
		asking, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	m, err := nc.RequestWithContext(asking, events.CommandSubject(c, v), payload)
	return answerOf(ctx, nc, c, v, m, err)
}

// answerOf reads a reply, or says why there is none.
func answerOf(ctx context.Context, nc *nats.Conn, c events.ConnectionID, v events.Verb, m *nats.Msg, err error) (events.Answer, error) {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		offers, err := Discover(ctx, nc)
		if err != nil {
			return events.Answer{}, err
		}
		return events.Answer{}, &NobodyError{c, v, offers}
	case errors.Is(err, context.DeadlineExceeded):
		return events.Answer{}, fmt.Errorf("no answer in time: %w", err)
	case err != nil:
		return events.Answer{}, err
	}
	var a events.Answer
	err = json.Unmarshal(m.Data, &a)
	if err == nil && !a.OK && a.Error == nil {
		err = errors.New("it is neither ok nor an error")
	}
	if err != nil {
		return events.Answer{}, fmt.Errorf("the answer is not one of ibconn's: %w", err)
	}
	return a, nil
}

// Discover asks who takes commands on the bus, and returns what they offer,
// by connection. It takes a moment, because nobody knows how many there are.
func Discover(ctx context.Context, nc *nats.Conn) ([]Offer, error) {
	offers, err := discover(ctx, nc)
	if err != nil {
		return nil, fmt.Errorf("bus: discover connections: %w", err)
	}
	return offers, nil
}

func discover(ctx context.Context, nc *nats.Conn) ([]Offer, error) {
	subject, err := micro.ControlSubject(micro.InfoVerb, events.ServiceName, "")
	if err != nil {
		return nil, err
	}
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer inbox.Unsubscribe()
	if err := nc.PublishRequest(subject, inbox.Subject, nil); err != nil {
		return nil, err
	}
	offered := make(map[events.ConnectionID]Offer)
	for silence := firstTime; ; silence = discoveryTime {
		waiting, cancel := context.WithTimeout(ctx, silence)
		m, err := inbox.NextMsgWithContext(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
			return sorted(offered), nil
		case err != nil:
			return nil, err
		}
		collect(offered, m.Data)
	}
}

// collect adds what one service offers; a reply that is not a service's is
// left out.
func collect(offered map[events.ConnectionID]Offer, reply []byte) {
	var info micro.Info
	if json.Unmarshal(reply, &info) != nil {
		return
	}
	for _, e := range info.Endpoints {
		tokens := strings.Split(e.Subject, ".")
		if len(tokens) != 4 || tokens[0] != "ib" || tokens[1] != "cmd" {
			continue
		}
		o := offered[events.ConnectionID(tokens[2])]
		o.Connection, o.Version = events.ConnectionID(tokens[2]), info.Version
		if members := info.Metadata[poolKey]; members != "" {
			o.Pool = nil
			for name := range strings.SplitSeq(members, ", ") {
				o.Pool = append(o.Pool, events.ConnectionID(name))
			}
		}
		if v := events.Verb(tokens[3]); !slices.Contains(o.Verbs, v) {
			o.Verbs = append(o.Verbs, v)
		}
		offered[o.Connection] = o
	}
}

func sorted(offered map[events.ConnectionID]Offer) []Offer {
	offers := make([]Offer, 0, len(offered))
	for _, o := range offered {
		slices.Sort(o.Verbs)
		offers = append(offers, o)
	}
	slices.SortFunc(offers, func(a, b Offer) int { return cmp.Compare(a.Connection, b.Connection) })
	return offers
}

// Feed yields events as they are stored, of every connection, from now until
// ctx ends. It may miss events, while the connection to the server is
// interrupted or when the caller is too slow: the latter is yielded as
// nats.ErrSlowConsumer, after which the feed goes on. On a cluster an event may come
// again, with the same StreamSeq, when another server becomes the leader. Who must not
// miss anything uses [Log.Read].
//
// A message that is not an event is yielded as an *[UndecodableError], and the
// feed goes on; any other error ends it.
func Feed(ctx context.Context, nc *nats.Conn) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		sub, err := nc.SubscribeSync(events.FeedSubjects)
		if err != nil {
			yield(Entry{}, fmt.Errorf("bus: feed: %w", err))
			return
		}
		defer sub.Unsubscribe()
		for {
			m, err := sub.NextMsgWithContext(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				if !yield(fed(m)) {
					return
				}
			case !yield(Entry{}, fmt.Errorf("bus: feed: %w", err)), !errors.Is(err, nats.ErrSlowConsumer):
				return
			}
		}
	}
}

// fed reads an event of the feed. The stream says in headers where it stands;
// a message without them is somebody else's.
func fed(m *nats.Msg) (Entry, error) {
	subject := m.Header.Get(jetstream.SubjectHeader)
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil || m.Header.Get(jetstream.StreamHeader) != events.Stream {
		return Entry{}, &UndecodableError{Subject: m.Subject, Err: fmt.Errorf("it does not come from the stream %s", events.Stream)}
	}
	return decode(subject, seq, m.Data)
}
