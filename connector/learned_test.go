package connector

import (
	"testing"

	"ibconn/events"
)

// What was asked for a subscription that is cancelled says nothing of one that has
// its name now.
func TestHoursOfASubscriptionThatIsGoneAreNobodyElses(t *testing.T) {
	was := &events.Subscription{Name: "b", AddedSeq: 7}
	l := &loop{Runner: &Runner{Connection: "main"}}
	l.state.Subscriptions = []*events.Subscription{{Name: "b", AddedSeq: 9}}
	l.feeds.learning.busy = true
	// Without a log, taking them would be fatal.
	if err := l.learned(learned{sub: was, ok: true, hours: events.TradingTimes{Zone: "US/Eastern"}}); err != nil {
		t.Error(err)
	}
	if l.feeds.learning.busy || len(l.feeds.learning.after) != 0 {
		t.Errorf("learning is %+v, want it free, and nothing noted of the new one", l.feeds.learning)
	}
}
