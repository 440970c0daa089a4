package alerts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer is how many bytes of an answer are read, and maxAnswerShown how many
// characters of it shown.
const (
	maxAnswer      = 4 << 10
	maxAnswerShown = 120
)

// HeaderIdempotencyKey is the header in which the id of an alert is sent.
const HeaderIdempotencyKey = "Idempotency-Key"

// RefusedError says that a receiver will not take an alert, now or later.
type RefusedError struct{ Answer string }

// Error says what it answered.
func (e *RefusedError) Error() string { return "it refuses: " + e.Answer }

// retryError says that a receiver may take it later.
type retryError struct {
	err   error
	after time.Duration // at least; 0 where it did not say
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// NewClient returns a client that follows no redirect: an alert is for the host
// that is configured, and a POST that is redirected mostly becomes a GET.
func NewClient(through http.RoundTripper) *http.Client {
	return &http.Client{Transport: through, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Send posts an alert to a receiver once and returns what it answered. A
// [*RefusedError] says that it is of no use to try again.
func Send(ctx context.Context, c *http.Client, to Receiver, a *Alert, now func() time.Time) (string, error) {
	body, err := a.body(to.Format)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, to.Timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL.url.String(), bytes.NewReader(body))
	if err != nil {
		return "", errors.New("its URL cannot be used")
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", "ibconn")
	q.Header.Set(HeaderIdempotencyKey, a.ID)
	resp, err := c.Do(q)
	if err != nil {
		return "", &retryError{err: withoutURL(to.URL, err)}
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status has come
	answer := to.URL.strike(clip(strings.TrimSpace(strings.ReplaceAll(string(b), "\n", " ")), maxAnswer))
	answer = strings.TrimSpace(resp.Status + " " + clip(answer, maxAnswerShown))
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return answer, nil
	case code/100 == 3:
		return "", &RefusedError{resp.Status + ", a redirect, which is not followed; correct the URL"}
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code/100 == 5:
		return "", &retryError{errors.New(answer), retryAfter(resp.Header.Get("Retry-After"), now())}
	}
	return "", &RefusedError{answer}
}

// withoutURL takes the URL out of what the client says.
func withoutURL(s Secret, err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return fmt.Errorf("%s: %s", s, s.strike(err.Error()))
}

// retryAfter reads how long to wait, in seconds or until a date; 0 when it says
// nothing that can be read.
func retryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(header, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxHold)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxHold)
	}
	return 0
}
