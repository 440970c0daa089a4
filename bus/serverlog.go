package bus

import (
	"fmt"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

// serverLog writes nats-server's log through zerolog. It also keeps the first
// fatal report, because nats-server, embedded, neither returns nor exits on it.
type serverLog struct {
	log zerolog.Logger

	mu    sync.Mutex
	first error
}

// Noticef is nats-server's everyday talk ("Server is ready"), which is of no
// interest to the user of a program that contains it.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug().Msgf(format, v...) }

// plaintext is what nats-server says of every user without a bcrypt hash, and so
// of the outsider, who has no password at all.
const plaintext = "Plaintext passwords detected"

// Warnf leaves out what its reader can do nothing about.
func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, plaintext) {
		l.Noticef(format, v...)
		return
	}
	l.log.Warn().Msgf(format, v...)
}

func (l *serverLog) Errorf(format string, v ...any) { l.log.Error().Msgf(format, v...) }
func (l *serverLog) Debugf(format string, v ...any) { l.log.Trace().Msgf(format, v...) }
func (l *serverLog) Tracef(format string, v ...any) { l.log.Trace().Msgf(format, v...) }

func (l *serverLog) Fatalf(format string, v ...any) {
	l.log.Error().Msgf(format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = fatalError{fmt.Sprintf(format, v...), v}
	}
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// fatalError is a fatal report whose causes stay visible to errors.Is.
type fatalError struct {
	text string
	args []any
}

func (e fatalError) Error() string { return e.text }

func (e fatalError) Unwrap() (causes []error) {
	for _, a := range e.args {
		if err, ok := a.(error); ok {
			causes = append(causes, err)
		}
	}
	return causes
}
