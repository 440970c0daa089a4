package main

import (
	"fmt"

	"ibconn/events"
)

type schemaCommand struct {
	Ls   schemaList `cmd:"" help:"List the schemas' names."`
	Show schemaShow `cmd:"" help:"Print one schema."`
}

type schemaList struct{}

// Run lists the names, one a line.
func (schemaList) Run(c console) error {
	for _, name := range events.SchemaNames() {
		if _, err := fmt.Fprintln(c.Out, name); err != nil {
			return err
		}
	}
	return nil
}

type schemaShow struct {
	Name string `arg:"" help:"A name as schema ls prints it, such as ib.conn.state.session_lost."`
}

// Run prints the schema.
func (s schemaShow) Run(c console) error {
	b, err := events.Schema(s.Name)
	if err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintf(c.Out, "%s\n", b)
	return err
}
