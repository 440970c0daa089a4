package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"ibconn/events"
)

// Commander gives a command to a connection and returns its answer.
type Commander func(ctx context.Context, c events.ConnectionID, v events.Verb, r events.Request) (events.Answer, error)

// verbs are the commands that a page may give.
var verbs = []events.Verb{events.VerbReconnect, events.VerbConnect, events.VerbDisconnect}

const (
	// maxCommand is how many bytes a command may have.
	maxCommand = 4 << 10
	// commandWait is how long a page waits for what becomes of a command.
	commandWait = 30 * time.Second
	// commandSlack is how much longer its answer may take.
	commandSlack = 5 * time.Second
)

// command is what a page sends.
type command struct {
	Connection events.ConnectionID `json:"connection"`
	ID         string              `json:"id"`
	Reason     string              `json:"reason"`
}

// outcome is what a page is answered.
type outcome struct {
	OK      bool   `json:"ok"`
	Status  string `json:"status,omitempty"`
	ID      string `json:"id,omitempty"`
	Message string `json:"message"` // in words
}

// give gives a command that the page sent.
func (p *Page) give(w http.ResponseWriter, r *http.Request) {
	verb := events.Verb(r.PathValue("verb"))
	if p.Command == nil {
		refuse(w, http.StatusForbidden, errors.New("commands are not taken over HTTP here: start it with --http-commands, or use `ibconn reconnect`"))
		return
	}
	if err := sameOrigin(r); err != nil {
		refuse(w, http.StatusForbidden, err)
		return
	}
	if !slices.Contains(verbs, verb) {
		refuse(w, http.StatusNotFound, fmt.Errorf("command %.40q: want one of reconnect, connect, disconnect", string(verb)))
		return
	}
	c, code, err := readCommand(w, r)
	if err != nil {
		refuse(w, code, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), commandWait+commandSlack)
	defer cancel()
	reason := strings.TrimSpace("by the dashboard, over HTTP: " + c.Reason)
	a, err := p.Command(ctx, c.Connection, verb, events.Request{ID: c.ID, Reason: strings.TrimSuffix(reason, ":"), Wait: events.Wait(commandWait)})
	switch {
	case err != nil:
		answer(w, http.StatusBadGateway, outcome{Message: fmt.Sprintf("it is not known whether %s was taken: %v", verb, err)})
	case a.Error != nil:
		answer(w, http.StatusConflict, outcome{Status: string(a.Status), ID: a.CommandID, Message: a.Error.Message})
	default:
		answer(w, http.StatusOK, outcome{OK: true, Status: string(a.Status), ID: a.CommandID, Message: outcomeWords(verb, a.Status)})
	}
}

func outcomeWords(v events.Verb, s events.AnswerStatus) string {
	if s == events.StatusCompleted {
		return fmt.Sprintf("%s is completed", v)
	}
	return fmt.Sprintf("%s was taken, and is under way", v)
}

// sameOrigin refuses what another site's page, or none at all, sent. A browser says
// where a POST comes from; whoever is no browser has the bus.
func sameOrigin(r *http.Request) error {
	wrong := errors.New("commands are taken from this page alone: from a program use the bus, or `ibconn reconnect`")
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host == "" || origin.Host != r.Host {
		return wrong
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return wrong
	}
	return nil
}

func readCommand(w http.ResponseWriter, r *http.Request) (command, int, error) {
	// A form of another site cannot send this type without asking first.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return command{}, http.StatusUnsupportedMediaType, errors.New("want Content-Type application/json")
	}
	var c command
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCommand))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, http.StatusBadRequest, fmt.Errorf("the command is not readable: %w", err)
	}
	if _, err := events.ParseConnectionID(string(c.Connection)); err != nil {
		return c, http.StatusBadRequest, fmt.Errorf("connection %.40q: want the name of one", string(c.Connection))
	}
	if c.ID == "" || len(c.ID) > events.MaxIDLength {
		return c, http.StatusBadRequest, fmt.Errorf("id: want 1 to %d characters, so that it is not done twice", events.MaxIDLength)
	}
	if len([]rune(c.Reason)) > events.MaxReasonLength-50 {
		return c, http.StatusBadRequest, fmt.Errorf("reason: want at most %d characters", events.MaxReasonLength-50)
	}
	return c, 0, nil
}
