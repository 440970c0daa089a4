package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"

	"ibconn/bus"
)

// natsFlags say which NATS server is meant, and who we are there: the same for every
// verb, and by the names that the nats tools use. Secrets are in files and in the
// environment alone.
type natsFlags struct {
	NATS        string `name:"nats" help:"URL of the bus, or those of a cluster, parted by commas. For run: of a hub, which its log is relayed to; without one its bus is its own." placeholder:"nats://127.0.0.1:4222" env:"IBCONN_NATS,NATS_URL"`
	NATSContext string `name:"nats-context" help:"A context of the nats tools that says where it is and who we are." placeholder:"NAME" env:"IBCONN_NATS_CONTEXT,NATS_CONTEXT"`
	NATSCreds   string `name:"nats-creds" help:"File of credentials (JWT and seed)." placeholder:"FILE" type:"path" env:"IBCONN_NATS_CREDS,NATS_CREDS"`
	NATSNKey    string `name:"nats-nkey" help:"File of an nkey's seed." placeholder:"FILE" type:"path" env:"IBCONN_NATS_NKEY,NATS_NKEY"`
	NATSCA      string `name:"nats-ca" help:"File of the certificates to trust." placeholder:"FILE" type:"path" env:"IBCONN_NATS_CA,NATS_CA"`
	NATSCert    string `name:"nats-cert" help:"File of our certificate; takes --nats-key." placeholder:"FILE" type:"path" env:"IBCONN_NATS_CERT,NATS_CERT"`
	NATSKey     string `name:"nats-key" help:"File of our certificate's key; takes --nats-cert." placeholder:"FILE" type:"path" env:"IBCONN_NATS_KEY,NATS_KEY"`
}

// login is where a NATS server is, and who we are there. Its JSON form is that of a
// context of the nats tools.
type login struct {
	URL      string `json:"url"`
	User     string `json:"user"`
	Password string `json:"password"`
	Token    string `json:"token"`
	Creds    string `json:"creds"`
	NKey     string `json:"nkey"`
	JWT      string `json:"user_jwt"`
	Seed     string `json:"user_seed"`
	CA       string `json:"ca"`
	Cert     string `json:"cert"`
	Key      string `json:"key"`
	TLSFirst bool   `json:"tls_first"`
	Inbox    string `json:"inbox_prefix"`

	// What would have to be obeyed, and is not.
	NSC    string `json:"nsc"`
	Domain string `json:"jetstream_domain"`
	Prefix string `json:"jetstream_api_prefix"`
	Proxy  string `json:"socks_proxy"`
}

// given says whether a server was named at all.
func (f natsFlags) given() bool { return f.NATS != "" || f.NATSContext != "" }

// target returns where the server is, and the options that say who we are. The
// embedded server of this machine is meant where none is named.
func (f natsFlags) target() (string, []nats.Option, error) {
	l, err := f.login()
	if err != nil {
		return "", nil, usageError{err}
	}
	options, err := l.options()
	if err != nil {
		return "", nil, usageError{err}
	}
	return cmp.Or(l.URL, nats.DefaultURL), options, nil
}

// dial connects to the server; name shows in its monitoring.
func (f natsFlags) dial(name string, more ...nats.Option) (*nats.Conn, error) {
	url, options, err := f.target()
	if err != nil {
		return nil, err
	}
	return bus.Dial(url, append(append(options, nats.Name(name)), more...)...)
}

// login puts together what the flags, the environment and a context say: what is
// given by itself wins over the context.
func (f natsFlags) login() (login, error) {
	var l login
	if f.NATSContext != "" {
		var err error
		if l, err = readContext(f.NATSContext); err != nil {
			return l, err
		}
	}
	l.URL = cmp.Or(f.NATS, l.URL)
	if f.NATSCreds != "" || f.NATSNKey != "" {
		l.Creds, l.NKey, l.JWT, l.Seed = f.NATSCreds, f.NATSNKey, "", ""
	}
	if user := os.Getenv("NATS_USER"); user != "" {
		l.User, l.Password = user, os.Getenv("NATS_PASSWORD")
	}
	l.Token = cmp.Or(os.Getenv("NATS_TOKEN"), l.Token)
	l.CA = cmp.Or(f.NATSCA, l.CA)
	if f.NATSCert != "" || f.NATSKey != "" {
		l.Cert, l.Key = f.NATSCert, f.NATSKey
	}
	if l.Creds != "" && l.NKey != "" {
		return l, errors.New("credentials and an nkey are given both: want one of --nats-creds and --nats-nkey")
	}
	if (l.Cert == "") != (l.Key == "") {
		return l, errors.New("a certificate needs its key: want both --nats-cert and --nats-key, or neither")
	}
	return l, nil
}

