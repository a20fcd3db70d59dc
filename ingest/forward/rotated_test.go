package forward

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKinOf(t *testing.T) {
	for name, want := range map[string]kin{
		"app.log": stranger, "app.log.1": former, "app.log-20261122": former, "app.log.2026-11-22_18:00": former, "app.log.old": former, "app.log~": former,
		"app-1.log": former, "app-2026-11-22T18-00-00.123.log": former, "app.1.log": former, "app-1.log.2": former,
		"app.log.1.gz": packed, "app.log.gz": packed, "app-1.log.zst": packed, "app.log-1.xz": packed, "app.log.old.bz2": packed,
		"app.log.err": perhaps, "app.log.err.gz": perhaps, "app.log-x1": perhaps,
		"app.logger": stranger, "app-error.log": stranger, "app2.log": stranger, "application.log": stranger, "app": stranger, "other.log.1": stranger,
		"app-1.log.x": stranger,
	} {
		if have := kinOf("app.log", name); have != want {
			t.Errorf("%s is %d, want %d", name, have, want)
		}
	}
	for _, c := range []struct {
		base, name string
		want       kin
	}{
		{"messages", "messages.1", former}, {"messages", "messages-20261122.gz", packed}, {"messages", "messages2", stranger},
		{".log", ".log.1", former}, {".log", "x-1.log", stranger}, {".log", "-1.log", stranger},
	} {
		if have := kinOf(c.base, c.name); have != c.want {
			t.Errorf("%s beside %s is %d, want %d", c.name, c.base, have, c.want)
		}
	}
}

// rotateTwice leaves a file between that nobody saw, in the ways that rotation names files.
func (w *following) rotateTwice(style string) {
	w.t.Helper()
	switch style {
	case "numbers":
		w.rename(w.name, w.name+".1")
		w.write(w.name, "middle 1\nmiddle 2\n")
		w.rename(w.name+".1", w.name+".2")
		w.rename(w.name, w.name+".1")
	case "dates":
		w.rename(w.name, w.name+"-20261121")
		w.write(w.name, "middle 1\nmiddle 2\n")
		w.rename(w.name, w.name+"-20261122")
	case "stem":
		stem := strings.TrimSuffix(w.name, ".log")
		w.rename(w.name, stem+"-1.log")
		w.write(w.name, "middle 1\nmiddle 2\n")
		w.rename(w.name, stem+"-2.log")
	}
	w.write(w.name, "last\n")
}

// TestTwoRotationsUnseen rotates twice while the reader waits for an ack, or is down.
func TestTwoRotationsUnseen(t *testing.T) {
	for _, style := range []string{"numbers", "dates", "stem"} {
		want := []string{"first", "end of first", "middle 1", "middle 2", "last"}
		t.Run("blocked "+style, func(t *testing.T) {
			w := newFollowing(t)
			w.cfg.Mode = Durable
			w.p.gate = make(chan struct{})
			w.write(w.name, "first\n")
			w.begin()
			waitFor(t, func() bool { return w.f.Stats().Published == 1 }) // and its ack does not come
			w.write(w.name, "end of first\n")
			w.rotateTwice(style)
			close(w.p.gate)
			w.await(want...)
			w.end()
			w.p.wg.Wait()
			if s := w.f.Stats(); s.Missed != 0 {
				t.Errorf("%+v", s)
			}
			w.begin() // and nothing is read again
			w.write(w.name, "more\n")
			w.await(append(want, "more")...)
			w.end()
		})
		t.Run("down "+style, func(t *testing.T) {
			w := newFollowing(t)
			w.write(w.name, "first\n")
			w.begin()
			w.await("first")
			w.end()
			w.write(w.name, "end of first\n")
			w.rotateTwice(style)
			w.begin()
			w.await(want...)
			w.end()
			if s := w.f.Stats(); s.Missed != 0 {
				t.Errorf("%+v", s)
			}
			w.begin()
			w.write(w.name, "more\n")
			w.await(append(want, "more")...)
			w.end()
		})
	}
}

