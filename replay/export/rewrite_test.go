package export_test

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/export"
)

func redacted(t testing.TB, all ...bus.Stored) []bus.Stored {
	t.Helper()
	hidden := export.NewRedactor([32]byte{1})
	var done []bus.Stored
	for _, s := range all {
		r, err := hidden.Redact(s)
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, r)
	}
	return done
}

// secrets are what the events of night have that must not be in what is redacted.
var secrets = []string{
	"desk", "4711\"", "gw1", "192.168", "10.0.0", "restart-7", "sub-1", "the book", "\"book", "AAPL", "aapl", "265598", "US0378331005", "NMS",
	"4bf92f3577b34da6a3ce929d0e0e4736", "6QyTkS2KZp1mWv0s", "\"mm\"", "nothing",
}

func TestWhatIsRedactedTellsNobodysSecrets(t *testing.T) {
	all := night(t)
	whole := string(written(t, header, false, all...))
	hidden := string(written(t, header, false, redacted(t, all...)...))
	for _, s := range secrets {
		if strings.Contains(hidden, s) {
			i := strings.Index(hidden, s)
			t.Errorf("%q is in it: %q", s, hidden[max(0, i-100):min(len(hidden), i+100)])
		}
	}
	found := 0
	for _, s := range secrets {
		if strings.Contains(whole, s) {
			found++
		}
	}
	if found < 12 {
		t.Errorf("only %d of the secrets were there to be hidden", found)
	}
}

// Every field of every event that is text is hidden unless somebody decided otherwise;
// the golden file shows the decision.
func TestEveryTextOfAnEventIsDecidedOn(t *testing.T) {
	var b bytes.Buffer
	for _, typ := range events.Types() {
		e := wired(t, typ)
		fmt.Fprintln(&b, typ.What())
		before := texts(reflect.ValueOf(e), "")
		author := events.Author{Connection: "main", Source: "/ibconn/desk", NewID: func() string { return "1" }}
		head := events.Head{Epoch: 1, Sequence: 1, Hash: strings.Repeat("0", 64)}
		r, err := head.Next(author, events.Draft{Event: e}, began)
		if err != nil {
			t.Fatal(err)
		}
		s := redacted(t, bus.Stored{Subject: events.LogSubject("main", typ.Kind()), StreamSeq: 1, StoredAt: began, Payload: r.Wire})[0]
		after, err := events.Decode(s.Payload)
		if err != nil {
			t.Fatal(err)
		}
		for i, is := range texts(reflect.ValueOf(after.Event), "") {
			fmt.Fprintf(&b, "  %s: %q becomes %q\n", before[i][0], before[i][1], is[1])
		}
	}
	golden(t, "redacted.txt", b.Bytes(), true)
}

// texts returns the fields of an event that are text, with their names.
func texts(v reflect.Value, name string) (all [][2]string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return texts(v.Elem(), name)
		}
	case reflect.Slice:
		for i := range v.Len() {
			all = append(all, texts(v.Index(i), name)...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			all = append(all, texts(v.Field(i), strings.Trim(name+"."+key, "."))...)
		}
	case reflect.String:
		if v.String() != "" && v.Type() == reflect.TypeFor[string]() {
			return [][2]string{{name, v.String()}}
		}
	}
	return all
}

func TestHostsAreHiddenAndPortsAreNot(t *testing.T) {
	for endpoint, want := range map[string]string{
		"127.0.0.1:4002": "127.0.0.1:4002", "[::1]:4002": "[::1]:4002", "localhost:4002": "localhost:4002",
		"gw1.acme.example:4002": "host-*:4002", "10.0.0.5:4002": "host-*:4002", "[fe80::1%eth0]:4002": "host-*:4002", "gw1": "host-*",
	} {
		author := events.Author{Connection: "main", Source: "/ibconn/desk", NewID: func() string { return "1" }}
		r, err := events.Head{Epoch: 1, Sequence: 1}.Next(author, events.Draft{Event: &events.DialStarted{Attempt: 1, Endpoint: endpoint, DeadlineAt: began}}, began)
		if err != nil {
			t.Fatal(err)
		}
		s := redacted(t, bus.Stored{Subject: "ib.log.main.state", StreamSeq: 1, StoredAt: began, Payload: r.Wire})[0]
		if r, err = events.Decode(s.Payload); err != nil {
			t.Fatal(err)
		}
		got := regexp.MustCompile("host-[0-9a-f]{10}").ReplaceAllString(r.Event.(*events.DialStarted).Endpoint, "host-*")
		if got != want {
			t.Errorf("%s becomes %s, want %s", endpoint, got, want)
		}
	}
}

