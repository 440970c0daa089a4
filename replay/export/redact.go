package export

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"ibconn/bus"
	"ibconn/events"
)

// Redactor hides in events what tells who somebody is, where their gateways are and what
// they trade. Names that it hides become pseudonyms, the same for the same name within
// one key. It is for one goroutine.
type Redactor struct {
	key   []byte
	chain chain
}

// NewRedactor returns a redactor. Who knows the key can find out whether a pseudonym
// stands for a name, so it is random, and forgotten.
func NewRedactor(key [32]byte) *Redactor { return &Redactor{key: key[:], chain: make(chain)} }

// hidden stands for a text of which nothing is shown.
const hidden = "redacted"

// rule says what becomes of a text.
type rule int

const (
	hide  rule = iota // becomes hidden
	show              // stays, with account ids masked
	host              // a host, or host and port: pseudonym, but for this machine and ports
	id                // pseudonym
	named             // pseudonym
)

// rules say what becomes of the fields of events that are text, by their names. What is
// not here is hidden: the gateway's words may say what somebody trades, those of
// the system where a gateway is, and those of who sent a command anything.
var rules = map[string]rule{
	"accounts": show, "bar_size": show, "currency": show, "dir": show, "duration": show, "exchange": show,
	"generic_ticks": show, "last_trade_date_or_contract_month": show, "liquid": show, "market_data_type": show,
	"meaning": show, "multiplier": show, "primary_exch": show, "right": show, "sec_id_type": show, "sec_type": show,
	"trading": show, "version": show, "what": show, "zone": show,
	"name": show, // of a farm, of a message of the protocol

	"endpoint": host, "instance": host, "remote": host,

	"command_id": id,

	"caller": named, "subscription": named, "window": named,
	"local_symbol": named, "sec_id": named, "strike": named, "symbol": named, "trading_class": named,
}

// Redact returns s without what is to be hidden. Its place and time stay, the names of
// connections too; what is no event is hidden as a whole.
func (r *Redactor) Redact(s bus.Stored) (bus.Stored, error) {
	if _, _, err := events.ParseLogSubject(s.Subject); err != nil {
		s.Subject = "ib.log." + hidden
	}
	was, err := events.Decode(s.Payload)
	if err != nil {
		s.Payload = []byte(hidden)
		return s, nil
	}
	is := was
	is.ID, is.Causation = r.pseudonym(id, was.ID), r.pseudonym(id, was.Causation)
	if !attempt(was.Correlation) {
		is.Correlation = r.pseudonym(id, was.Correlation)
	}
	is.Source, is.Traceparent = "/ibconn/"+r.pseudonym(host, strings.TrimPrefix(was.Source, "/ibconn/")), ""
	if u, unknown := is.Event.(*events.Unknown); unknown {
		is.Event = &events.Unknown{Name: u.Name}
	} else {
		r.hideIn(reflect.ValueOf(is.Event), "")
	}
	if is, err = r.chain.encode(was, is, r.hash); err != nil {
		return bus.Stored{}, err
	}
	s.Payload = is.Wire
	return s, nil
}

// attempt says whether a correlation is the number of an attempt.
func attempt(correlation string) bool {
	number, ok := strings.CutPrefix(correlation, "attempt-")
	return ok && strings.Trim(number, "0123456789") == ""
}

var text = reflect.TypeFor[string]()

// hideIn hides what is to be hidden in a field of a name.
func (r *Redactor) hideIn(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			r.hideIn(v.Elem(), name)
		}
	case reflect.Slice:
		for i := range v.Len() {
			r.hideIn(v.Index(i), name)
		}
	case reflect.Struct:
		if reason, is := reflect.TypeAssert[*events.Reason](v.Addr()); is && reason.Level == events.LevelSubscription {
			reason.Name = r.pseudonym(named, reason.Name)
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				r.hideIn(v.Field(i), key)
			}
		}
	case reflect.String:
		if v.Type() == text { // the other types are words of ours, or of IB's
			v.SetString(r.pseudonym(rules[name], v.String()))
		}
	case reflect.Int64:
		if name == "con_id" && v.Int() != 0 {
			sum := r.sum("con_id", strconv.FormatInt(v.Int(), 10))
			v.SetInt(int64(binary.BigEndian.Uint32(sum)>>1) + 1)
		}
	}
}

// pseudonym returns what stands for a text by a rule.
func (r *Redactor) pseudonym(by rule, s string) string {
	if s == "" {
		return ""
	}
	switch by {
	case show:
		return events.MaskAccounts(s)
	case host:
		name, port, err := net.SplitHostPort(s)
		if err != nil {
			name, port = s, ""
		}
		if !here(name) {
			name = "host-" + r.short("host", name)
		}
		if err != nil {
			return name
		}
		return net.JoinHostPort(name, port)
	case id:
		return "id-" + r.short("id", s)
	case named:
		return "name-" + r.short("name", s)
	case hide:
	}
	return hidden
}

// here says whether a host is the machine itself.
func here(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (r *Redactor) sum(what, s string) []byte {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(what + "\x00" + s))
	return mac.Sum(nil)
}

func (r *Redactor) short(what, s string) string { return hex.EncodeToString(r.sum(what, s)[:5]) }

// hash stands for the hash of an event that is not there, which could be guessed by.
func (r *Redactor) hash(was string) string { return hex.EncodeToString(r.sum("hash", was)) }
