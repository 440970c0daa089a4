package events

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func known(t testing.TB) KnownContract {
	t.Helper()
	description, err := ParseContract("AAPL")
	if err != nil {
		t.Fatal(err)
	}
	return KnownContract{
		Description: description,
		Details:     ContractDetails{Contract: Contract{ConID: 265598, Symbol: "AAPL"}, TradingHours: "20261123:0400-20261123:2000"},
		At:          wireTime,
	}
}

func TestAKnownContractIsReadAsItWasStored(t *testing.T) {
	want := known(t)
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeKnownContract(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("DecodeKnownContract(%s) = %+v, %v, want %+v", b, got, err, want)
	}
	for old, wrong := range map[string]string{
		`{`:                        `[`,
		`"con_id":265598`:          `"con_id":0`,
		`"2026-11-23T09:15:00.123`: `"0001-01-01T00:00:00.123`,
		`"symbol":"AAPL","sec`:     `"symbol":"","sec`,
	} {
		text := strings.Replace(string(b), old, wrong, 1)
		if got, err := DecodeKnownContract([]byte(text)); text != string(b) && err == nil && wrong != `"0001-01-01T00:00:00.123` {
			t.Errorf("DecodeKnownContract(%s) = %+v, want an error", text, got)
		}
	}
}

func FuzzKnownContract(f *testing.F) {
	b, err := json.Marshal(known(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"description":{"con_id":1},"details":{"con_id":-1},"at":"2026-11-23T09:15:00Z"}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		k, err := DecodeKnownContract(stored)
		if err != nil {
			return
		}
		if k.Description.Check() != nil || k.Details.ConID <= 0 || k.At.IsZero() {
			t.Errorf("DecodeKnownContract(%q) = %+v, which is none", stored, k)
		}
	})
}
