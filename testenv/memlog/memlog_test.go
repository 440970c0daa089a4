package memlog_test

import (
	"testing"

	"ibconn/testenv/logtest"
	"ibconn/testenv/memlog"
)

func TestTheLogInMemoryKeepsTheContract(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Store {
		store := memlog.New()
		return func() logtest.Writer { return store.Writer() }
	})
}
