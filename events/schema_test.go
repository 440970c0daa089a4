package events

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// source is what the schemas take from this package's source text, which the
// types at run time do not know: the comments, and which values a closed set
// has.
type source struct {
	comments map[string]string // by "Type" and by "Type.Field"
	values   map[string][]any  // the constants of each string type, by its name
}

func readSource(t testing.TB) source {
	t.Helper()
	src := source{comments: map[string]string{}, values: map[string][]any{}}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				src.read(g)
			}
		}
	}
	return src
}

func (src source) read(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			src.comments[spec.Name.Name] = words(g.Doc)
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, name := range f.Names {
						src.comments[spec.Name.Name+"."+name.Name] = words(f.Doc, f.Comment)
					}
				}
			}
		case *ast.ValueSpec:
			of, typed := spec.Type.(*ast.Ident)
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && typed && lit.Kind == token.STRING {
					value, _ := strconv.Unquote(lit.Value)
					src.values[of.Name] = append(src.values[of.Name], value)
				}
			}
		}
	}
}

var docLink = regexp.MustCompile(`\[(\w+)\]`)

// words returns comments as one line, without the brackets of Go's doc links.
func words(comments ...*ast.CommentGroup) string {
	var all []string
	for _, c := range comments {
		all = append(all, strings.Fields(c.Text())...)
	}
	return docLink.ReplaceAllString(strings.Join(all, " "), "$1")
}

// schema makes the schema of what t is as JSON.
func (src source) schema(t testing.TB, typ reflect.Type) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.ForType(typ, &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Time]():    {Type: "string", Format: "date-time"},
		reflect.TypeFor[Wait]():         {Type: "string"}, // their UnmarshalText, which the generator does not see
		reflect.TypeFor[DarkAfter]():    {Type: "string"},
		reflect.TypeFor[ConnectionID](): {Type: "string", Pattern: "^[a-z0-9][a-z0-9-]{0,31}$"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	src.refine(typ, s)
	return s
}

// refine adds to s what the generator cannot know, and lets readers meet
// fields that were added later.
func (src source) refine(typ reflect.Type, s *jsonschema.Schema) {
	if values := src.values[typ.Name()]; typ.Kind() == reflect.String && len(values) > 0 {
		s.Enum = values
	}
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice:
		// The generator allows null for them; we leave empty ones out instead.
		if len(s.Types) == 2 {
			s.Type, s.Types = s.Types[1], nil
		}
		if typ.Kind() == reflect.Slice {
			s = s.Items
		}
		src.refine(typ.Elem(), s)
	case reflect.Map:
		s.PropertyNames = &jsonschema.Schema{}
		src.refine(typ.Key(), s.PropertyNames)
		src.refine(typ.Elem(), s.AdditionalProperties)
	case reflect.Struct:
		s.AdditionalProperties = nil
		for _, f := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := s.Properties[name]
			if p == nil || name == "" {
				continue
			}
			src.refine(f.Type, p)
			of := typ
			if len(f.Index) > 1 {
				of = typ.FieldByIndex(f.Index[:len(f.Index)-1]).Type
			}
			p.Description = src.comments[of.Name()+"."+f.Name]
		}
	}
}

// eventSchema makes the schema of a whole event of e's type.
func (src source) eventSchema(t testing.TB, e Event) *jsonschema.Schema {
	t.Helper()
	s := src.schema(t, reflect.TypeFor[wire]())
	p := s.Properties
	only := func(name, value string) { p[name].Const = jsonschema.Ptr[any](value) }
	only("specversion", "1.0")
	only("type", string(e.Type()))
	only("datacontenttype", "application/json")
	only("dataschema", SchemaURI(e.Type()))
	p["id"].MinLength = new(1)
	p["source"].MinLength = new(1)
	p["time"].Format = "date-time"
	p["sequence"].Pattern = fmt.Sprintf("^[0-9]{%d,20}$", sequenceDigits)
	p["epoch"].Minimum = new(1.0)
	p["prevhash"].Pattern = "^[0-9a-f]{64}$"
	for attribute, field := range map[string]string{
		"id": "ID", "source": "Source", "subject": "Connection", "time": "Time", "sequence": "Sequence", "epoch": "Epoch",
		"prevhash": "PrevHash", "correlationid": "Correlation", "causationid": "Causation", "traceparent": "Traceparent",
	} {
		p[attribute].Description = src.comments["Recorded."+field]
	}
	data := reflect.TypeOf(e).Elem()
	p["data"] = src.schema(t, data)
	s.Description = src.comments[data.Name()]
	return s
}

