package forward

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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

// awayUntil has the broker refuse everything until the switch that it returns is off.
func (w *following) awayUntil(away bool) *atomic.Bool {
	is := new(atomic.Bool)
	is.Store(away)
	w.p.refuse = func(int) error {
		if is.Load() {
			return errAway
		}
		return nil
	}
	return is
}

// ends stops the forwarder, which has missed nothing.
func (w *following) ends() {
	w.t.Helper()
	w.end()
	if s := w.f.Stats(); s.Missed != 0 {
		w.t.Errorf("%+v:\n%s", s, w.log.String())
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
					w.ends()
					w.begin() // and nothing is read again
					w.write(w.name, "more\n")
					w.await(append(want, "more")...)
					w.end()
				})
			}
		}
	}
}

// TestTruncatedWhileBlocked truncates a file, more than once, while reading waits for the broker.
func TestTruncatedWhileBlocked(t *testing.T) {
	w := newFollowing(t)
	away := w.awayUntil(true)
	w.cfg.Mode = Durable
	want := numberedLines(0, 1)
	w.writeLines(want)
	w.begin()
	waitFor(t, func() bool { w.p.mu.Lock(); defer w.p.mu.Unlock(); return w.p.attempts > 0 })
	for i := range 3 {
		more := numberedLines(1+i*1000, 1+(i+1)*1000)
		w.writeLines(more)
		want = append(want, more...)
		if i == 2 {
			w.rename(w.name+".2", w.name+".3")
		}
		w.copyTruncate()
	}
	w.write(w.name, "after\n")
	want = append(want, "after")
	away.Store(false)
	w.await(want...)
	w.ends()
}

// TestTruncatedAgainAndAgain truncates a file that is read as it grows.
func TestTruncatedAgainAndAgain(t *testing.T) {
	w := newFollowing(t)
	w.begin()
	var want []string
	for i := range 5 {
		some := numberedLines(i*100, i*100+50+i) // of another size each time: clocks of file systems are coarse
		w.writeLines(some)
		want = append(want, some...)
		w.await(want...)
		w.copyTruncate()
	}
	w.end()
	w.begin()
	w.write(w.name, "more\n")
	w.await(append(want, "more")...)
	w.ends()
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
				w.ends()
				w.p.wg.Wait()
			})
		}
	}
}

// banner is what files begin with that cannot be told apart by their beginnings.
var banner = strings.Repeat("#"+strings.Repeat("=", 61)+"\n", 20)

// TestTruncatedBeginsTheSame truncates a file that begins as before, shorter or longer than it was: the bytes before the position tell.
func TestTruncatedBeginsTheSame(t *testing.T) {
	for _, down := range []bool{true, false} {
		for _, lines := range []int{1, 500} {
			t.Run(fmt.Sprint(down, lines), func(t *testing.T) {
				w := newFollowing(t)
				away := w.awayUntil(false)
				w.cfg.Mode = Durable
				w.write(w.name, banner)
				want := append(split(banner), numberedLines(0, 100)...)
				w.writeLines(numberedLines(0, 100))
				w.begin()
				w.await(want...)
				if down {
					w.end()
				} else {
					away.Store(true)
					w.write(w.name, "blocks\n")
					want = append(want, "blocks")
					waitFor(t, func() bool { return w.f.Stats().Records >= int64(len(want)) })
				}
				w.writeLines(numberedLines(100, 200))
				w.copyTruncate()
				w.write(w.name, banner)
				w.writeLines(numberedLines(1000, 1000+lines))
				want = append(append(append(want, numberedLines(100, 200)...), split(banner)...), numberedLines(1000, 1000+lines)...)
				if down {
					w.begin()
				}
				away.Store(false)
				w.await(want...)
				w.ends()
			})
		}
	}
}

// TestTruncatedThenReplaced truncates a file, and then another one takes its place.
func TestTruncatedThenReplaced(t *testing.T) {
	for _, kind := range []string{"gone", "replaced", "renamed"} {
		for _, lines := range []int{10, 100} {
			t.Run(fmt.Sprint(kind, lines), func(t *testing.T) {
				w := newFollowing(t)
				want := numberedLines(0, lines)
				w.writeLines(want)
				w.begin()
				w.await(want...)
				w.end()
				w.writeLines(numberedLines(lines, 2*lines))
				want = append(want, numberedLines(lines, 2*lines)...)
				w.copyTruncate()
				switch kind {
				case "renamed":
					w.write(w.name, "between\n")
					want = append(want, "between")
					w.rename(w.name+".1", w.name+".2")
					w.rename(w.name, w.name+".1")
				default:
					if err := os.Remove(w.name); err != nil {
						t.Fatal(err)
					}
				}
				if kind != "gone" {
					w.write(w.name+".new", "after\n") // with another number
					w.rename(w.name+".new", w.name)
					want = append(want, "after")
				}
				w.begin()
				w.await(want...)
				w.ends()
			})
		}
	}
}

// TestCopyIsOverwritten has one copy written over another while that is still open.
func TestCopyIsOverwritten(t *testing.T) {
	w := newFollowing(t)
	w.change = func(f *Forwarder) { f.wait.linger = time.Minute }
	var want []string
	w.begin()
	for i := range 4 {
		some := numberedLines(i*100, (i+1)*100)
		w.writeLines(some)
		want = append(want, some...)
		w.await(want...)
		b, err := os.ReadFile(w.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.name+".1", b, 0o600); err != nil { // in place
			t.Fatal(err)
		}
		if err := os.Truncate(w.name, 0); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return strings.Count(w.log.String(), "was truncated") == i+1 })
	}
	w.write(w.name, "after\n")
	w.await(append(want, "after")...)
	w.end()
}

// TestLinkLeadsOn follows a link that leads from file to file, some of which nobody saw it lead to.
func TestLinkLeadsOn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links want a right there")
	}
	for _, names := range [][]string{
		{"0.log", "1.log", "2.log"},
		{"0.log", "0.log.20261126-080100", "1.log"},
		{"app-2026-11-24.log", "app-2026-11-25.log", "app-2026-11-26.log"},
	} {
		t.Run(names[2], func(t *testing.T) {
			w := newFollowing(t)
			place := func(name string) string { return filepath.Join(w.dir, "there", name) }
			lead := func(to string) {
				if err := os.Symlink(place(to), w.name+".link"); err != nil {
					t.Fatal(err)
				}
				w.rename(w.name+".link", w.name)
			}
			if err := os.Mkdir(filepath.Join(w.dir, "there"), 0o700); err != nil {
				t.Fatal(err)
			}
			w.write(place(names[0]), "one\n")
			lead(names[0])
			w.begin()
			w.await("one")
			w.end()
			w.write(place(names[0]), "two\n")
			w.write(place(names[1]), "three\n")
			w.write(place(names[2]), "four\n")
			lead(names[2])
			w.begin()
			w.await("one", "two", "three", "four")
			w.ends()
		})
	}
}
