package alerts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/consumers/status"
	"ibconn/events"
)

const (
	// Grace is for how long after a start nothing new is told.
	Grace = 5 * time.Second
	// tooLate is how long after its end it is still told that a thing is over.
	tooLate = 24 * time.Hour
	// atOnce is how many messages to one receiver are under way at once.
	atOnce = 4
	// slack is for how much longer than its request a claim lasts.
	slack = 15 * time.Second

	firstWait   = 2 * time.Second
	mostWait    = 5 * time.Minute
	afterNoMark = time.Second
)

// Book knows what goes on and what was told, and says what is to be told. Make
// one with [NewBook]. It is for one goroutine.
type Book struct {
	config    *Config
	me        string
	began     time.Time // from when on it knows how things stand; zero while it does not
	lostAt    time.Time // since when the bus is away; zero while it is not
	lost      string    // names that
	losses    int       // since the newest status
	newest    uint64    // the newest place of a status
	incidents map[string]*running
	statuses  map[events.ConnectionID]*standing
	records   map[string]*kept // by their keys
	busy      map[string]bool  // keys of what is under way
}

// running is an incident, and since when each rule has fitted it; zero where it
// does not.
type running struct {
	incident incidents.Incident
	sequence uint64
	part     int
	since    []time.Time
}

// standing is the same of a status.
type standing struct {
	status.Document
	since []time.Time
}

// kept is a record as it is known here.
type kept struct {
	Record
	revision uint64
	seen     time.Time // from when on its hold counts
	rest     time.Time // until when it is left alone, whoever claimed it
}

// NewBook returns a book of nothing. What it claims it claims for me, which no
// other has.
func NewBook(c *Config, me string) *Book {
	return &Book{
		config: c, me: me,
		incidents: make(map[string]*running), statuses: make(map[events.ConnectionID]*standing),
		records: make(map[string]*kept), busy: make(map[string]bool),
	}
}

// Reset forgets what is on the bus, since it is read anew.
func (b *Book) Reset() {
	b.began = time.Time{}
	clear(b.incidents)
	clear(b.statuses)
	maps.DeleteFunc(b.records, func(_ string, k *kept) bool { return k.revision > 0 })
}

// Begin says that b knows what there is on the bus, now.
func (b *Book) Begin(now time.Time) {
	b.began = now
	b.lostAt = time.Time{}
}

// Lose says that the bus is away since a time.
func (b *Book) Lose(now time.Time) {
	b.lostAt, b.began = now, time.Time{}
	b.losses++
	// Copies that saw the same have the same name for it.
	b.lost = fmt.Sprintf("bus.%d.%d", b.newest, b.losses)
}

// AddIncident takes an incident as it is after the event of a sequence and part.
func (b *Book) AddIncident(i incidents.Incident, sequence uint64, part int) {
	r := b.incidents[i.ID]
	first := r == nil
	if first {
		r = &running{since: make([]time.Time, len(b.config.Rules))}
		b.incidents[i.ID] = r
	} else if sequence < r.sequence || sequence == r.sequence && part <= r.part {
		return
	}
	r.incident, r.sequence, r.part = i, sequence, part
	from := i.AsOf
	if first {
		from = i.OpenedAt
	}
	for n := range b.config.Rules {
		rule := &b.config.Rules[n]
		mark(&r.since[n], rule.On == OnIncident && rule.covers(i.Connection) && rule.fits(i), from)
	}
}

// AddStatus takes a status document, which is at a place of the bucket.
func (b *Book) AddStatus(d status.Document, place uint64) {
	if place > b.newest {
		b.newest, b.losses = place, 0
	}
	s := b.statuses[d.Connection]
	if s == nil {
		s = &standing{since: make([]time.Time, len(b.config.Rules))}
		b.statuses[d.Connection] = s
	}
	s.Document = d
	from := d.Since
	if from.IsZero() {
		from = d.AsOf
	}
	for n := range b.config.Rules {
		rule := &b.config.Rules[n]
		mark(&s.since[n], rule.On == OnCondition && rule.covers(d.Connection) && slices.Contains(rule.Condition, d.Condition), from)
	}
}

// mark keeps since when something fits.
func mark(since *time.Time, fits bool, from time.Time) {
	switch {
	case !fits:
		*since = time.Time{}
	case since.IsZero():
		*since = from
	}
}