func TestPseudonymsAreTheSameForTheSame(t *testing.T) {
	all := night(t)
	one, two := redacted(t, all...), redacted(t, all...)
	wantSame(t, one, two)
	other, err := export.NewRedactor([32]byte{2}).Redact(all[0])
	if err != nil || bytes.Equal(other.Payload, one[0].Payload) {
		t.Errorf("another key gives the same, %v", err)
	}
	// Who it was is one name in the source and in the data.
	r, err := events.Decode(one[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	if e := r.Event.(*events.EpochBegan); r.Source != "/ibconn/"+e.Instance {
		t.Errorf("the source is %s, and the instance %s", r.Source, e.Instance)
	}
}

// chained returns where the chain of the events of one connection is broken.
func chained(t *testing.T, all []bus.Stored) (broken []uint64, count int) {
	t.Helper()
	heads := make(map[events.ConnectionID]events.Head)
	for _, s := range all {
		e, err := s.Entry()
		if err != nil {
			continue
		}
		if heads[e.Connection].Follows(e.Recorded) != nil {
			broken = append(broken, s.StreamSeq)
		}
		heads[e.Connection] = heads[e.Connection].Then(e.Recorded)
		count++
	}
	return broken, count
}

// What is written anew has a chain of its own, which is broken where it was broken.
func TestAChainIsAsWholeAsItWas(t *testing.T) {
	whole := onlyEvents(t, night(t))
	missing := slices.Delete(slices.Clone(whole), 10, 11)
	changed := slices.Clone(whole)
	changed[10].Payload = bytes.Replace(changed[10].Payload, []byte(`"source":"/ibconn/desk-4711"`), []byte(`"source":"/ibconn/desk-4712"`), 1)
	late := whole[20:]
	for name, all := range map[string][]bus.Stored{"whole": whole, "one is missing": missing, "one is changed": changed, "a span": late} {
		t.Run(name, func(t *testing.T) {
			want, n := chained(t, all)
			if got, m := chained(t, redacted(t, all...)); !slices.Equal(got, want) || m != n {
				t.Errorf("redacted, the chain of %d is broken at %v, want of %d at %v", m, got, n, want)
			}
			renamer := export.NewRenamer("night")
			var renamed []bus.Stored
			for _, s := range all {
				if !strings.HasPrefix(s.Subject, "ib.log.main.") {
					continue
				}
				r, err := renamer.Rename(s)
				if err != nil {
					t.Fatal(err)
				}
				renamed = append(renamed, r)
			}
			var ours []bus.Stored
			for _, s := range all {
				if strings.HasPrefix(s.Subject, "ib.log.main.") {
					ours = append(ours, s)
				}
			}
			want, n = chained(t, ours)
			if got, m := chained(t, renamed); !slices.Equal(got, want) || m != n {
				t.Errorf("renamed, the chain of %d is broken at %v, want of %d at %v", m, got, n, want)
			}
		})
	}
	if broken, _ := chained(t, whole); len(broken) != 0 {
		t.Errorf("the night's own chain is broken at %v", broken)
	}
}

// onlyEvents leaves out what is no event.
func onlyEvents(t *testing.T, all []bus.Stored) []bus.Stored {
	t.Helper()
	return slices.DeleteFunc(all, func(s bus.Stored) bool { _, err := s.Entry(); return err != nil })
}

func TestAnImportSaysThatItIsOne(t *testing.T) {
	renamer := export.NewRenamer("night")
	for _, s := range night(t) {
		was, err := s.Entry()
		if strings.HasPrefix(s.Subject, "ib.log.main.%") {
			continue
		}
		got, err2 := renamer.Rename(s)
		if err2 != nil {
			t.Fatal(err2)
		}
		if want := "ib.log.night." + s.Subject[strings.LastIndexByte(s.Subject, '.')+1:]; got.Subject != want {
			t.Errorf("message %d is under %s, want %s", s.StreamSeq, got.Subject, want)
		}
		if err != nil {
			if !bytes.Equal(got.Payload, s.Payload) {
				t.Errorf("message %d, which is no event, was changed", s.StreamSeq)
			}
			continue
		}
		is, err := got.Entry()
		if err != nil {
			t.Fatal(err)
		}
		if is.Source != "/ibconn/import/night/desk-4711" || is.Connection != "night" || is.ID != was.ID || is.Sequence != was.Sequence || is.Epoch != was.Epoch {
			t.Errorf("message %d is of %s about %s, as %s", s.StreamSeq, is.Source, is.Connection, is.ID)
		}
		if !reflect.DeepEqual(is.Event, was.Event) && was.Event.Type().Kind() != "weather" {
			t.Errorf("message %d says %+v, want %+v", s.StreamSeq, is.Event, was.Event)
		}
	}
	if _, err := renamer.Rename(bus.Stored{Subject: "ib.log.x", StreamSeq: 1}); err == nil {
		t.Error("what is under no subject of a log was renamed")
	}
}