func (src source) schemas(t testing.TB) map[string]*jsonschema.Schema {
	t.Helper()
	all := map[string]*jsonschema.Schema{
		SchemaRequest: src.schema(t, reflect.TypeFor[Request]()),
		SchemaAnswer:  src.schema(t, reflect.TypeFor[Answer]()),
	}
	request := all[SchemaRequest]
	request.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
	request.Properties["id"].MaxLength = new(MaxIDLength)
	request.Properties["reason"].MaxLength = new(MaxReasonLength)
	for _, name := range []string{"name", "caller", "subscription"} {
		request.Properties[name].Pattern = fmt.Sprintf("^([a-z0-9][a-z0-9-]{0,%d})?$", MaxIDLength-1)
	}
	object := request.Properties["contract"]
	object.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
	request.Properties["contract"] = &jsonschema.Schema{
		Description: object.Description, AnyOf: []*jsonschema.Schema{{Type: "string", MinLength: new(1)}, object},
	}
	object.Description = ""
	request.Description, all[SchemaAnswer].Description = src.comments["Request"], src.comments["Answer"]
	for _, typ := range Types() {
		all[string(typ)] = src.eventSchema(t, New(typ))
	}
	for _, d := range data {
		typ := reflect.TypeOf(d).Elem()
		s := src.schema(t, typ)
		s.Description = src.comments[typ.Name()]
		all[schemaData+string(d.DataType())] = s
	}
	for name, s := range all {
		s.Schema, s.ID, s.Title = "https://json-schema.org/draft/2020-12/schema", SchemaURI(Type(name)), name
	}
	return all
}

func TestSchemasAreThoseOfTheTypes(t *testing.T) {
	made := readSource(t).schemas(t)
	for _, name := range SchemaNames() {
		b, err := json.MarshalIndent(made[name], "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("..", "schemas", name+".json"), append(b, '\n'))
	}
	files, err := os.ReadDir("schemas")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(f.Name(), ".json"); made[name] == nil {
			t.Errorf("schemas/%s is the schema of nothing", f.Name())
		}
	}
}

func TestSchemaOfAnUnknownNameSaysWhatThereIs(t *testing.T) {
	for _, name := range []string{"", "ib.conn.state.moon_rose", "../schema", "ib.cmd.request.json"} {
		_, err := Schema(name)
		if err == nil || !strings.Contains(err.Error(), SchemaAnswer) || !strings.Contains(err.Error(), string(Types()[0])) {
			t.Errorf("Schema(%q) = %v, want an error that lists every schema", name, err)
		}
	}
}

// resolve returns the schema as a program that was given the embedded bytes
// sees it.
func resolve(t testing.TB, name string) *jsonschema.Resolved {
	t.Helper()
	b, err := Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatalf("schema %s: %v", name, err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatalf("schema %s: %v", name, err)
	}
	return resolved
}

func object(t testing.TB, b []byte) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestEventsFitTheirSchemasAndMayGrow(t *testing.T) {
	for _, e := range samples() {
		s := resolve(t, string(e.Type()))
		o := object(t, record(t, e).Wire)
		if err := s.Validate(o); err != nil {
			t.Errorf("%s does not fit its schema: %v", e.Type(), err)
		}
		o["added_later"], o["data"].(map[string]any)["added_later"] = true, "and here"
		if err := s.Validate(o); err != nil {
			t.Errorf("%s with fields added later does not fit its schema: %v", e.Type(), err)
		}
	}
}

