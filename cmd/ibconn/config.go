package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/mattn/go-isatty"

	"ibconn/events"
)

// defaultData is where a connection's data lie unless --data says otherwise.
func defaultData() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ibconn")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "ibconn-data"
	}
	return filepath.Join(home, ".local", "state", "ibconn")
}

func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }

// config is a configuration file: one mapping from flag names to values, and
// sections of them for single connections. The zero config is that of no file.
type config struct {
	file        string
	section               // the top level
	connections []section // each with a name of its own, in the order of the file
	pool        *poolSection
}

// section is the settings of one connection, or those that hold for all.
type section struct {
	name     string
	line     int       // where it begins, from 1
	settings []setting // in the order of the file
	pooled   bool      // it stands for one member of the pool
}

type setting struct {
	key, value string // the key as the flag is named
	line       int    // from 1
}

// poolSection is several connections to one gateway.
type poolSection struct {
	section          // its name is empty when it has none
	ids     []poolID // each once, in the order of the file
}

type poolID struct {
	id   int64
	line int
}

const (
	// maxConfig is how many bytes a configuration file may have.
	maxConfig = 1 << 20
	// maxClients is how many API clients a gateway takes: IB's limit.
	maxClients = 32
	// maxConnections is how many sections for connections a file may have: more
	// than that no process keeps well.
	maxConnections = 256

	keyConnections = "connections"
	keyPool        = "pool"
	keyIDs         = "client-ids"
	keyName        = "name"

	idsForm = "want ids and ranges of them, such as 20-27 or [20, 22, 30-33]"
)

// read fills in c from a file.
func (c *config) read(r io.Reader) error {
	*c = config{file: "configuration"}
	if f, ok := r.(*os.File); ok {
		c.file = f.Name()
	}
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return err
	}
	if len(text) > maxConfig {
		return fmt.Errorf("%s: more than %d bytes", c.file, maxConfig)
	}
	// A key that stands twice is found by once, whose words are the plainer.
	parsed, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if wrong, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		return c.wrong(wrong.Token.Position.Line, "%s", wrong.Message)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	seen := make(map[string]int)
	for _, doc := range parsed.Docs {
		if err := c.add(doc.Body, seen); err != nil {
			return err
		}
	}
	return nil
}

// entry is one "key: value" of a mapping.
type entry struct {
	key   string // as the flag is named
	raw   string // as it is written
	line  int
	value ast.Node
}

// entries takes a mapping apart. Nothing at all is an empty one.
func entries(n ast.Node) (all []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	for _, v := range values {
		key := v.Key.GetToken()
		all = append(all, entry{keyOf(key.Value), key.Value, key.Position.Line, v.Value})
	}
	return all, true
}

// keyOf returns a key as the flag is named, which may be written with
// underscores too.
func keyOf(written string) string { return strings.ReplaceAll(written, "_", "-") }

// once refuses a name that stands there a second time.
func (c *config) once(seen map[string]int, name, written string, line int) error {
	if first := seen[name]; first != 0 {
		return c.wrong(line, "%s stands there twice; first in line %d", written, first)
	}
	seen[name] = line
	return nil
}

