package events

import (
	"embed"
	"fmt"
	"strings"
)

// The names of the schemas that are not events'.
const (
	SchemaRequest = "ib.cmd.request" // what a command takes
	SchemaAnswer  = "ib.cmd.answer"  // what a command answers
)

// The schemas are made from the types of this package by its tests.
//
//go:embed schemas/*.json
var schemas embed.FS

// SchemaNames lists every schema there is: one for each of [Types], under the
// type's name, and those of the commands.
func SchemaNames() []string {
	names := make([]string, 0, len(prototypes)+2)
	for _, t := range Types() {
		names = append(names, string(t))
	}
	return append(names, SchemaRequest, SchemaAnswer)
}

// Schema returns the JSON Schema (2020-12) of one event type, envelope and
// data, or of a command's request or answer. Any name that is not one of
// [SchemaNames] is an error that lists them.
func Schema(name string) ([]byte, error) {
	b, err := schemas.ReadFile("schemas/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("there is no schema %q: there are %s", name, strings.Join(SchemaNames(), ", "))
	}
	return b, nil
}
