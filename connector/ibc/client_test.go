package ibc_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/connector/ibc"
	"ibconn/events"
)

var _ connector.Controller = (*ibc.Client)(nil)

// server is an IBC whose every connection is served by talk, which gets the
// first line that came.
type server struct {
	t        testing.TB
	listener net.Listener
	greet    string // written at once
	talk     func(c net.Conn, line string)
	wg       sync.WaitGroup

	mu    sync.Mutex
	lines []string // that came, of all connections
}

// listen starts an IBC. It ends with the test, and then nothing of it, nor of a
// client, may be left.
func listen(t testing.TB, greet string, talk func(net.Conn, string)) *server {
	t.Helper()
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listener: l, greet: greet, talk: talk}
	s.wg.Go(s.serve)
	t.Cleanup(func() {
		l.Close()
		s.wg.Wait()
	})
	return s
}

func (s *server) serve() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer c.Close()
			io.WriteString(c, s.greet)
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil {
				return
			}
			s.mu.Lock()
			s.lines = append(s.lines, line)
			s.mu.Unlock()
			s.talk(c, line)
		})
	}
}

func (s *server) client() *ibc.Client { return &ibc.Client{Address: s.listener.Addr().String()} }

// heard returns the lines that came.
func (s *server) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "")
}

// says answers whatever comes with text, and closes.
func says(text string) func(net.Conn, string) {
	return func(c net.Conn, _ string) { io.WriteString(c, text) }
}

// mute answers nothing until the client is gone.
func mute(c net.Conn, _ string) { io.Copy(io.Discard, c) }

// liveness is how long anything may take before a test gives up on it.
const liveness = 20 * time.Second

func noLeaks(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for deadline := time.Now().Add(liveness); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
				return
			}
		}
	})
}

func TestWhatIBCAnswers(t *testing.T) {
	for _, c := range []struct {
		name, greet, answer string
		said                string
		problem             ibc.Problem
	}{
		{"nothing but OK", "", "OK \n", "", ""},
		{"OK without the space", "", "OK\n", "", ""},
		{"a restart by the menu", "", "OK RESTART in progress\n", "RESTART in progress", ""},
		{"an old restart", "", "OK Restart in progress\n", "Restart in progress", ""},
		{"a restart at a time", "", "OK RESTART at 03:14 AM\n", "RESTART at 03:14 AM", ""},
		{"Windows' newline", "", "OK RESTART in progress\r\n", "RESTART in progress", ""},
		{"INFO before it", "INFO IBC Command Server\n", "INFO Restarting TWS\nOK RESTART in progress\n", "RESTART in progress", ""},
		{"INFO that says OK and ERROR", "", "INFO OK so far\nINFO no ERROR yet\nOK done\n", "done", ""},
		{"a prompt", "INFO IBC Command Server\nIBC> ", "OK RESTART in progress\nIBC> ", "RESTART in progress", ""},
		{"a prompt before INFO too", "IBC> ", "INFO Restarting TWS\r\nIBC> OK RESTART in progress\r\nIBC> ", "RESTART in progress", ""},
		{"a prompt that ends in a letter", "ibc", "OK RESTART in progress\n", "RESTART in progress", ""},
		{"a prompt that ends in another alphabet", "шлюз", "OK RESTART in progress\n", "RESTART in progress", ""},
		{"a prompt that says OK, before a refusal", "all OK > ", "ERROR Command invalid\n", "Command invalid", ibc.Refused},
		{"a prompt that says LOOK", "LOOK > ", "ERROR Command invalid\n", "Command invalid", ibc.Refused},
		{"a prompt that says TOKEN", "TOKEN> ", "ERROR Command invalid\n", "Command invalid", ibc.Refused},
		{"a refusal", "", "ERROR RESTART already in progress\n", "RESTART already in progress", ibc.Refused},
		{"a refusal that says OK", "", "ERROR the OK button is not there\n", "the OK button is not there", ibc.Refused},
		{"a refusal without a reason", "", "ERROR\n", "", ibc.Refused},
		{"lines of anything", "", "\n\x00\xff\x1b[31m\r\r\n OKAY \nOK. no\nOK at last\n", "at last", ""},
		{"a long line first", strings.Repeat("x", 40_000) + "\n", "OK done\n", "done", ""},
		{"long words", "", "OK " + strings.Repeat("ab ", 10_000) + "\n", strings.TrimSpace(strings.Repeat("ab ", 10_000)[:500]), ""},
		{"a terminal's colours", "", "OK \x1b[31mred\x07 \xffalert\tnow\n", "[31mred alert now", ""},
		{"accounts", "", "OK for DU1234567 and U7654321\n", "for DU***67 and U***21", ""},
		{"an account where a long line is cut", "", "OK " + strings.Repeat("\x00", 993) + "DU1234567 and more\n", "DU***67 and more", ""},
		{"accounts refused", "", "ERROR not for DU1234567\n", "not for DU***67", ibc.Refused},
		{"an answer and then the end", "", "OK RESTART in progress\nIBC> OK Goodbye\n", "RESTART in progress", ""},
		{"no answer, and closed", "", "", "", ibc.Closed},
		{"half an answer", "", "OK RESTART at 03:1", "", ibc.Closed},
		{"a prompt only, and closed", "IBC OK> ", "", "", ibc.Closed},
		{"INFO only, and closed", "INFO IBC Command Server\n", "", "", ibc.Closed},
		{"too much", "", strings.Repeat("x", 100_000), "", ibc.Garbled},
		{"too many lines", "", strings.Repeat("hello\n", 20_000) + "OK\n", "", ibc.Garbled},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t, c.greet, says(c.answer))
			said, err := s.client().Send(t.Context(), ibc.Restart)
			if c.problem == "" {
				if err != nil || said != c.said {
					t.Fatalf("Send() = %q, %v, want %q", said, err, c.said)
				}
				return
			}
			failed, ok := errors.AsType[*ibc.Error](err)
			if !ok || failed.Problem != c.problem || failed.Said != c.said || said != "" {
				t.Fatalf("Send() = %q, %v, want the problem %q with %q", said, err, c.problem, c.said)
			}
		})
	}
}