func (c *config) add(body ast.Node, seen map[string]int) error {
	all, ok := entries(body)
	if !ok {
		return c.wrong(body.GetToken().Position.Line, "want lines of the form \"key: value\"")
	}
	for _, e := range all {
		if err := c.once(seen, e.key, e.raw, e.line); err != nil {
			return err
		}
		var err error
		switch e.key {
		case keyConnections:
			err = c.addConnections(e)
		case keyPool:
			err = c.addPool(e)
		default:
			err = c.addSetting(&c.section, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *config) addSetting(to *section, e entry) error {
	value, ok := plain(e.value)
	if !ok {
		return c.wrong(e.line, "%s: want one plain value", e.raw)
	}
	to.settings = append(to.settings, setting{e.key, value, e.line})
	return nil
}

// addConnections takes a mapping from names to sections.
func (c *config) addConnections(e entry) error {
	all, ok := entries(e.value)
	if !ok || len(all) == 0 {
		return c.wrong(e.line, "%s: want a name and settings for each, such as \"main: {client-id: 17}\"", e.raw)
	}
	if len(all) > maxConnections {
		return c.wrong(all[maxConnections].line, "%s: %d of them: want at most %d in one process", e.raw, len(all), maxConnections)
	}
	names := make(map[string]int)
	for _, e := range all {
		if _, err := events.ParseConnectionID(e.raw); err != nil {
			return c.wrong(e.line, "%v", err)
		}
		if err := c.once(names, e.raw, e.raw, e.line); err != nil {
			return err
		}
		settings, ok := entries(e.value)
		if !ok {
			return c.wrong(e.line, "%s: want the connection's settings, such as {client-id: 17}", e.raw)
		}
		s := section{name: e.raw, line: e.line}
		seen := make(map[string]int)
		for _, e := range settings {
			if err := c.once(seen, e.key, e.raw, e.line); err != nil {
				return err
			}
			if err := c.addSetting(&s, e); err != nil {
				return err
			}
		}
		c.connections = append(c.connections, s)
	}
	return nil
}

// addPool takes the short form of several connections to one gateway.
func (c *config) addPool(e entry) error {
	settings, ok := entries(e.value)
	if !ok {
		return c.wrong(e.line, "%s: want its settings, such as {client-ids: 20-27}", e.raw)
	}
	p := &poolSection{section: section{line: e.line}}
	seen := make(map[string]int)
	for _, e := range settings {
		if err := c.once(seen, e.key, e.raw, e.line); err != nil {
			return err
		}
		var err error
		switch e.key {
		case keyIDs:
			p.ids, err = c.ids(e)
		case keyName:
			if p.name, ok = plain(e.value); !ok {
				err = c.wrong(e.line, "%s: want one plain value", e.raw)
			} else if _, wrong := events.ParseConnectionID(p.name); wrong != nil {
				err = c.wrong(e.line, "%s: %v", e.raw, wrong)
			}
		case "client-id":
			err = c.wrong(e.line, "%s: a pool has %s: %s", e.raw, keyIDs, idsForm)
		default:
			if _, _, no := parseRange(e.raw); no == nil {
				return c.wrong(e.line, "%s: in braces a list needs brackets, such as [20, 22, 30-33]", e.raw)
			}
			err = c.addSetting(&p.section, e)
		}
		if err != nil {
			return err
		}
	}
	if seen[keyIDs] == 0 {
		return c.wrong(e.line, "%s: %s is missing: %s", e.raw, keyIDs, idsForm)
	}
	c.pool = p
	return nil
}

// ids reads client ids and ranges of them, as text or as a list.
func (c *config) ids(e entry) ([]poolID, error) {
	parts := []ast.Node{e.value}
	if list, ok := e.value.(*ast.SequenceNode); ok {
		parts = list.Values
	}
	var all []poolID
	for _, part := range parts {
		text, ok := plain(part)
		line := part.GetToken().Position.Line
		if !ok {
			return nil, c.wrong(e.line, "%s: %s", e.raw, idsForm)
		}
		for run := range strings.SplitSeq(text, ",") {
			first, last, err := parseRange(strings.TrimSpace(run))
			if err != nil {
				return nil, c.wrong(line, "%s: %v", e.raw, err)
			}
			if n := last - first + 1 + int64(len(all)); n > maxClients {
				return nil, c.wrong(line, "%s: %d ids: a gateway takes at most %d API clients", e.raw, n, maxClients)
			}
			for id := first; id <= last; id++ {
				if slices.ContainsFunc(all, func(p poolID) bool { return p.id == id }) {
					return nil, c.wrong(line, "%s: client id %d stands there twice", e.raw, id)
				}
				all = append(all, poolID{id, line})
			}
		}
	}
	if len(all) == 0 {
		return nil, c.wrong(e.line, "%s: none is in it: %s", e.raw, idsForm)
	}
	return all, nil
}

// parseRange reads "20" or "20-27".
func parseRange(text string) (first, last int64, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	low, errLow := strconv.ParseUint(strings.TrimSpace(from), 10, 31)
	high, errHigh := strconv.ParseUint(strings.TrimSpace(to), 10, 31)
	switch {
	case errLow != nil || errHigh != nil:
		return 0, 0, fmt.Errorf("%q: %s", text, idsForm)
	case low > high:
		return 0, 0, fmt.Errorf("range %q is empty: want the lower id first", text)
	}
	return int64(low), int64(high), nil
}

// plain returns the text of a value that is neither empty, nor several, nor one
// of YAML's references.
func plain(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	}
	return "", false
}

func (s *section) find(key string) *setting {
	i := slices.IndexFunc(s.settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return nil
	}
	return &s.settings[i]
}

func (c *config) wrong(line int, format string, args ...any) error {
	return fmt.Errorf("%s, line %d: %s", c.file, line, fmt.Sprintf(format, args...))
}

// view is a file as one connection sees it: its own section first. Without one
// it is the top level alone.
type view struct {
	*config
	own section
}

func (v view) find(key string) *setting {
	if s := v.own.find(key); s != nil {
		return s
	}
	return v.section.find(key)
}

// Validate refuses keys that are no setting: those are the flags that can be
// given in the environment too.
func (v view) Validate(app *kong.Application) error {
	var keys, ofConnections []string
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && len(flag.Envs) > 0 && flag.Name != "config" {
			keys = append(keys, flag.Name)
			if flag.Group != nil && flag.Group.Key == groupConnection {
				ofConnections = append(ofConnections, flag.Name)
			}
		}
		return next(nil)
	})
	inSections := allowed(ofConnections)
	top := allowed(append(keys, keyConnections, keyPool))
	for _, s := range v.settings {
		if !slices.Contains(top, s.key) {
			return v.wrong(s.line, "there is no key %q; the keys are %s", s.key, strings.Join(top, ", "))
		}
	}
	sections := v.connections
	if v.pool != nil {
		sections = append(slices.Clip(sections), v.pool.section)
	}
	for _, section := range sections {
		for _, s := range section.settings {
			switch {
			case slices.Contains(inSections, s.key):
			case slices.Contains(top, s.key):
				return v.wrong(s.line, "%s is not a connection's own: it goes to the top level; the keys of a connection are %s", s.key, strings.Join(inSections, ", "))
			default:
				return v.wrong(s.line, "there is no key %q in a connection; its keys are %s", s.key, strings.Join(inSections, ", "))
			}
		}
	}
	return nil
}

func allowed(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Resolve returns the value for flag, unless the environment has one: it wins
// over the file, and kong asks in the other order.
func (v view) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	s := v.find(flag.Name)
	if s == nil || inEnvironment(flag) != "" {
		return nil, nil
	}
	return s.value, v.check(flag, s)
}

// inEnvironment returns the variable that has a value for flag, or "".
func inEnvironment(flag *kong.Flag) string {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return name
		}
	}
	return ""
}

// check parses a value as kong will, so that what is wrong is said with its
// place in the file.
func (c *config) check(flag *kong.Flag, s *setting) error {
	if flag.Enum != "" && !slices.Contains(flag.EnumSlice(), s.value) {
		return c.wrong(s.line, "%q is not one of %s", s.value, strings.Join(flag.EnumSlice(), ", "))
	}
	scan := kong.Scan().PushTyped(s.value, kong.FlagValueToken)
	err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, reflect.New(flag.Target.Type()).Elem())
	if err != nil {
		return c.wrong(s.line, "%v", err)
	}
	return nil
}