// TestNeighborsAreNotGuessed has files beside the followed one that are older, strangers, compressed, or copies.
func TestNeighborsAreNotGuessed(t *testing.T) {
	w := newFollowing(t)
	text := strings.Repeat("0123456789 123456789 123456789\n", 60)
	w.write(w.name, text)
	age := func(name string, hours int) {
		t.Helper()
		at := time.Now().Add(time.Duration(-hours) * time.Hour)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	age(w.name, 2)
	w.begin()
	w.await(split(text)...)
	w.end()
	w.write(w.name+".9", "older\n")
	age(w.name+".9", 3)
	w.write(w.name+".8.gz", "older\n")
	age(w.name+".8.gz", 3)
	w.write(strings.TrimSuffix(w.name, ".log")+"-error.log", "stranger\n")
	for _, name := range []string{".3", ".2.gz", ".sorted"} { // a copy, one that is packed, one that does not say what it is
		w.write(w.name+name, text+"and more\n")
	}
	w.rename(w.name, w.name+".1")
	w.write(w.name, "new\n")
	w.begin()
	w.await(append(split(text), "new")...)
	w.end()
	if s := w.f.Stats(); s.Missed != 3 {
		t.Errorf("%d files are uncertain", s.Missed)
	}
	for _, name := range []string{".3", ".2.gz", ".sorted"} {
		if strings.Count(w.log.String(), w.name+name) != 1 {
			t.Errorf("the log does not name %s once:\n%s", name, &w.log)
		}
	}
}

// TestWritesAfterLinger appends to rotated files that were finished with: in the same run, when they were renamed once more, and
// while nobody looks.
func TestWritesAfterLinger(t *testing.T) {
	w := newFollowing(t)
	w.write(w.name, "first\n")
	w.begin()
	w.await("first")
	w.rename(w.name, w.name+".1")
	w.write(w.name, "new\n")
	want := []string{"first", "new"}
	w.await(want...)
	finished := func() bool {
		states := w.states()
		return len(states) > 0 && states[0].Done
	}
	for i := range 3 {
		// The positions on disk show that it was finished with, as soon as there is another batch.
		waitFor(t, func() bool {
			line := fmt.Sprint("line ", len(want))
			w.write(w.name, line+"\n")
			want = append(want, line)
			w.await(want...)
			return finished()
		})
		late := fmt.Sprint("late ", i)
		want = append(want, late)
		switch i {
		case 0:
			w.write(w.name+".1", late+"\n")
		case 1:
			w.rename(w.name+".1", w.name+".2")
			w.write(w.name+".2", late+"\n")
		case 2:
			w.end()
			w.rename(w.name+".2", w.name+".3")
			w.write(w.name+".3", late+"\n")
			w.begin()
		}
		w.await(want...)
	}
	w.end()
	w.change = func(f *Forwarder) { f.wait.keep = time.Nanosecond }
	w.begin()
	w.write(w.name, "end\n")
	w.await(append(want, "end")...)
	w.end()
	for _, s := range w.states() {
		if s.Done {
			t.Errorf("still kept: %+v", s)
		}
	}
}

// states are the positions on disk.
func (w *following) states() []fileState {
	files, err := os.ReadDir(w.cfg.Inputs.StateDir)
	if err != nil {
		w.t.Fatal(err)
	}
	var states []fileState
	for _, f := range files {
		b, err := os.ReadFile(w.cfg.Inputs.StateDir + "/" + f.Name())
		if err != nil {
			continue // it was removed meanwhile
		}
		if h, _, err := decodeJournal(b); err == nil {
			states = h.Files
		}
	}
	return states
}

// TestRotatedFilesAreBounded rotates more often than positions are kept for.
func TestRotatedFilesAreBounded(t *testing.T) {
	w := newFollowing(t)
	w.change = func(f *Forwarder) { f.wait.linger = 0 }
	w.write(w.name, "0\n")
	w.begin()
	want := []string{"0"}
	w.await(want...)
	for i := range maxRotated + 10 {
		w.rename(w.name, fmt.Sprint(w.name, ".", i))
		w.write(w.name, fmt.Sprint(i+1, "\n"))
		want = append(want, fmt.Sprint(i+1))
		w.await(want...)
	}
	waitFor(t, func() bool { return strings.Contains(w.log.String(), "too many were rotated since") })
	w.end()
	if n := len(w.states()); n > maxRotated+1 {
		t.Errorf("%d positions are kept", n)
	}
	w.begin()
	w.write(w.name, "end\n")
	w.await(append(want, "end")...)
	w.end()
}

// TestRotatedFileGoneIsForgotten removes a file that was read to its end.
func TestRotatedFileGoneIsForgotten(t *testing.T) {
	w := newFollowing(t)
	w.write(w.name, "first\n")
	w.begin()
	w.await("first")
	w.rename(w.name, w.name+".1")
	w.write(w.name, "new\n")
	w.await("first", "new")
	if err := os.Remove(w.name + ".1"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.Contains(w.log.String(), "it is gone") })
	w.end()
	if s := w.f.Stats(); s.Missed != 0 || len(w.states()) != 1 {
		t.Errorf("%+v, %+v", s, w.states())
	}
}

