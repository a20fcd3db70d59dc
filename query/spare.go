package query

import "sync/atomic"

// Spare is bytes of memory that several share: who needs more than its own takes of it what nobody else has, and gives it back. Nobody waits for it.
type Spare struct{ left atomic.Int64 }

// NewSpare makes one of so many bytes.
func NewSpare(bytes int64) *Spare {
	s := &Spare{}
	s.left.Store(bytes)
	return s
}

// Left is what nobody has taken, in bytes.
func (s *Spare) Left() int64 { return s.left.Load() }

func (s *Spare) take(n int64) bool {
	if s == nil {
		return false
	}
	if s.left.Add(-n) < 0 {
		s.left.Add(n)
		return false
	}
	return true
}

// Share is how many bytes one may hold: its own, and what it has taken of a Spare. It is for one goroutine at a time.
type Share struct {
	own, used, lent int64
	spare           *Spare
}

// NewShare makes a share of so many bytes; spare may be nil.
func NewShare(own int64, spare *Spare) *Share { return &Share{own: own, spare: spare} }

// Take makes room for n bytes more; false if there is none.
func (s *Share) Take(n int64) bool {
	if more := s.used + n - s.own - s.lent; more > 0 {
		if !s.spare.take(more) {
			return false
		}
		s.lent += more
	}
	s.used += n
	return true
}

// Give gives n bytes back.
func (s *Share) Give(n int64) {
	s.used -= n
	if back := min(s.lent, s.own+s.lent-s.used); back > 0 {
		s.lent -= back
		s.spare.left.Add(back)
	}
}

// Close gives back everything. The share may be used again.
func (s *Share) Close() { s.Give(s.used) }

// Max is how much it has room for without taking more, in bytes.
func (s *Share) Max() int64 { return s.own + s.lent }