// AddRecord takes what is under a key at a revision: nil when that is nothing.
func (b *Book) AddRecord(key string, revision uint64, payload []byte, now time.Time) {
	if k := b.records[key]; k != nil && k.revision >= revision {
		return
	}
	r, err := decodeRecord(payload)
	if err != nil {
		r = Record{} // as if nothing had been told, and replaced
	}
	b.records[key] = &kept{Record: r, revision: revision, seen: now}
}

// Done says what came of a delivery: the record that was written last for it,
// with its revision, 0 when that is not known.
func (b *Book) Done(d Delivery, r Record, revision uint64, now time.Time) {
	delete(b.busy, d.Key)
	k := b.records[d.Key]
	switch {
	case d.Local:
		b.records[d.Key] = &kept{Record: r, seen: now}
	case revision == 0:
		// The bus will say what is there; it is not asked again at once.
		if k == nil {
			k = &kept{}
			b.records[d.Key] = k
		}
		k.rest = now.Add(afterNoMark)
	case k == nil || k.revision < revision:
		b.records[d.Key] = &kept{Record: r, revision: revision, seen: now}
	}
}

// Delivery is something to be told, and how that is put on record.
type Delivery struct {
	Key      string
	Revision uint64 // of the record that there is
	Receiver Receiver
	Alert    *Alert // nil when nobody is to be told, and that only to be marked
	Local    bool   // it is not put on record
	Lease    time.Duration

	before, after Record
}

// Claim is the record by which the delivery is taken.
func (d Delivery) Claim(by string) Record {
	r := d.before
	r.Claimed, r.By, r.Hold = d.Alert.ID, by, events.MillisOf(d.Lease)
	return r
}

// Marked is the record after it was told, at a time.
func (d Delivery) Marked(refused bool, now time.Time) Record {
	r := d.after
	r.ToldAt, r.Refused = now, refused
	return r
}

// Failed is the record after it could not be told: it is to be tried again after
// a wait, or later.
func (d Delivery) Failed(least time.Duration) Record {
	r := d.before
	r.Claimed, r.By = "", ""
	r.Tries++
	r.Hold = events.MillisOf(min(max(backoff(d.Alert.ID, r.Tries), least), maxHold))
	return r
}

// backoff is how long to wait after so many failures: twice as long each time,
// less up to a quarter that differs from alert to alert.
func backoff(id string, tries int) time.Duration {
	wait := mostWait
	if tries < 10 {
		wait = min(firstWait<<(tries-1), mostWait)
	}
	var hash uint32 = 2166136261 // FNV-1a
	for i := range len(id) {
		hash = (hash ^ uint32(id[i])) * 16777619
	}
	hash = (hash ^ uint32(tries)) * 16777619
	return wait - wait/4*time.Duration(hash%1024)/1024
}

// matter is a thing as one receiver sees it.
type matter struct {
	key, about string
	on         On
	connection events.ConnectionID
	rule       *Rule // that holds; nil for none
	grade      Grade
	began      time.Time
	due        time.Time // when the rule has it told
	ended      time.Time // zero while it goes on
	waits      bool      // it may be over
	sequence   uint64
	part       int
	incident   *incidents.Incident
	document   *status.Document
}

// Next returns what is to be told now, which is then under way until [Book.Done],
// and when to look again at the latest; zero for when something comes.
func (b *Book) Next(now time.Time) (do []Delivery, wake time.Time) {
	later := func(at time.Time) {
		if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
	}
	load := make(map[string]int)
	for key := range b.busy {
		receiver, _, _ := strings.Cut(key, ".")
		load[receiver]++
	}
	var all []Delivery
	for _, r := range b.config.Receivers {
		for _, m := range b.matters(r.Name, now, later) {
			if b.busy[m.key] {
				continue
			}
			d, at := b.decide(r, m, now)
			later(at)
			if d != nil {
				all = append(all, *d)
			}
		}
	}
	b.forget()
	// What began first is told first.
	slices.SortStableFunc(all, func(x, y Delivery) int { return x.before.BeganAt.Compare(y.before.BeganAt) })
	for _, d := range all {
		if load[d.Receiver.Name] < atOnce {
			load[d.Receiver.Name]++
			b.busy[d.Key] = true
			do = append(do, d)
		}
	}
	return do, wake
}