func TestSchemasRefuseWhatIsNotTheEvent(t *testing.T) {
	for _, e := range samples() {
		s, b := resolve(t, string(e.Type())), record(t, e).Wire
		refuse := func(what string, change func(envelope, data map[string]any)) {
			o := object(t, b)
			change(o, o["data"].(map[string]any))
			if s.Validate(o) == nil {
				t.Errorf("%s with %s fits its schema", e.Type(), what)
			}
		}
		for _, name := range s.Schema().Required {
			refuse("no "+name, func(envelope, _ map[string]any) { delete(envelope, name) })
		}
		data := s.Schema().Properties["data"]
		for _, name := range data.Required {
			refuse("no data."+name, func(_, data map[string]any) { delete(data, name) })
		}
		for name, p := range data.Properties {
			refuse("null for data."+name, func(_, data map[string]any) { data[name] = nil })
			if p.Enum != nil {
				refuse("a value nobody knows for data."+name, func(_, data map[string]any) { data[name] = "moonstruck" })
			}
		}
		for name, value := range map[string]any{
			"specversion": "0.3", "type": "ib.conn.state.moon_rose", "subject": "Main", "sequence": "42", "epoch": 0.0, "prevhash": "beef", "id": "", "data": "x",
		} {
			refuse(fmt.Sprintf("%s %v", name, value), func(envelope, _ map[string]any) { envelope[name] = value })
		}
	}
}

func TestCommandSchemasAgreeWithTheTypes(t *testing.T) {
	request := resolve(t, SchemaRequest)
	for _, tt := range []struct {
		payload string
		fits    bool
	}{
		{`{}`, true},
		{`{"id":"restart-7","reason":"weekly restart","wait":"5s"}`, true},
		{`{"reason":"` + strings.Repeat("é", MaxReasonLength) + `"}`, true},
		{`{"reason":"` + strings.Repeat("é", MaxReasonLength+1) + `"}`, false},
		{`{"id":"` + strings.Repeat("x", MaxIDLength+1) + `"}`, false},
		{`{"ID":"restart-7"}`, false},
		{`{"verb":"reconnect"}`, false},
		{`{"id":null}`, false},
		{`{"wait":5}`, false},
	} {
		o := object(t, []byte(tt.payload))
		if err := request.Validate(o); (err == nil) != tt.fits {
			t.Errorf("schema of the request says of %.60s: %v, want fit %v", tt.payload, err, tt.fits)
		}
		if _, err := ParseRequest([]byte(tt.payload)); (err == nil) != tt.fits {
			t.Errorf("ParseRequest(%.60s) = %v, want fit %v, as its schema says", tt.payload, err, tt.fits)
		}
	}

	answer := resolve(t, SchemaAnswer)
	state := fold(t, samples()...)
	gapped := *fold(t, gapped...).Subscriptions[0]
	for _, a := range []Answer{
		Refuse("main", ErrorStopped, "stopped"),
		{OK: true, Status: StatusAccepted, Connection: "main", CommandID: "restart-7", AfterSeq: 42},
		{OK: true, Connection: "main", AsOf: wireTime, Uptime: 5, Traffic: &Traffic{HeardAt: wireTime}, State: &state, Version: "1.2.3"},
		{OK: true, State: new(NewState("main"))},
		{OK: true, Connection: "main", AsOf: wireTime, Version: "1.2.3", Pool: &Pool{
			Name: "main", AsOf: wireTime, Condition: ConditionDown, Of: 1, Wanted: 1,
			Reasons: []PoolReason{{"main-20", Reason{Level: LevelSession, What: "waiting", Since: wireTime, Cause: CauseRefused}}},
			Members: []PoolMember{{"main-20", true, PhaseWaiting, ConditionDown}},
		}},
		{OK: true, Status: StatusCompleted, CommandID: "sub-1", Subscription: &gapped, Subjects: gapped.Subjects("main")},
		{OK: true, Connection: "main", AsOf: wireTime, Subscriptions: []Subscription{gapped, {Name: "new", Feed: Feed{Kind: SubscribeQuotes}, Callers: []string{"x"}, Status: SubscriptionWanted}}},
		{OK: true, Connection: "main", AsOf: wireTime, Subscriptions: []Subscription{}},
	} {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Validate(object(t, b)); err != nil {
			t.Errorf("the answer %s does not fit its schema: %v", b, err)
		}
	}
	if answer.Validate(map[string]any{"status": "accepted"}) == nil {
		t.Error("an answer without ok fits its schema")
	}
}

