package alerts

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// Secret is the URL of a webhook: who knows it may post there. It prints as its
// host.
type Secret struct{ url *url.URL }

// NewSecret reads a URL. It says whether that is one of http or https.
func NewSecret(text string) (Secret, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return Secret{}, false
	}
	return Secret{u}, true
}

// String returns the host.
func (s Secret) String() string {
	if s.url == nil {
		return ""
	}
	return s.url.Host
}

// GoString returns the host, too.
func (s Secret) GoString() string { return s.String() }

// leastSecret is how long a part of a URL must be to be taken for secret.
const leastSecret = 4

// strike takes out of a text what is secret of s, as far as it stands there.
func (s Secret) strike(text string) string {
	parts := append(strings.Split(s.url.Path, "/"), strings.Split(s.url.EscapedPath(), "/")...)
	parts = append(parts, s.url.RawQuery, s.url.User.Username())
	password, _ := s.url.User.Password()
	parts = append(parts, password)
	for _, values := range s.url.Query() {
		parts = append(parts, values...)
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, p := range parts {
		if len(p) >= leastSecret {
			text = strings.ReplaceAll(text, p, "...")
		}
	}
	return text
}
