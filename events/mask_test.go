package events

import "testing"

func TestMaskAccountsLeavesLettersAndTwoDigits(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", ""},
		{"U1234567", "U***67"},
		{"DU1234567", "DU***67"},
		{"DU1234567,DU7654321", "DU***67,DU***21"},
		{"account F7654321 of I12345.", "account F***21 of I***45."},
		{"[DF123456789]", "[DF***89]"},
		{"a\x00U1234567\x00b", "a\x00U***67\x00b"},
		{"15|1|DU1234567,|", "15|1|DU***67,|"},
		{"\u8d26\u6237U1234567\u3002", "\u8d26\u6237U***67\u3002"},
		{"account:U1234567/DU1234567", "account:U***67/DU***67"},
		{"\x1b[31mDU1234567 acctU1234567", "\x1b[31mDU***67 acctU***67"},
		{"F1234567A and acct_U1234567_x", "F***67A and acct_U***67_x"},
	}
	for _, tt := range tests {
		if got := MaskAccounts(tt.text); got != tt.want {
			t.Errorf("MaskAccounts(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestMaskAccountsLeavesOtherWordsAlone(t *testing.T) {
	for _, text := range []string{
		"usfarm.nj", "HMDS", "AAPL@SMART", "ESZ6", "ESZ2026", "US0378331005", "U1234", "DU***67",
		"client 17 on port 4002", "20261123-12:00:00", "1234567", "AAPL  261218C00150000",
	} {
		if got := MaskAccounts(text); got != text {
			t.Errorf("MaskAccounts(%q) = %q, want it unchanged", text, got)
		}
	}
}

func FuzzMaskAccounts(f *testing.F) {
	f.Add("DU1234567,U7654321")
	f.Add("U1234567U1234567")
	f.Add("\xffDU12345\x00")
	f.Fuzz(func(t *testing.T, text string) {
		masked := MaskAccounts(text)
		for _, w := range word.FindAllString(masked, -1) {
			if accountID.MatchString(w) {
				t.Errorf("MaskAccounts(%q) = %q, which still holds %q", text, masked, w)
			}
		}
		if again := MaskAccounts(masked); again != masked {
			t.Errorf("MaskAccounts(%q) = %q, and masked again %q", text, masked, again)
		}
	})
}
