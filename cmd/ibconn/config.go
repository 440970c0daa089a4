package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/mattn/go-isatty"
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

// config is a configuration file: one mapping from flag names to values.
type config struct {
	file     string
	settings []setting // in the order of the file
}

type setting struct {
	key, value string
	line       int // from 1
}

// maxConfig is how many bytes a configuration file may have.
const maxConfig = 1 << 20

// readConfig reads a configuration file for kong.
func readConfig(r io.Reader) (kong.Resolver, error) {
	c := &config{file: "configuration"}
	if f, ok := r.(*os.File); ok {
		c.file = f.Name()
	}
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%s: more than %d bytes", c.file, maxConfig)
	}
	// A key that stands twice is found by add, whose words are the plainer.
	parsed, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if wrong, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		return nil, c.wrong(wrong.Token.Position.Line, "%s", wrong.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	for _, doc := range parsed.Docs {
		if err := c.add(doc.Body); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *config) add(body ast.Node) error {
	var entries []*ast.MappingValueNode
	switch n := body.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		return c.wrong(body.GetToken().Position.Line, "want lines of the form \"key: value\"")
	}
	for _, e := range entries {
		key := e.Key.GetToken()
		value, ok := plain(e.Value)
		if !ok {
			return c.wrong(key.Position.Line, "%s: want one plain value", key.Value)
		}
		if first := c.find(key.Value); first != nil {
			return c.wrong(key.Position.Line, "%s stands there twice; first in line %d", key.Value, first.line)
		}
		c.settings = append(c.settings, setting{key.Value, value, key.Position.Line})
	}
	return nil
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

func (c *config) find(key string) *setting {
	i := slices.IndexFunc(c.settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return nil
	}
	return &c.settings[i]
}

func (c *config) wrong(line int, format string, args ...any) error {
	return fmt.Errorf("%s, line %d: %s", c.file, line, fmt.Sprintf(format, args...))
}

// Validate refuses keys that are no setting: those are the flags that can be
// given in the environment too.
func (c *config) Validate(app *kong.Application) error {
	var keys []string
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && len(flag.Envs) > 0 && flag.Name != "config" {
			keys = append(keys, flag.Name)
		}
		return next(nil)
	})
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, s := range c.settings {
		if !slices.Contains(keys, s.key) {
			return c.wrong(s.line, "there is no key %q; the keys are %s", s.key, strings.Join(keys, ", "))
		}
	}
	return nil
}

// Resolve returns the value for flag, unless the environment has one: it wins
// over the file, and kong asks in the other order.
func (c *config) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	s := c.find(flag.Name)
	if s == nil {
		return nil, nil
	}
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	return s.value, c.check(flag, s)
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
