package forward

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// copyTruncate is what logrotate does with a file whose writer cannot be told to open another one.
func (w *following) copyTruncate() {
	w.t.Helper()
	if _, err := os.Stat(w.name + ".1"); err == nil {
		w.rename(w.name+".1", w.name+".2")
	}
	b, err := os.ReadFile(w.name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(w.name+".1", string(b))
	if err := os.Truncate(w.name, 0); err != nil {
		w.t.Fatal(err)
	}
}

func numberedLines(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("line %06d of the log", i))
	}
	return all
}

func (w *following) writeLines(lines []string) {
	w.t.Helper()
	w.write(w.name, strings.Join(lines, "\n")+"\n")
}

// TestTruncatedWhileDown truncates a file while nobody follows it: what was read is in the copy, and is not read again; what was not, is.
func TestTruncatedWhileDown(t *testing.T) {
	for _, lines := range []int{3, 100, 5000} {
		for _, unread := range []int{0, 50} {
			for _, twice := range []bool{false, true} {
				t.Run(fmt.Sprint(lines, unread, twice), func(t *testing.T) {
					w := newFollowing(t)
					want := numberedLines(0, lines)
					w.writeLines(want)
					w.begin()
					w.await(want...)
					w.end()
					if unread > 0 {
						more := numberedLines(lines, lines+unread)
						w.writeLines(more)
						want = append(want, more...)
					}
					w.copyTruncate()
					w.write(w.name, "after\n")
					want = append(want, "after")
					if twice {
						w.copyTruncate()
						w.write(w.name, "after that\n")
						want = append(want, "after that")
					}
					w.begin()
					w.await(want...)
					w.end()
					if s := w.f.Stats(); s.Missed != 0 {
						t.Errorf("%+v:\n%s", s, w.log.String())
					}
					w.begin() // and nothing is read again
					w.write(w.name, "more\n")
					w.await(append(want, "more")...)
					w.end()
				})
			}
		}
	}
}

// TestTruncatedWhileBlocked truncates a file while reading waits for the broker.
func TestTruncatedWhileBlocked(t *testing.T) {
	w := newFollowing(t)
	var away atomic.Bool
	away.Store(true)
	w.p.refuse = func(int) error {
		if away.Load() {
			return errAway
		}
		return nil
	}
	w.cfg.Mode = Durable
	want := numberedLines(0, 1)
	w.writeLines(want)
	w.begin()
	waitFor(t, func() bool { w.p.mu.Lock(); defer w.p.mu.Unlock(); return w.p.attempts > 0 })
	more := numberedLines(1, 1000)
	w.writeLines(more)
	w.copyTruncate()
	w.write(w.name, "after\n")
	away.Store(false)
	want = append(append(want, more...), "after")
	w.await(want...)
	w.end()
	if s := w.f.Stats(); s.Missed != 0 {
		t.Errorf("%+v:\n%s", s, w.log.String())
	}
}

// TestTruncatedAgainAndAgain truncates a file that is read as it grows.
func TestTruncatedAgainAndAgain(t *testing.T) {
	w := newFollowing(t)
	w.begin()
	var want []string
	for i := range 5 {
		some := numberedLines(i*100, (i+1)*100)
		w.writeLines(some)
		want = append(want, some...)
		w.await(want...)
		w.copyTruncate()
	}
	w.end()
	w.begin()
	w.write(w.name, "more\n")
	w.await(append(want, "more")...)
	w.end()
	if s := w.f.Stats(); s.Missed != 0 {
		t.Errorf("%+v:\n%s", s, w.log.String())
	}
}

// TestRotatedBehindALink follows a symbolic link, as Kubernetes has them: the files are rotated where it leads.
func TestRotatedBehindALink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links want a right there")
	}
	for _, down := range []bool{false, true} {
		for _, relative := range []bool{false, true} {
			t.Run(fmt.Sprint(down, relative), func(t *testing.T) {
				w := newFollowing(t)
				if err := os.Mkdir(filepath.Join(w.dir, "pods"), 0o700); err != nil {
					t.Fatal(err)
				}
				target := filepath.Join(w.dir, "pods", "0.log")
				to := target
				if relative {
					to = filepath.Join("pods", "0.log")
				}
				if err := os.Symlink(to, w.name); err != nil {
					t.Fatal(err)
				}
				if !down { // so that nobody looks meanwhile
					w.cfg.Mode = Durable
					w.p.gate = make(chan struct{})
				}
				w.write(target, "one\n")
				w.begin()
				waitFor(t, func() bool { return w.f.Stats().Published == 1 })
				if down {
					w.await("one")
					w.end()
				}
				w.write(target, "two\n")
				w.rename(target, target+".20261126-080000")
				w.write(target, "three\n")
				w.rename(target, target+".20261126-080100")
				w.write(target, "four\n")
				if down {
					w.begin()
				} else {
					close(w.p.gate)
				}
				w.await("one", "two", "three", "four")
				w.end()
				w.p.wg.Wait()
				if s := w.f.Stats(); s.Missed != 0 {
					t.Errorf("%+v:\n%s", s, w.log.String())
				}
			})
		}
	}
}