func TestEachVerbIsOneLineOnAConnectionOfItsOwn(t *testing.T) {
	s := listen(t, "", says("OK done\n"))
	for _, c := range []struct {
		verb events.Verb
		want string
	}{
		{events.VerbReconnectData, "RECONNECTDATA\n"},
		{events.VerbReconnectAccount, "RECONNECTDATA\nRECONNECTACCOUNT\n"},
		{events.VerbRestartGateway, "RECONNECTDATA\nRECONNECTACCOUNT\nRESTART\n"},
	} {
		if !c.verb.Control() {
			t.Errorf("%s is no control command", c.verb)
		}
		said, err := s.client().Control(t.Context(), c.verb)
		if err != nil || said != "done" || s.heard() != c.want {
			t.Errorf("Control(%s) = %q, %v, and IBC heard %q so far, want %q", c.verb, said, err, s.heard(), c.want)
		}
	}
	for _, v := range events.Verbs {
		if _, err := s.client().Control(t.Context(), v); v.Control() != (err == nil) {
			t.Errorf("Control(%s) = %v, want it taken: %t", v, err, v.Control())
		}
	}
}

func TestNothingElseIsEverSent(t *testing.T) {
	s := listen(t, "", says("OK\n"))
	for _, command := range []ibc.Command{"", "STOP", "EXIT", "ENABLEAPI", "PAUSE", "restart", "RESTART\nSTOP", " RESTART"} {
		if _, err := s.client().Send(t.Context(), command); err == nil || !strings.Contains(err.Error(), "not among the commands") {
			t.Errorf("Send(%q) = %v, want it kept", command, err)
		}
	}
	if _, err := s.client().Control(t.Context(), "stop"); err == nil {
		t.Error("Control(stop) went through")
	}
	if s.heard() != "" {
		t.Errorf("IBC heard %q, want nothing", s.heard())
	}
}

func TestAnIBCThatDoesNotAnswerIsGivenUp(t *testing.T) {
	for _, talk := range []struct {
		name string
		talk func(net.Conn, string)
	}{
		{"mute", mute},
		{"half an answer", func(c net.Conn, line string) { io.WriteString(c, "OK REST"); mute(c, line) }},
		{"a byte now and then", func(c net.Conn, _ string) {
			for {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}},
	} {
		t.Run(talk.name, func(t *testing.T) {
			s := listen(t, "", talk.talk)
			client := s.client()
			client.Timeout = 50 * time.Millisecond
			_, err := client.Send(t.Context(), ibc.ReconnectData)
			failed, ok := errors.AsType[*ibc.Error](err)
			if !ok || failed.Problem != ibc.NoAnswer || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Send() = %v, want no answer in time", err)
			}
			for _, part := range []string{"did not answer within 50ms", "RECONNECTDATA", "main window"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error is %q, want %q in it", err, part)
				}
			}
		})
	}
}

func TestTheEndOfTheContextEndsTheCall(t *testing.T) {
	heard := make(chan struct{})
	s := listen(t, "", func(c net.Conn, line string) { close(heard); mute(c, line) })
	client := s.client()
	client.Timeout = time.Hour
	why := errors.New("the process ends")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := client.Send(ctx, ibc.Restart)
		ended <- err
	}()
	<-heard
	cancel(why)
	select {
	case err := <-ended:
		failed, ok := errors.AsType[*ibc.Error](err)
		if !ok || failed.Problem != ibc.NoAnswer || !errors.Is(err, why) {
			t.Errorf("Send() = %v, want no answer because of %q", err, why)
		}
	case <-time.After(liveness):
		t.Fatal("Send goes on after its context ended")
	}
}

func TestAnIBCThatIsNotThereIsUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name, address string
		ctx           context.Context
	}{
		{"nobody listens", nobody, t.Context()},
		{"no such host", "no..such.host:7462", t.Context()},
		{"the context is over", nobody, over},
	} {
		_, err := (&ibc.Client{Address: c.address}).Send(c.ctx, ibc.Restart)
		failed, ok := errors.AsType[*ibc.Error](err)
		if !ok || failed.Problem != ibc.Unreachable || !strings.Contains(err.Error(), "CommandServerPort") || !strings.Contains(err.Error(), c.address) {
			t.Errorf("%s: Send() = %v, want it unreachable, and what to look at", c.name, err)
		}
	}
}

// IBC closes at once what comes from an address that ControlFrom does not list.
func TestAnIBCThatHangsUpSaysWhatToLookAt(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	_, err = (&ibc.Client{Address: l.Addr().String()}).Send(t.Context(), ibc.ReconnectAccount)
	failed, ok := errors.AsType[*ibc.Error](err)
	if !ok || failed.Problem != ibc.Closed || failed.Err == nil {
		t.Fatalf("Send() = %v, want it closed", err)
	}
	for _, part := range []string{l.Addr().String(), "ControlFrom", "CommandServerPort", "127.0.0.1 alone"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}

func TestTheCodeTellsWhetherItMayHaveBeenDone(t *testing.T) {
	for _, c := range []struct {
		talk func(net.Conn, string)
		want events.ErrorCode
	}{
		{says("ERROR RESTART already in progress\n"), events.ErrorGatewayRefused},
		{says(""), events.ErrorOutcomeUnknown},
		{says(strings.Repeat("x", 100_000)), events.ErrorOutcomeUnknown},
		{mute, events.ErrorOutcomeUnknown},
	} {
		client := listen(t, "", c.talk).client()
		client.Timeout = 100 * time.Millisecond
		_, err := client.Control(t.Context(), events.VerbRestartGateway)
		failed, ok := errors.AsType[*events.AnswerError](err)
		if !ok || failed.Code != c.want || !strings.Contains(failed.Message, client.Address) {
			t.Errorf("Control() = %#v, want %s and the address", err, c.want)
		}
	}
	_, err := (&ibc.Client{Address: "no..such.host:1"}).Control(t.Context(), events.VerbRestartGateway)
	if failed, ok := errors.AsType[*events.AnswerError](err); !ok || failed.Code != events.ErrorIBCUnreachable {
		t.Errorf("Control() of nobody = %#v, want ibc_unreachable", err)
	}
}

func TestAnAddressIsAHostAndAPort(t *testing.T) {
	for address, valid := range map[string]bool{
		"127.0.0.1:7462": true, "ibc.example:7462": true, "[::1]:7462": true,
		"": false, "7462": false, ":7462": false, "127.0.0.1": false, "127.0.0.1:": false, "127.0.0.1:0": false,
		"127.0.0.1:ibc": false, "127.0.0.1:70000": false, "http://127.0.0.1:7462": false,
	} {
		err := (&ibc.Client{Address: address}).Validate()
		if (err == nil) != valid {
			t.Errorf("Validate(%q) = %v, want valid %t", address, err, valid)
		}
		if err != nil && !strings.Contains(err.Error(), "want HOST:PORT, such as 127.0.0.1:7462") {
			t.Errorf("Validate(%q) = %q, want what is allowed", address, err)
		}
	}
}

func TestALookFindsWhetherIBCCouldBeAsked(t *testing.T) {
	moment := 100 * time.Millisecond
	there := listen(t, "INFO IBC Command Server\n> ", func(net.Conn, string) {})
	if err := there.client().Look(t.Context(), moment); err != nil {
		t.Errorf("Look at an IBC that greets = %v, want nothing wrong", err)
	}
	if got := there.heard(); got != "" {
		t.Errorf("it heard %q, want nothing asked", got)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			c.Close() // as IBC does with an address that is not in ControlFrom
		}
	}()
	client := &ibc.Client{Address: l.Addr().String()}
	err = client.Look(t.Context(), 10*time.Second)
	if failed, ok := errors.AsType[*ibc.Error](err); !ok || failed.Problem != ibc.Closed || !strings.Contains(err.Error(), "ControlFrom") {
		t.Errorf("Look at an IBC that hangs up = %v, want closed, and what to look at", err)
	}
	l.Close()
	<-done
	err = client.Look(t.Context(), moment)
	if failed, ok := errors.AsType[*ibc.Error](err); !ok || failed.Problem != ibc.Unreachable || !strings.Contains(err.Error(), "CommandServerPort") {
		t.Errorf("Look where nothing listens = %v, want unreachable, and what to look at", err)
	}
}
