package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
	"ibconn/replay/export"
)

func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	all := night(t)
	last := all[len(all)-1].StreamSeq
	all = append(all, bus.Stored{Subject: "ib.log.main.state", StreamSeq: last + 1, StoredAt: began, Payload: bytes.Repeat([]byte{0xff}, events.MaxSize)})
	for _, compressed := range []bool{false, true} {
		b := written(t, header, compressed, all...)
		got, err := read(t, b, bus.Query{})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, got, all)
		if again := written(t, header, compressed, got...); !bytes.Equal(again, b) {
			t.Error("what was read is written as something else")
		}
	}
	if got, err := read(t, written(t, header, false), bus.Query{}); err != nil || len(got) != 0 {
		t.Errorf("an export of nothing = %d messages, %v", len(got), err)
	}
}

func TestEveryLineIsACloudEvent(t *testing.T) {
	all := lines(written(t, header, false, night(t)...))
	for i, line := range all[1 : len(all)-1] {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line %d: %v", i+2, err)
		}
		for _, key := range []string{"specversion", "id", "source", "type", "logsubject", "logsequence", "logtime"} {
			if s, is := e[key].(string); !is || s == "" {
				t.Errorf("line %d: %s = %v, want text", i+2, key, e[key])
			}
		}
	}
}

// The chain is held against what is in the file, the way somebody else would do it.
func TestTheHashChainCanBeVerifiedFromTheFile(t *testing.T) {
	heads := make(map[events.ConnectionID]events.Head)
	count := 0
	all := lines(written(t, header, false, night(t)...))
	for _, line := range all[1 : len(all)-1] {
		i := strings.LastIndex(line, `,"logsubject":`)
		r, err := events.Decode([]byte(line[:i] + "}"))
		if err != nil || r.Event.Type() == "ib.conn.weather.rained" && count > len(events.Types())+2 {
			continue // what lies there beside
		}
		if err := heads[r.Connection].Follows(r); err != nil {
			t.Errorf("%s: %v", r.ID, err)
		}
		heads[r.Connection] = heads[r.Connection].Then(r)
		count++
	}
	if want := len(events.Types()) + 3; count != want {
		t.Errorf("%d events, want %d", count, want)
	}
}

func TestAQuerySelects(t *testing.T) {
	all := night(t)
	b := written(t, header, true, all...)
	for name, tt := range map[string]struct {
		query bus.Query
		want  func(bus.Stored) bool
	}{
		"a connection": {bus.Query{Connection: "other"}, func(s bus.Stored) bool { return strings.HasPrefix(s.Subject, "ib.log.other.") }},
		"kinds": {bus.Query{Kinds: []events.Kind{events.KindError, events.KindCommand}}, func(s bus.Stored) bool {
			return strings.HasSuffix(s.Subject, ".error") || strings.HasSuffix(s.Subject, ".command")
		}},
		"no kinds":        {bus.Query{Kinds: []events.Kind{}}, func(bus.Stored) bool { return false }},
		"after":           {bus.Query{After: all[5].StreamSeq}, func(s bus.Stored) bool { return s.StreamSeq > all[5].StreamSeq }},
		"since":           {bus.Query{Since: all[5].StoredAt}, func(s bus.Stored) bool { return !s.StoredAt.Before(all[5].StoredAt) }},
		"nothing is left": {bus.Query{After: 1 << 60}, func(bus.Stored) bool { return false }},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, b, tt.query)
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, got, slices.DeleteFunc(slices.Clone(all), func(s bus.Stored) bool { return !tt.want(s) }))
		})
	}
	if _, err := read(t, b, bus.Query{Follow: true}); err == nil || !strings.Contains(err.Error(), "followed") {
		t.Errorf("following = %v, want it refused", err)
	}
}

