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

	schemaData = "ib.data." // and the type of the data
)

// The schemas are made from the types of this package by its tests.
//
//go:embed schemas/*.json
var schemas embed.FS

// SchemaNames lists every schema there is: one for each of [Types], under the
// type's name, those of the commands, and one for each of [DataTypes], but for
// partial bars, which have that of bars.
func SchemaNames() []string {
	names := make([]string, 0, len(prototypes)+2+len(DataTypes))
	for _, t := range Types() {
		names = append(names, string(t))
	}
	names = append(names, SchemaRequest, SchemaAnswer)
	for _, t := range DataTypes {
		if t != DataPartial {
			names = append(names, schemaData+string(t))
		}
	}
	return names
}

// Schema returns the JSON Schema (2020-12) of one event type, envelope and
// data, of a command's request or answer, or of a message of data. Any name that is not one of
// [SchemaNames] is an error that lists them.
func Schema(name string) ([]byte, error) {
	b, err := schemas.ReadFile("schemas/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("there is no schema %q: there are %s", name, strings.Join(SchemaNames(), ", "))
	}
	return b, nil
}
