package endtoend

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"ibconn/testenv/gateway"
)

// holder is another client, which has an id at a gateway.
type holder struct {
	conn *net.TCPConn
	id   int
}

func (w *world) holderAt(g *gateway.Gateway) (holder, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h, ok := w.holders[g]
	return h, ok && slices.Contains(g.Stats().Clients, h.id)
}

// hold makes another client take an id at a gateway, unless one has it.
func (w *world) hold(ctx context.Context, g *gateway.Gateway, id int) error {
	old, ok := w.holderAt(g)
	switch {
	case ok:
		return nil
	case old.conn != nil:
		old.conn.Close() // it was cut off
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", g.Addr())
	if err != nil {
		return err
	}
	w.do(func() {
		w.holders[g] = holder{conn.(*net.TCPConn), id}
		w.dialled[g]++
	})
	_ = conn.SetDeadline(time.Now().Add(patience))
	frame := func(payload string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
	}
	if _, err := conn.Write(append([]byte("API\x00"), frame("v100..176")...)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	size := make([]byte, 4)
	if _, err := io.ReadFull(r, size); err != nil {
		return err
	}
	if _, err := r.Discard(int(binary.BigEndian.Uint32(size))); err != nil {
		return err
	}
	if _, err := conn.Write(frame(fmt.Sprintf("71\x002\x00%d\x00\x00", id))); err != nil {
		return err
	}
	for !slices.Contains(g.Stats().Clients, id) {
		if !pause(ctx) {
			return ctx.Err()
		}
	}
	return nil
}

// letGo makes that client leave a gateway.
func (w *world) letGo(g *gateway.Gateway) {
	w.Helper()
	h, ok := w.holders[g]
	if !ok {
		return
	}
	w.do(func() { delete(w.holders, g) })
	h.conn.CloseWrite() // a close with bytes unread would be a reset, and the id stay taken for a while
	w.until("the end of the client that held an id", func() bool { return !slices.Contains(g.Stats().Clients, h.id) })
	h.conn.Close()
}
