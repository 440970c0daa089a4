// Package export is the log in a file: JSON Lines, one CloudEvent a line, which can be
// kept, sent, searched with jq and replayed without a bus.
//
// The one idea: the file is the log. An event's line is its stored bytes, with where it
// lay in the log put before their last brace; who cuts that off again has the bytes
// that the hash chain was made of.
//
//	in, err := export.Open("night.jsonl.zst") // "-" is standard input
//	if err != nil { ... }
//	defer in.Close()
//	for step, err := range replay.Steps(ctx, in, bus.Query{}) { ... }
//
//	out, err := export.Create("night.jsonl.zst", export.Header{Source: "the bus"}, false)
//	if err != nil { ... }
//	defer out.Close() // leaves nothing unless it was committed
//	for s, err := range log.Stored(ctx, bus.Query{}) {
//		if err == nil { err = out.Write(s) }
//		...
//	}
//	err = out.Commit()
//
// # The format
//
// The first line is the [Header], the last the [Trailer]. Each line between them is a
// CloudEvent in JSON, with three extension attributes, which come last, in this order
// and without white space:
//
//	"logsubject":"ib.log.main.state","logsequence":"1042","logtime":"2026-11-23T09:15:00.123Z"
//
// The subject it was stored under (percent-encoded, should it have characters other than
// letters, digits, '.', '-', '_' and '*'), its sequence in the stream, which grows from line to
// line, and when the server stored it. What lies in the log and is no event, or not on
// one line, is a CloudEvent of the type ib.export.raw with its bytes in data_base64. The
// trailer has how many lines there are between, and the SHA-256 of all bytes before it.
// A file that begins with zstd's magic number is uncompressed on the way; its name does
// not count.
//
// Guarantees:
//   - What [File.Stored] yields is what [Writer.Write] was given, byte for byte, for all
//     that a stream can hold.
//   - A file that is cut off is an error, wherever that was, and so is one in which
//     anything was changed; both are known for certain only at its end.
//   - Files of format 1 are read for ever: testdata/v1-* never change.
//   - Whatever the bytes, reading them takes a few MiB and never panics; an error says
//     in which line ([Error]).
//   - A file has its name only once all of it is on the disk.
//
// # Non-obvious
//
//   - Wrapping each event in an object with its place beside it would be easier to
//     write, and no CloudEvent; an attribute put anywhere but at the end would leave the
//     stored bytes to be guessed.
//   - Whether a line is an event that this program can decode is not asked while
//     reading: a newer program may have written it. It is a step with an error then,
//     like in the log.
//   - Of a stored message's headers none is kept: all follow from the event.
//   - [Redactor] is an allow-list. A field that it does not know is hidden, so a new one
//     is hidden until somebody says that it may be shown.
package export
