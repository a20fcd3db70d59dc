package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"oklog/cmd/internal/flags"
	"oklog/compact"
)

// findings are what somebody should look at, a line each, and err does not tell.
func findings(r *compact.Report, err error) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, flags.OneLine(fmt.Errorf(format, args...))) }
	for _, why := range r.Refused {
		add("refused: %s", why)
	}
	for _, name := range r.Away {
		if err != nil && strings.Contains(err.Error(), name) {
			continue
		}
		add("%s could not be used: nothing was deleted, and what it lacks is copied to it by a later run", name)
	}
	for _, f := range r.Damaged {
		add("damaged, and left alone: %s", f)
	}
	if more := r.DamagedSegments - len(r.Damaged); more > 0 {
		add("and %s", count(more, "more damaged segment"))
	}
	for _, f := range r.Lost {
		add("no sound copy: %s", f)
	}
	if more := r.LostObjects - len(r.Lost); more > 0 {
		add("and %s without a sound copy", count(more, "more object"))
	}
	if n := r.BadCopies; n > 0 {
		add("%s found, of which others are sound: oklog repair --deep replaces them", count(n, "damaged copy was", "damaged copies were"))
	}
	if n := r.Differing; n > 0 {
		add("%s not of the same size in all buckets, and left alone: oklog repair replaces the damaged copies", count(n, "segment is", "segments are"))
	}
	if n := r.Foreign; n > 0 {
		add("%s to no segment, and left alone: %s", count(n, "object belongs", "objects belong"), some(r.ForeignKeys, n))
	}
	const most = 10
	for _, s := range r.Skews[:min(most, len(r.Skews))] {
		add("absurd times, perhaps of a clock that was wrong; they are kept: %s has records from %s to %s", s.Key, s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339))
	}
	if more := r.Skewed - most; more > 0 {
		add("and %s with absurd times", count(more, "more segment"))
	}
	return lines
}

// verdict tells what needs a look and what failed, a line each, and turns it into an exit status.
func verdict(w io.Writer, r *compact.Report, err error) error {
	lines := findings(r, err)
	for _, line := range lines {
		fmt.Fprintln(w, "oklog: "+line)
	}
	failed := failures(r, err)
	switch {
	case len(failed) > 0:
		return tell(w, failed, lines)
	case !r.Sound():
		return errFindings
	}
	return nil
}

// tell tells what failed, unless a line that stands there already does.
func tell(w io.Writer, failed []error, told []string) error {
	for _, e := range failed {
		line := flags.OneLine(e)
		if !slices.ContainsFunc(told, func(t string) bool { return strings.Contains(t, strings.TrimPrefix(line, "retention: ")) }) {
			fmt.Fprintln(w, "oklog: "+line)
		}
	}
	return errTold
}

// failures are what has failed in a run, without what it has refused, which is a finding.
func failures(r *compact.Report, err error) []error {
	return slices.DeleteFunc(causes(err), func(e error) bool { return len(r.Refused) > 0 && errors.Is(e, compact.ErrTooMuch) })
}

// causes are the errors that are joined in one.
func causes(err error) (each []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok || strings.Count(err.Error(), "\n")+1 < len(joined.Unwrap()): // that is one with several %w
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		each = append(each, causes(e)...)
	}
	return each
}