// maxContext is how many bytes a context may have.
const maxContext = 1 << 20

// contextDir is where the nats tools keep contexts.
func contextDir() (string, error) {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "nats", "context"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".config", "nats", "context"), err
}

// readContext reads a context of the nats tools.
func readContext(name string) (login, error) {
	var l login
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return l, fmt.Errorf("NATS context %q: want the name of one, as nats context ls lists them", name)
	}
	dir, err := contextDir()
	if err != nil {
		return l, fmt.Errorf("NATS context %q: %w", name, err)
	}
	path := filepath.Join(dir, name+".json")
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxContext {
		return l, fmt.Errorf("NATS context %q: %s has more than %d bytes", name, path, maxContext)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, fmt.Errorf("there is no NATS context %q: %s does not exist; nats context ls lists what there is", name, path)
	}
	if err != nil {
		return l, fmt.Errorf("NATS context %q: %w", name, err)
	}
	return parseContext(name, b)
}

func parseContext(name string, b []byte) (login, error) {
	var l login
	if err := json.Unmarshal(b, &l); err != nil {
		// The error may quote what is in there.
		return login{}, fmt.Errorf("NATS context %q is not one: it is no JSON object of texts", name)
	}
	for what, value := range map[string]string{"nsc": l.NSC, "jetstream_domain": l.Domain, "jetstream_api_prefix": l.Prefix, "socks_proxy": l.Proxy} {
		if value != "" {
			return login{}, fmt.Errorf("NATS context %q has %s, which ibconn does not know", name, what)
		}
	}
	for what, value := range map[string]*string{"creds": &l.Creds, "nkey": &l.NKey, "ca": &l.CA, "cert": &l.Cert, "key": &l.Key} {
		if strings.Contains(*value, "://") {
			return login{}, fmt.Errorf("NATS context %q has a %s that is no file, which ibconn does not know", name, what)
		}
		if rest, ok := strings.CutPrefix(*value, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				return login{}, fmt.Errorf("NATS context %q: %w", name, err)
			}
			*value = filepath.Join(home, rest)
		}
	}
	return l, nil
}

// options returns the options of a connection. Files are looked at now, since one
// that is not there would else be told as a server that does not answer.
func (l login) options() ([]nats.Option, error) {
	for _, path := range []string{l.Creds, l.NKey, l.CA, l.Cert, l.Key} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("for the NATS server: %w", err)
		}
		f.Close()
	}
	var all []nats.Option
	switch {
	case l.Creds != "":
		all = append(all, nats.UserCredentials(l.Creds))
	case l.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(l.NKey)
		if err != nil {
			return nil, fmt.Errorf("for the NATS server: nkey file %s: %w", l.NKey, err)
		}
		all = append(all, nkey)
	case l.JWT != "" && l.Seed != "":
		all = append(all, nats.UserJWTAndSeed(l.JWT, l.Seed))
	}
	if l.User != "" {
		all = append(all, nats.UserInfo(l.User, l.Password))
	}
	if l.Token != "" {
		all = append(all, nats.Token(l.Token))
	}
	if l.CA != "" {
		all = append(all, nats.RootCAs(l.CA))
	}
	if l.Cert != "" {
		all = append(all, nats.ClientCert(l.Cert, l.Key))
	}
	if l.TLSFirst {
		all = append(all, nats.TLSHandshakeFirst())
	}
	if l.Inbox != "" {
		all = append(all, nats.CustomInboxPrefix(l.Inbox))
	}
	return all, nil
}