func TestAFileIsReadAgainAndAPipeIsNot(t *testing.T) {
	b := written(t, header, true, night(t)...)
	path := filepath.Join(t.TempDir(), "night") // the name does not count
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := export.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	names, err := replay.Connections(t.Context(), x)
	if err != nil || !slices.Equal(names, header.Connections) {
		t.Errorf("Connections() = %v, %v, want %v", names, err, header.Connections)
	}
	for range 2 {
		if got, err := collect(t, x, bus.Query{}); err != nil || len(got) != len(night(t)) {
			t.Errorf("read %d messages, %v", len(got), err)
		}
	}

	once, err := export.NewFile(bytes.NewReader(b), "standard input")
	if err != nil {
		t.Fatal(err)
	}
	defer once.Close()
	if names, err := replay.Connections(t.Context(), once); err != nil || len(names) != 2 {
		t.Errorf("Connections() = %v, %v, want both without reading", names, err)
	}
	if got, err := collect(t, once, bus.Query{}); err != nil || len(got) != len(night(t)) {
		t.Errorf("read %d messages, %v", len(got), err)
	}
	if _, err := collect(t, once, bus.Query{}); !errors.Is(err, export.ErrOnce) || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("read again = %v, want that it cannot be", err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	x, err := export.NewFile(bytes.NewReader(written(t, header, true, night(t)...)), "night.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	count := 0
	for _, err = range x.Stored(ctx, bus.Query{}) {
		count++
		cancel(enough)
	}
	if !errors.Is(err, enough) || count != 2 {
		t.Errorf("ended with %v after %d, want the cause after the first message", err, count)
	}
}

// Each byte at which a file can be cut off is tried.
func TestATruncatedExportIsFound(t *testing.T) {
	small := night(t)[:3]
	for _, compressed := range []bool{false, true} {
		b := written(t, header, compressed, small...)
		for n := range len(b) {
			if _, err := read(t, b[:n], bus.Query{}); !isAt(err) {
				t.Fatalf("cut to %d of %d bytes: %v, want an error with its line", n, len(b), err)
			}
		}
	}
	// And each line that can be missing.
	all := lines(written(t, header, false, small...))
	for i := range all {
		cut := strings.Join(slices.Delete(slices.Clone(all), i, i+1), "")
		if _, err := read(t, []byte(cut), bus.Query{}); !isAt(err) {
			t.Errorf("without line %d: %v, want an error with its line", i+1, err)
		}
	}
}

func isAt(err error) bool {
	wrong, is := errors.AsType[*export.Error](err)
	return is && wrong.Line > 0 && strings.HasPrefix(err.Error(), fmt.Sprintf("night.jsonl, line %d: ", wrong.Line))
}

func TestAnyChangeIsFound(t *testing.T) {
	b := written(t, header, false, night(t)[:3]...)
	for i := range b[:len(b)-1] {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		got, err := read(t, changed, bus.Query{})
		if !isAt(err) {
			t.Fatalf("byte %d of %d changed (%q): %d messages, %v, want an error with its line", i, len(b), b[max(0, i-20):min(len(b), i+20)], len(got), err)
		}
	}
}

func TestWhatIsWrongIsSaidWithItsLine(t *testing.T) {
	all := lines(written(t, header, false, night(t)[:3]...))
	with := func(i int, line string) string {
		changed := slices.Clone(all)
		changed[i] = line
		return strings.Join(changed, "")
	}
	place := func(subject, sequence, at string) string {
		return fmt.Sprintf(`{"a":1,"logsubject":"%s","logsequence":"%s","logtime":"%s"}`+"\n", subject, sequence, at)
	}
	raw := func(id, data string) string {
		return `{"specversion":"1.0","type":"ib.export.raw","source":"/ibconn/export","id":"` + id + `","data_base64":"` + data + `","logsubject":"s","logsequence":"43","logtime":"2026-01-02T15:04:05Z"}` + "\n"
	}
	const at = "2026-01-02T15:04:05Z"
	for name, tt := range map[string]struct{ file, want string }{
		"nothing":            {"", "line 1: the export ends here"},
		"another file":       {"hello\n", "line 1: it is no export"},
		"gzip":               {"\x1f\x8b\x08\x00", "line 1: it is no export"},
		"no JSON":            {`{"ibconn_export":1,` + "\n", "line 1: the header is not as it must be"},
		"a newer format":     {`{"ibconn_export":2}` + "\n", "line 1: it is an export of format 2"},
		"a wrong name":       {`{"ibconn_export":1,"connections":["A*"]}` + "\n", "line 1: the header"},
		"garbage":            {with(2, "garbage\n"), "line 3: it does not end in"},
		"an empty line":      {with(2, "\n"), "line 3: it does not end in"},
		"no sequence":        {with(2, place("s", "", at)), "line 3: logsequence"},
		"sequence 0":         {with(2, place("s", "0", at)), "line 3: logsequence"},
		"sequence beyond":    {with(2, place("s", "18446744073709551616", at)), "line 3: logsequence"},
		"sequence twice":     {with(2, place("s", "41", at)), "line 3: message 41 comes after 41"},
		"no time":            {with(2, place("s", "43", "now")), "line 3: logtime"},
		"no subject":         {with(2, place("", "43", at)), "line 3: logsubject is empty"},
		"half an escape":     {with(2, place("a%2", "43", at)), "line 3: logsubject"},
		"something behind":   {with(2, strings.Replace(place("s", "43", at), "}\n", ",\"x\":1}\n", 1)), "line 3: it does not end in"},
		"another id":         {with(2, raw("44", "AA==")), "line 3: what is no event"},
		"no base64":          {with(2, raw("43", "A===")), "line 3: data_base64"},
		"loose base64":       {with(2, raw("43", "AB==")), "line 3: data_base64"},
		"a long line":        {with(2, strings.Repeat("x", 1<<20)), "line 3: it has more than"},
		"the end too early":  {with(2, all[4]+"\n"), "line 3: the export was changed"},
		"a wrong end":        {with(4, "{\"end\":true,}\n"), "line 5: the last line"},
		"two exports":        {strings.Join(all, "") + "\n" + strings.Join(all, ""), "line 6: something follows"},
		"a line feed behind": {strings.Join(all, "") + "\n\n", "line 6: something follows"},
		"line feeds as in DOS": {
			strings.ReplaceAll(strings.Join(all, "")+"\n", "\n", "\r\n"), "line 2: it does not end in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.HasPrefix(name, "two") && !strings.HasSuffix(tt.file, "\n") && tt.file != "" && !strings.HasPrefix(name, "gzip") {
				tt.file += "\n"
			}
			_, err := read(t, []byte(tt.file), bus.Query{})
			if err == nil || !strings.Contains(err.Error(), "night.jsonl, "+tt.want) || !isAt(err) {
				t.Errorf("= %v, want %q", err, tt.want)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the error has %d characters", len(err.Error()))
			}
		})
	}
}

