package client

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// maxWindow bounds what a decompressor holds, in bytes.
const maxWindow = 8 << 20

// decompress decodes the body as its header says.
func (r *response) decompress() error {
	switch coding := r.Header.Get("Content-Encoding"); coding {
	case "", "identity":
		return nil
	case "zstd":
		d, err := zstd.NewReader(r.body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
		r.closers = append(r.closers, d.Close)
		r.body = d
		return nil
	case "gzip":
		d, err := gzip.NewReader(r.body)
		if err != nil {
			return fmt.Errorf("%w: decompress: %w", ErrCut, err)
		}
		r.body = d
		return nil
	default:
		return fmt.Errorf("%w: it answers in the encoding %.40q", ErrForeign, coding)
	}
}

// decoder reads the lines of a query's answer.
type decoder struct {
	r      *bufio.Reader
	line   []byte
	newest bool
	last   query.Record
	any    bool
	match  ulid.ULID // the last record that is no context
	found  bool
}

func newDecoder(r io.Reader, newest bool) *decoder {
	return &decoder{r: bufio.NewReaderSize(r, 64<<10), newest: newest}
}

// next is the next record, or how the query ended.
func (d *decoder) next() (r query.Record, end *wire.End, err error) {
	line, err := d.readLine()
	if err != nil {
		return r, nil, err
	}
	// What ends an answer begins with another word than a record.
	if !bytes.HasPrefix(line, []byte(`{"end"`)) && !bytes.HasPrefix(line, []byte(`{"error"`)) {
		if r, err = query.ParseLine(line); err != nil {
			return r, nil, fmt.Errorf("%w: %w", ErrForeign, err)
		}
		if err := d.check(&r); err != nil {
			return r, nil, err
		}
		return r, nil, nil
	}
	var last struct {
		End   *wire.End   `json:"end"`
		Error *wire.Error `json:"error"`
	}
	switch err := json.Unmarshal(line, &last); {
	case err != nil:
		return r, nil, fmt.Errorf("%w: its last line does not decode: %w", ErrForeign, err)
	case last.Error != nil:
		return r, nil, failed(last.Error)
	case last.End == nil:
		return r, nil, fmt.Errorf("%w: its last line says nothing", ErrForeign)
	}
	if _, err := d.r.ReadByte(); !errors.Is(err, io.EOF) {
		return r, nil, fmt.Errorf("%w: there is something behind its last line", ErrForeign)
	}
	if last.End.Count < 0 {
		return r, nil, fmt.Errorf("%w: it counts %d records", ErrForeign, last.End.Count)
	}
	return r, last.End, nil
}

// check holds a record to the order, and tells whether it belongs to the one before. Context stands beside what it is of, which need not be its place among
// the records of all sources (query.RunContext).
func (d *decoder) check(r *query.Record) error {
	if !r.Context {
		c := r.ID.Compare(d.match)
		if d.newest {
			c = -c
		}
		if d.found && c <= 0 {
			return fmt.Errorf("%w: record %s comes after %s", ErrForeign, r.ID, d.match)
		}
		d.match, d.found = r.ID, true
	}
	if d.any {
		first, second := &d.last, r
		if d.newest {
			first, second = r, &d.last
		}
		r.Joined = first.Piece&segment.Continued != 0 && second.Piece&segment.Continues != 0 && segment.After(first.ID) == second.ID
	}
	d.any, d.last.ID, d.last.Piece = true, r.ID, r.Piece
	return nil
}

// readLine reads a line of at most query.MaxLine bytes. The end of the body is ErrCut: the line that ends an answer comes before.
func (d *decoder) readLine() ([]byte, error) {
	d.line = d.line[:0]
	for {
		part, err := d.r.ReadSlice('\n')
		if len(d.line)+len(part) > query.MaxLine {
			return nil, fmt.Errorf("%w: a line is longer than %d bytes", ErrForeign, query.MaxLine)
		}
		if err == nil && len(d.line) == 0 {
			return trim(part), nil
		}
		d.line = append(d.line, part...)
		switch {
		case err == nil:
			return trim(d.line), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: what came is not all of it: ask again", ErrCut)
		default:
			return nil, fmt.Errorf("%w: %w: ask again", ErrCut, err)
		}
	}
}