// matters returns what a receiver may have to be told of. While the bus is away
// that is this alone, as nothing else can be put on record.
func (b *Book) matters(receiver string, now time.Time, later func(time.Time)) []matter {
	var all []matter
	if m, ok := b.bus(receiver); ok {
		all = append(all, m)
	}
	if b.began.IsZero() {
		return all
	}
	for _, id := range slices.Sorted(maps.Keys(b.incidents)) {
		all = append(all, b.incident(receiver, b.incidents[id], now))
	}
	for _, c := range slices.Sorted(maps.Keys(b.statuses)) {
		d := b.statuses[c]
		if !d.StaleAfter.IsZero() && !d.Stale(now) {
			later(d.StaleAfter.Add(1))
		}
		all = append(all, b.silent(receiver, d, now), b.condition(receiver, d))
	}
	return all
}

func (b *Book) incident(receiver string, r *running, now time.Time) matter {
	i := r.incident
	m := matter{
		key: receiver + ".incident." + i.ID, about: i.ID, on: OnIncident, connection: i.Connection,
		began: i.OpenedAt, ended: i.ClosedAt, sequence: r.sequence, part: r.part, incident: &i,
	}
	for n := range b.config.Rules {
		rule := &b.config.Rules[n]
		if !r.since[n].IsZero() && rule.concerns(OnIncident, receiver, i.Connection) {
			m.rule, m.grade = rule, rule.grade(i)
			m.due = r.since[n].Add(m.grade.After)
			break
		}
	}
	// A connection that is well again has not been for long enough, or the news has
	// not come yet.
	if s := b.statuses[i.Connection]; s != nil {
		m.waits = s.Condition == events.ConditionHealthy && !s.Stale(now) && s.Since.After(i.OpenedAt) && !s.AsOf.Before(i.AsOf)
	}
	return m
}

func (b *Book) silent(receiver string, s *standing, now time.Time) matter {
	m := matter{
		key: receiver + ".silent." + string(s.Connection), about: fmt.Sprintf("%s.silent.%d", s.Connection, s.StaleAfter.UnixMilli()),
		on: OnSilent, connection: s.Connection, began: s.StaleAfter, document: &s.Document,
	}
	if !s.Stale(now) {
		m.ended = s.AsOf
	}
	b.first(&m, receiver)
	// Until the connector, the bus and who keeps the documents have had as long
	// since the bus was there, this may be their beginning.
	m.due = latest(m.began, b.began).Add(m.grade.After)
	return m
}

func (b *Book) condition(receiver string, s *standing) matter {
	m := matter{
		key: receiver + ".condition." + string(s.Connection), on: OnCondition, connection: s.Connection,
		ended: s.Since, document: &s.Document,
	}
	for n := range b.config.Rules {
		rule := &b.config.Rules[n]
		if !s.since[n].IsZero() && rule.concerns(OnCondition, receiver, s.Connection) {
			m.rule, m.grade, m.began, m.ended = rule, rule.Grade, s.since[n], time.Time{}
			m.due = m.began.Add(m.grade.After)
			break
		}
	}
	m.about = fmt.Sprintf("%s.condition.%d", s.Connection, m.began.UnixMilli())
	return m
}

// bus returns the matter of the bus, where it is one.
func (b *Book) bus(receiver string) (matter, bool) {
	m := matter{key: receiver + ".bus", about: b.lost, on: OnBus, began: b.lostAt}
	if b.lostAt.IsZero() {
		if b.records[m.key] == nil || b.began.IsZero() {
			return m, false
		}
		m.ended = b.began
	}
	b.first(&m, receiver)
	m.due = m.began.Add(m.grade.After)
	return m, m.rule != nil
}

// first finds the rule of a matter whose rules tell no things apart.
func (b *Book) first(m *matter, receiver string) {
	for n := range b.config.Rules {
		if rule := &b.config.Rules[n]; rule.concerns(m.on, receiver, m.connection) {
			m.rule, m.grade = rule, rule.Grade
			return
		}
	}
}