var full = Bar{
	Time: "2026-11-25", Open: "1", High: "2", Low: "3", Close: "4", Volume: "5", WAP: "6", Count: 7,
	Issues: []BarIssue{IssueOHLCOrder}, Severity: SeverityError,
}

// data has a full message of each type, and the least one.
var data = []Datum{
	&Tick{Arrival: Arrival{wireTime, 1}, Field: "model_option", Type: 13, Price: "1", Size: "2", Value: "3", Flags: []string{"pre_open"}, Model: &Greeks{"1", "2", "3", "4", "5", "6", "7", "8"}},
	&Tick{},
	&Trade{Arrival: Arrival{wireTime, 1}, Time: wireTime, Price: "1", Size: "2", Exchange: "NASDAQ", Conditions: "T", Flags: []string{"unreported"}},
	&Trade{},
	&BidAsk{Arrival: Arrival{wireTime, 1}, Time: wireTime, Bid: "1", Ask: "2", BidSize: "3", AskSize: "4", Flags: []string{"bid_past_low"}},
	&BidAsk{},
	&Midpoint{Arrival: Arrival{wireTime, 1}, Time: wireTime, Price: "1"},
	&Midpoint{},
	&BarData{At: wireTime, BarSize: "1 min", What: "TRADES", Backfill: true, Bar: full},
	&BarData{},
}

func TestDataFitsItsSchemaAndMayGrow(t *testing.T) {
	for _, d := range data {
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		s, o := resolve(t, schemaData+string(d.DataType())), object(t, b)
		if err := s.Validate(o); err != nil {
			t.Errorf("%s does not fit its schema: %v", b, err)
		}
		o["added_later"] = true
		if err := s.Validate(o); err != nil {
			t.Errorf("%s with a field added later does not fit its schema: %v", b, err)
		}
		for _, name := range s.Schema().Required {
			o := object(t, b)
			delete(o, name)
			if s.Validate(o) == nil {
				t.Errorf("%s without %s fits its schema", b, name)
			}
		}
		for name := range s.Schema().Properties {
			o := object(t, b)
			o[name] = nil
			if s.Validate(o) == nil {
				t.Errorf("%s with null for %s fits its schema", b, name)
			}
		}
	}
	names := SchemaNames()
	for _, d := range DataTypes {
		if slices.Contains(names, schemaData+string(d)) == (d == DataPartial) {
			t.Errorf("the schemas are %v, want one of %s but if it is partial", names, d)
		}
	}
}

func TestListsOfValuesAreComplete(t *testing.T) {
	values := readSource(t).values
	lists := map[string]any{
		"Cause": Causes, "Phase": Phases, "Kind": Kinds, "Verb": Verbs, "DataType": DataTypes, "MessageKind": MessageKinds,
		"SubscriptionKind": SubscriptionKinds, "SubscriptionPriority": SubscriptionPriorities, "SubscriptionStatus": SubscriptionStatuses,
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if got, want := fmt.Sprint(lists[name]), fmt.Sprint(values[name]); got != want {
			t.Errorf("the list of every %s = %s, want the constants %s", name, got, want)
		}
	}
	for _, c := range Causes {
		if causeSentences[c] == "" {
			t.Errorf("%s.Sentence() has no sentence of its own", c)
		}
	}
	for _, v := range Verbs {
		if v.Purpose() == "" {
			t.Errorf("%s.Purpose() says nothing", v)
		}
	}
	if got := Verb("dance").Purpose(); got != "" {
		t.Errorf("Purpose of an unknown verb = %q, want nothing", got)
	}
	if got := Cause("solar_flare").Sentence(); got != "solar_flare" {
		t.Errorf("Sentence of an unknown cause = %q, want the cause itself", got)
	}
}
