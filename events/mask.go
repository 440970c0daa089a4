package events

import "regexp"

var (
	// word parts a text where account ids end: "_" is no part of one.
	word = regexp.MustCompile(`[A-Za-z0-9]+`)
	// accountID is the form of IB's account ids: one to three capital letters
	// (U, F, I for live accounts; DU, DF, DI and longer for paper ones), five to
	// nine digits, and for an advisor's "all" form one more letter. What is
	// glued to its front ends in a small letter, as a terminal's colours do.
	accountID = regexp.MustCompile(`^((?:.*[a-z])?)([A-Z]{1,3})[0-9]{3,7}([0-9]{2}[A-Z]?)$`)
)

// MaskAccounts returns text with every account id in it reduced to its letters
// and its last two digits: "DU1234567" becomes "DU***67". Everything that
// leaves the process as an event, a log line or a report has been through it.
func MaskAccounts(text string) string {
	return word.ReplaceAllStringFunc(text, func(w string) string {
		return accountID.ReplaceAllString(w, "${1}${2}***${3}")
	})
}