// decide says what a receiver is to be told of m, or when to look again.
func (b *Book) decide(to Receiver, m matter, now time.Time) (*Delivery, time.Time) {
	k := b.records[m.key]
	if k == nil {
		k = &kept{}
	}
	r := k.Record
	if (r.Told == Resolved || r.About == "") && r.About != m.about {
		if !m.ended.IsZero() {
			return nil, time.Time{} // it was over before anybody was told
		}
		r = Record{About: m.about, BeganAt: m.began}
	}
	m.about, m.began = r.About, r.BeganAt
	if now.Before(k.rest) {
		return nil, k.rest
	}
	if until := k.seen.Add(k.Hold.Duration()); now.Before(until) && (k.Claimed == "" || k.By != b.me) {
		return nil, until
	}
	r.Claimed, r.By, r.Hold = "", "", 0
	d := &Delivery{Key: m.key, Revision: k.revision, Receiver: to, Local: m.on == OnBus, Lease: to.Timeout + slack, before: r, after: r}
	d.after.Tries = 0
	switch {
	case r.Told == Resolved:
		return nil, time.Time{}
	case !m.ended.IsZero():
		return b.over(d, m, k, now), time.Time{}
	case m.waits || m.rule == nil || m.grade.Severity == None:
		return nil, time.Time{}
	}
	return b.goesOn(d, m, now)
}

// over tells that a matter is over, or marks that nobody has to be told.
func (b *Book) over(d *Delivery, m matter, k *kept, now time.Time) *Delivery {
	r := d.before
	// A record without anything told is of one that was to be told, and was not.
	first := r.Told == ""
	quiet := now.Sub(m.ended) > tooLate
	if first {
		quiet = quiet || m.ended.Sub(m.began) < m.grade.After || m.rule != nil && m.grade.Severity == None || r.Tries == 0 && k.Claimed == ""
	} else {
		quiet = quiet || m.rule != nil && !m.rule.Resolved
		if m.rule == nil { // by the rule that had it told
			i := slices.IndexFunc(b.config.Rules, func(rule Rule) bool { return rule.Name == r.Rule })
			quiet = quiet || i >= 0 && !b.config.Rules[i].Resolved
		}
	}
	severity := r.Severity
	if severity == "" {
		severity = m.grade.Severity
	}
	if severity == "" {
		quiet = true // nothing is left of the rule by which it was to be told
	}
	return d.tell(m, Resolved, severity, quiet)
}

// goesOn tells that a matter began, became worse, changed or still is.
func (b *Book) goesOn(d *Delivery, m matter, now time.Time) (*Delivery, time.Time) {
	r := d.before
	severity := m.grade.Severity
	changed := m.sequence > r.Sequence || m.sequence == r.Sequence && m.part > r.Part
	var remind time.Time
	if m.rule.Repeat > 0 {
		remind = r.ToldAt.Add(m.rule.Repeat)
	}
	switch {
	case r.Told == "":
		due := m.due
		if m.on != OnBus {
			due = latest(due, b.began.Add(Grace))
		}
		if now.Before(due) {
			return nil, due
		}
		return d.tell(m, Opened, severity, false), time.Time{}
	case severity.rank() > r.Severity.rank():
		if now.Before(m.due) {
			return nil, m.due
		}
		return d.tell(m, Updated, severity, false), time.Time{}
	case m.rule.Updates && changed:
		return d.tell(m, Updated, severity, false), time.Time{}
	case !remind.IsZero() && !now.Before(remind):
		return d.tell(m, Reminder, severity, false), time.Time{}
	}
	return nil, remind
}

func (d *Delivery) tell(m matter, s State, severity Severity, quiet bool) *Delivery {
	r := &d.after
	r.Told, r.Severity, r.Sequence, r.Part = s, severity, m.sequence, m.part
	if m.rule != nil {
		r.Rule = m.rule.Name
	}
	if d.before.Told == "" && d.before.Rule == "" {
		d.before.Rule, d.before.Severity = r.Rule, severity
	}
	if s == Reminder {
		r.Reminders++
	}
	if !quiet {
		d.Alert = m.alert(d, s)
	}
	return d
}

// forget drops what is over and was told to whoever is to be told.
func (b *Book) forget() {
	if b.began.IsZero() {
		return
	}
	for id, r := range b.incidents {
		if r.incident.Open() {
			continue
		}
		open := slices.ContainsFunc(b.config.Receivers, func(to Receiver) bool {
			k := b.records[to.Name+".incident."+id]
			return b.busy[to.Name+".incident."+id] || k != nil && k.About != "" && k.Told != Resolved
		})
		if !open {
			delete(b.incidents, id)
			for _, to := range b.config.Receivers {
				delete(b.records, to.Name+".incident."+id)
			}
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