// some names the first of n keys.
func some(keys []string, n int) string {
	shown := keys[:min(3, len(keys))]
	line := strings.Join(shown, " ")
	if n > len(shown) {
		line += fmt.Sprintf(" and %d more", n-len(shown))
	}
	return line
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// printReport prints what was done, or the plan.
func printReport(w io.Writer, r *compact.Report, err error) {
	would := ""
	if r.DryRun {
		would = "would be "
		printPlan(w, r)
	}
	line := func(n int, format string, args ...any) {
		if n > 0 {
			fmt.Fprintf(w, format+"\n", args...)
		}
	}
	line(r.Merges, "%s of %s %smerged into %s of %s (%.0f %%), %s of text, in %s", count(r.MergedIn, "segment"), bytesOf(r.BytesIn), would, humanize.Comma(int64(r.MergedOut)),
		bytesOf(r.BytesOut), 100*float64(r.BytesOut)/float64(max(r.BytesIn, 1)), bytesOf(r.Text), count(r.Merges, "merge"))
	line(r.Deleted, "%s of %s %sdeleted", count(r.Deleted, "replaced segment"), bytesOf(r.DeletedBytes), would)
	line(r.Expired, "%s of %s %smoved to the trash", count(r.Expired, "expired segment"), bytesOf(r.ExpiredBytes), would)
	line(r.Purged, "%s of %s %spurged from the trash", count(r.Purged, "segment"), bytesOf(r.PurgedBytes), would)
	line(r.Copied, "%s of %s %smade%s", count(r.Copied, "copy", "copies"), bytesOf(r.CopiedBytes), would, overDamaged(r))
	line(r.MissingCopies, "%s of what was written: a later run makes them", count(r.MissingCopies, "copy is missing", "copies are missing"))
	if r.Merges+r.Deleted+r.Expired+r.Purged+r.Copied == 0 {
		if err == nil && len(r.Refused) == 0 {
			fmt.Fprintln(w, "nothing to do")
		} else {
			fmt.Fprintln(w, "nothing was done")
		}
	}
	waiting, backlog := r.Waiting, r.Backlog
	if r.DryRun {
		waiting, backlog = waiting-r.Deleted, backlog-r.MergedIn
	}
	rest := ""
	if r.Lacking > 0 {
		rest += fmt.Sprintf("; %s, and may still be on their way: a run in some minutes makes them", count(r.Lacking, "copy is missing of what is new", "copies are missing of what is new"))
	}
	if waiting > 0 {
		rest += fmt.Sprintf("; %s until queries that began before are over (--grace)", count(waiting, "replaced segment stays", "replaced segments stay"))
	}
	if backlog > 0 {
		rest += fmt.Sprintf("; %s for later runs, when they are older or more have come", count(backlog, "small or overlapping segment is left", "small or overlapping segments are left"))
	}
	fmt.Fprintf(w, "looked at %s of %s in %s in %s%s\n", count(r.Segments, "segment"), bytesOf(r.Bytes), count(r.Topics, "topic"), r.Took.Round(time.Millisecond), rest)
}

// overDamaged says how many of the copies that were made replace others.
func overDamaged(r *compact.Report) string {
	switch {
	case r.Replaced == 0:
		return ""
	case r.Replaced == r.Copied:
		return ", in the place of " + count(r.Replaced, "damaged one")
	}
	return ", " + humanize.Comma(int64(r.Replaced)) + " of them in the place of damaged ones"
}

// printPlan prints the tables of a dry run.
func printPlan(w io.Writer, r *compact.Report) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Jobs) > 0 {
		fmt.Fprintln(tw, "TO BE MERGED\tFROM (UTC)\tTO\tSEGMENTS\tBYTES\tINTO ABOUT\tBYTES ABOUT\tGENERATION")
		for _, j := range r.Jobs {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", j.Topic, utc(j.From), j.To.UTC().Format("15:04:05"), humanize.Comma(int64(j.Segments)), bytesOf(j.Bytes),
				humanize.Comma(int64(j.IntoAbout)), bytesOf(j.BytesAbout), j.Generation)
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush() // what cannot be printed has nowhere to be told
	if len(r.ExpiredTopics) > 0 {
		fmt.Fprintln(tw, "EXPIRED\tFROM (UTC)\tTO\tSEGMENTS\tBYTES\tKEPT")
		for _, e := range r.ExpiredTopics {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Topic, utc(e.From), utc(e.To), humanize.Comma(int64(e.Segments)), bytesOf(e.Bytes), age(e.Keep))
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush()
}