// TestRotatedNamesAreFollowed follows app.log* as a shell makes names of it: what was app.log is not read again as app.log.1.
func TestRotatedNamesAreFollowed(t *testing.T) {
	w := newFollowing(t)
	w.cfg.Inputs.Files = append(w.cfg.Inputs.Files, w.name+".1")
	w.write(w.name+".1", "before\n")
	w.write(w.name, "one\n")
	w.begin()
	want := []string{"before", "one"}
	w.await(want...)
	for i := range 4 {
		if i == 2 {
			w.end()
		}
		w.write(w.name, fmt.Sprint("more ", i, "\n"))
		w.rename(w.name+".1", w.name+".2")
		w.rename(w.name, w.name+".1")
		w.write(w.name, fmt.Sprint("new ", i, "\n"))
		want = append(want, fmt.Sprint("more ", i), fmt.Sprint("new ", i))
		if i == 2 {
			w.begin()
		}
		w.await(want...)
	}
	waitFor(t, func() bool { return strings.Contains(w.log.String(), "not read twice") })
	w.end()
	w.begin()
	w.write(w.name, "end\n")
	w.await(append(want, "end")...)
	w.end()
}

// TestRotatedInOrder: what is in a file that was rotated away, or in the copy of one that was truncated, has earlier IDs than what came after it.
func TestRotatedInOrder(t *testing.T) {
	for _, down := range []bool{true, false} {
		for _, truncated := range []bool{false, true} {
			w := newFollowing(t)
			away := w.awayUntil(false)
			w.cfg.Mode = Durable
			want := numberedLines(0, 1)
			w.writeLines(want)
			w.begin()
			w.await(want...)
			if down {
				w.end()
			} else {
				away.Store(true)
				w.writeLines(numberedLines(1, 2))
				waitFor(t, func() bool { return w.f.Stats().Records == 2 })
			}
			want = numberedLines(0, 120_000) // several buffers
			w.writeLines(want[max(1, int(w.f.Stats().Records)):80_000])
			if truncated {
				w.copyTruncate()
			} else {
				w.rename(w.name, w.name+".1")
			}
			w.writeLines(want[80_000:])
			if down {
				w.begin()
			}
			away.Store(false)
			waitFor(t, func() bool { return w.f.Stats().Acked >= int64(len(want)-1) })
			w.end()
			if have := texts(t, w.p.records(t)); !slices.Equal(have, want) {
				i := 0
				for i < min(len(have), len(want)) && have[i] == want[i] {
					i++
				}
				t.Errorf("down %v, truncated %v: %d of %d records, the first other one is %d: %.40q", down, truncated, len(have), len(want), i, have[min(i, len(have)-1)])
			}
		}
	}
}

// TestAnotherGoesByTheBeginning: the number of a file that has gone may be that of a new one.
func TestAnotherGoesByTheBeginning(t *testing.T) {
	a, b := &path{name: "a.log"}, &path{name: writeFile(t, "new\n")}
	r := &reader{paths: []*path{a, b}}
	fl, err := openFile(b.name, b.name)
	if err != nil {
		t.Fatal(err)
	}
	defer fl.f.Close()
	for print, want := range map[string]bool{fl.print: true, sumOf([]byte("old\n")): false} {
		s := fileState{Path: a.name, Number: fl.number, PrintLen: fl.printLen, Print: print, Pos: 4}
		r.rotated, r.idle = []*rotated{{s, "a.log.1", fl.info}}, nil
		if have := r.another(b, fl.info); have != want {
			t.Errorf("a rotated one: have %v, want %v", have, want)
		}
		r.rotated, r.idle = nil, []fileState{s}
		if have := r.another(b, fl.info); have != want {
			t.Errorf("one of an earlier run: have %v, want %v", have, want)
		}
	}
}
