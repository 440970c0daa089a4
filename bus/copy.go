package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"ibconn/events"
)

// Copy is a copy of the log that a stopped run left in its store directory.
type Copy struct {
	*Log
	server *Server
	nc     *nats.Conn
	temp   string
}

// CopyOptions says how a log is copied.
type CopyOptions struct {
	Temp string         // the directory that the copy is made in; "" is the system's for such
	Log  zerolog.Logger // for the server's own words
	// Copied, where it is set, is told how far it is, in bytes.
	Copied func(done, total int64)
}

// ErrNoLog says that a directory has no log in it.
var ErrNoLog = errors.New("there is no log in it")

// OpenCopy opens a copy of the log in a store directory. The directory itself is not
// changed: a server that opens a store writes to it. It is locked while it is copied,
// so the error is an *[InUseError] while a run has it, and [ErrNoLog] where it has
// none. What is damaged in it is damaged in the copy, and read as far as the server
// reads it. Heartbeats that have expired meanwhile are not in it.
func OpenCopy(ctx context.Context, dir string, o CopyOptions) (*Copy, error) {
	c, err := openCopy(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("bus: copy the log of %s: %w", dir, err)
	}
	return c, nil
}

// streamDir is where a server keeps the stream of the log below its store directory.
var streamDir = filepath.Join("jetstream", "$G", "streams", events.Stream)

func openCopy(ctx context.Context, dir string, o CopyOptions) (*Copy, error) {
	from := filepath.Join(dir, streamDir)
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoLog
	} else if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(o.Temp, "ibconn-copy-")
	if err != nil {
		return nil, err
	}
	c := &Copy{temp: temp}
	if err := c.open(ctx, dir, from, o); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Copy) open(ctx context.Context, dir, from string, o CopyOptions) error {
	if err := copyLocked(ctx, dir, from, c.temp, o.Copied); err != nil {
		return err
	}
	var err error
	if c.server, err = open(ServerOptions{StoreDir: c.temp, Instance: "copy", Log: o.Log}); err != nil {
		return err
	}
	if c.nc, err = c.server.Connect("ibconn copy"); err != nil {
		return err
	}
	c.Log, err = FindLog(ctx, c.nc)
	return err
}

// Close removes the copy.
func (c *Copy) Close() error {
	if c.nc != nil {
		c.nc.Close()
	}
	var err error
	if c.server != nil {
		err = c.server.Close()
	}
	return errors.Join(err, os.RemoveAll(c.temp))
}

func copyLocked(ctx context.Context, dir, from, temp string, copied func(done, total int64)) (err error) {
	path := filepath.Join(dir, "lock")
	lock, err := lockToRead(path)
	switch {
	case errors.Is(err, errLocked):
		return holder(dir, path)
	case errors.Is(err, fs.ErrNotExist): // nobody ever had it
	case err != nil:
		return err
	}
	if lock != nil {
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	total, err := sizeOf(from)
	if err != nil {
		return err
	}
	if free, known, err := FreeBytes(temp); err == nil && known && free < total+minFree {
		return fmt.Errorf("it takes %d MiB, and %d MiB are free where copies are made: make room there, or set TMPDIR", (total+minFree)>>20, free>>20)
	}
	p, to := progress{total: total, tell: copied}, filepath.Join(temp, streamDir)
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case d.Type().IsRegular():
			return p.copy(ctx, path, target)
		}
		return nil
	})
}

// progress is how far a copy is.
type progress struct {
	done, total int64
	tell        func(done, total int64)
}

func (p *progress) copy(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for {
		n, err := io.CopyN(out, in, 1<<20)
		p.done += n
		if p.tell != nil && n > 0 {
			p.tell(p.done, p.total)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}