func TestWhatOthersCompressedIsRead(t *testing.T) {
	plain := written(t, header, false, night(t)...)
	for name, tt := range map[string]struct {
		level zstd.EncoderLevel
		more  []zstd.EOption
		ok    bool
	}{
		"quickly":            {zstd.SpeedFastest, nil, true},
		"as well as can be":  {zstd.SpeedBestCompression, []zstd.EOption{zstd.WithWindowSize(8 << 20)}, true},
		"without a checksum": {zstd.SpeedDefault, []zstd.EOption{zstd.WithEncoderCRC(false)}, true},
		"a large window":     {zstd.SpeedDefault, []zstd.EOption{zstd.WithWindowSize(64 << 20), zstd.WithSingleSegment(false)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w, err := zstd.NewWriter(&b, append(tt.more, zstd.WithEncoderLevel(tt.level))...)
			if err != nil {
				t.Fatal(err)
			}
			// In two parts, so that the size is not known at the beginning.
			_, err = w.Write(plain[:100])
			err = errors.Join(err, w.Flush())
			_, err2 := w.Write(plain[100:])
			if err := errors.Join(err, err2, w.Close()); err != nil {
				t.Fatal(err)
			}
			_, err = read(t, b.Bytes(), bus.Query{})
			if tt.ok && err != nil || !tt.ok && (!isAt(err) || !strings.Contains(err.Error(), "window above 8 MiB")) {
				t.Errorf("= %v, want it read: %v", err, tt.ok)
			}
		})
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	w, err := export.NewWriter(io.Discard, header, false)
	if err != nil {
		t.Fatal(err)
	}
	good := bus.Stored{Subject: "s", StreamSeq: 2, StoredAt: began, Payload: []byte("x")}
	if err := w.Write(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*bus.Stored){
		"the same again": func(*bus.Stored) {},
		"one before":     func(s *bus.Stored) { s.StreamSeq = 1 },
		"too large":      func(s *bus.Stored) { s.StreamSeq, s.Payload = 3, make([]byte, 2*events.MaxSize) },
		"a far future":   func(s *bus.Stored) { s.StreamSeq, s.StoredAt = 3, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		s := good
		change(&s)
		if err := w.Write(s); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
}

func TestAnOutputHasItsNameOnlyWhenItIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "night.jsonl.zst")
	names := func() (all []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	write := func(o *export.Output) {
		for _, s := range night(t) {
			if err := o.Write(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	o, err := export.Create(path, header, false)
	if err != nil {
		t.Fatal(err)
	}
	write(o)
	if there := names(); slices.Contains(there, "night.jsonl.zst") {
		t.Errorf("%v are there before it is whole", there)
	}
	if err := errors.Join(o.Close(), o.Close()); err != nil {
		t.Error(err)
	}
	if there := names(); len(there) != 0 {
		t.Errorf("%v are left of what was not committed", there)
	}

	if o, err = export.Create(path, header, false); err != nil {
		t.Fatal(err)
	}
	write(o)
	trailer, err := o.Commit()
	if err = errors.Join(err, o.Close()); err != nil {
		t.Fatal(err)
	}
	if want := uint64(len(night(t))); trailer.Count != want {
		t.Errorf("the trailer says %d messages, want %d", trailer.Count, want)
	}
	if there := names(); !slices.Equal(there, []string{"night.jsonl.zst"}) {
		t.Errorf("%v are there, want the export alone", there)
	}
	x, err := export.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if got, err := collect(t, x, bus.Query{}); err != nil || len(got) != len(night(t)) {
		t.Errorf("read %d messages, %v", len(got), err)
	}

	if _, err := export.Create(path, header, false); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("to overwrite it = %v, want it refused", err)
	}
	if _, err := export.Create(dir, header, true); err == nil {
		t.Error("a directory was taken for a file")
	}
	if o, err = export.Create(path, header, true); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Commit(); err != nil {
		t.Fatal(err)
	}
	// One that comes while the other is written is not overwritten either.
	late := filepath.Join(dir, "late.jsonl")
	if o, err = export.Create(late, header, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(late, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Commit() = %v, want it refused", err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(late); string(b) != "mine" || err != nil {
		t.Errorf("the file is %q, %v, want it as it was", b, err)
	}
	if there := names(); !slices.Equal(there, []string{"late.jsonl", "night.jsonl.zst"}) {
		t.Errorf("%v are there", there)
	}
	if _, err := export.Open(dir); err == nil {
		t.Error("a directory was opened")
	}
}

// What is in testdata/v1-* was written by the first version, and is read for ever.
func TestOldExportsAreReadForEver(t *testing.T) {
	if *update {
		h := header
		h.Redacted = true
		first := func(name string, b []byte) {
			if _, err := os.Stat(filepath.Join("testdata", name)); err != nil {
				golden(t, name, b, false)
			}
		}
		first("v1-night.jsonl", written(t, header, false, night(t)...))
		first("v1-night.jsonl.zst", written(t, header, true, night(t)...))
		first("v1-redacted.jsonl", written(t, h, false, redacted(t, night(t)...)...))
	}
	plain, err := export.Open("testdata/v1-night.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	want, err := collect(t, plain, bus.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 60 {
		t.Errorf("%d messages, want a whole night", len(want))
	}
	packed, err := export.Open("testdata/v1-night.jsonl.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	got, err := collect(t, packed, bus.Query{})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, got, want)
	golden(t, "v1-night.states.json", folded(t, packed), true)

	hidden, err := export.Open("testdata/v1-redacted.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer hidden.Close()
	if !hidden.Header().Redacted || plain.Header().Redacted {
		t.Error("the header does not say which one is redacted")
	}
	golden(t, "v1-redacted.states.json", folded(t, hidden), true)
}
