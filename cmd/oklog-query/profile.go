package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
)

// A file of profiles is lines:
//
//	# a comment
//	bucket = s3://a:9000/logs        above the first section: of all profiles
//
//	[default]                        # without --profile
//	topic = web
//
//	[staging]
//	bucket = s3://a.staging/logs     a name that stands several times has several values
//	bucket = s3://b.staging/logs
//	ignore-case = true
//	from = "2d"                      quotes keep spaces at the ends, and " #" from beginning a comment
//
// Names are those of the flags.

// maxProfiles is the greatest size of the file, in bytes.
const maxProfiles = 1 << 20

// defaultProfile is the section that counts without --profile.
const defaultProfile = "default"

// setting is a line of a section.
type setting struct {
	name, value string
	line        int
}

// profiles are the sections of a file; "" is what stands above the first.
type profiles struct {
	sections map[string][]setting
	names    []string // in the order of the file
}

// lineError is about a line of a file.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// parseProfiles reads a file.
func parseProfiles(text []byte) (profiles, error) {
	p := profiles{sections: map[string][]setting{}}
	section, n := "", 0
	for raw := range bytes.Lines(text) {
		n++
		line := strings.TrimSpace(strings.TrimPrefix(string(raw), "\ufeff"))
		bad := func(format string, v ...any) (profiles, error) {
			return profiles{}, &lineError{n, fmt.Errorf(format, v...)}
		}
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			name, rest, ok := strings.Cut(line[1:], "]")
			name, rest = strings.TrimSpace(name), strings.TrimSpace(rest)
			if !ok || name == "" || strings.ContainsAny(name, "[\"") || rest != "" && rest[0] != '#' {
				return bad("want [NAME] to begin a profile")
			}
			if slices.Contains(p.names, name) {
				return bad("there is a profile [%s] above: put them together", name)
			}
			section = name
			p.names = append(p.names, name)
		default:
			name, value, ok := strings.Cut(line, "=")
			name, value = strings.TrimSpace(name), strings.TrimSpace(value)
			if !ok || name == "" {
				return bad("want NAME = VALUE, [PROFILE] or # and a comment")
			}
			value, err := unquote(value)
			if err != nil {
				return bad("%s: %w", name, err)
			}
			p.sections[section] = append(p.sections[section], setting{name, value, n})
		}
	}
	return p, nil
}

// unquote reads a value: as it is, or in double quotes; behind it a comment may stand.
func unquote(value string) (string, error) {
	if value == "" || value[0] != '"' {
		for _, comment := range []string{" #", "\t#"} {
			value, _, _ = strings.Cut(value, comment)
		}
		return strings.TrimSpace(value), nil
	}
	quoted, err := strconv.QuotedPrefix(value)
	if err != nil {
		return "", errors.New("the closing quote is missing, or what is in quotes is not as in Go or JSON")
	}
	if rest := strings.TrimSpace(value[len(quoted):]); rest != "" && rest[0] != '#' {
		return "", fmt.Errorf("%q stands behind the closing quote", rest)
	}
	return strconv.Unquote(quoted)
}

// of gives the settings of a profile, those of all first. A profile that is not there is no error if it is the default.
func (p profiles) of(name string) ([]setting, error) {
	if !slices.Contains(p.names, name) && name != defaultProfile {
		return nil, fmt.Errorf("there is no profile %q: %s", name, p.list())
	}
	own := p.sections[name]
	var all []setting
	for _, s := range p.sections[""] {
		if !slices.ContainsFunc(own, func(o setting) bool { return o.name == s.name }) {
			all = append(all, s)
		}
	}
	return append(all, own...), nil
}

func (p profiles) list() string {
	if len(p.names) == 0 {
		return "there is none"
	}
	return "there are " + strings.Join(p.names, ", ")
}

// profilePath is where the file is if nothing is said.
func profilePath() string {
	folder := os.Getenv("XDG_CONFIG_HOME")
	if folder == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		folder = filepath.Join(home, ".config")
	}
	return filepath.Join(folder, "oklog", "config")
}

// readProfiles reads the file. One that is not there, and was not named, has no profiles.
func readProfiles(path string, named bool) (p profiles, readable bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("read profiles: %w: correct --config, or OKLOG_CONFIG", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(bufio.NewReader(f), maxProfiles+1))
	if err != nil {
		return p, false, fmt.Errorf("read profiles: %w", err)
	}
	if len(text) > maxProfiles {
		return p, false, fmt.Errorf("%s: more than %d bytes: is that a file of profiles?", path, maxProfiles)
	}
	if p, err = parseProfiles(text); err != nil {
		return p, false, fmt.Errorf("%s: %w", path, err)
	}
	info, err := f.Stat()
	return p, err == nil && info.Mode().IsRegular() && info.Mode()&0o077 != 0 && runtime.GOOS != "windows", nil
}

// applyProfile gives the flags that are neither among the arguments nor in the environment the values of a profile.
func applyProfile(c *cli.Context, args []string, log *slog.Logger) error {
	if !hasFlag(c.App.Flags, "profile") {
		return nil
	}
	path, name := c.String("config"), c.String("profile")
	named := path != ""
	if !named {
		path = profilePath()
	}
	if path == "" {
		return nil
	}
	p, readable, err := readProfiles(path, named)
	if err != nil {
		return err
	}
	if name == "" {
		name = defaultProfile
	} else if len(p.names) == 0 {
		return fmt.Errorf("there is no profile %q: %s has none, or is not there: write a section [%s] into it", name, path, name)
	}
	settings, err := p.of(name)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	given := map[string]bool{}
	for _, s := range settings {
		if f := flagNamed(c.App.Flags, s.name); f != nil && (said(c, args, f) || excluded(c, args, f)) {
			given[f.Names()[0]] = true
		}
	}
	secret := false
	for _, s := range settings {
		if err := checkSetting(s.name); err != nil {
			return fmt.Errorf("%s:%d: %w", path, s.line, err)
		}
		secret = secret || slices.Contains(secrets(), s.name)
		f := flagNamed(c.App.Flags, s.name)
		if f == nil || given[f.Names()[0]] {
			continue // it is another command's, or was said
		}
		err := c.Set(f.Names()[0], s.value)
		if _, truth := f.(*cli.BoolFlag); truth && err != nil {
			err = errors.New("want true or false")
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %s = %s: %w", path, s.line, s.name, s.value, err)
		}
	}
	if secret && readable {
		log.Warn(fmt.Sprintf("%s holds a password or a token, and others may read it: chmod 600 %s", path, path))
	}
	return nil
}

// secrets are the flags that others are not to know.
func secrets() []string { return []string{"nats-password", "nats-token", "token"} }

// checkSetting tells whether a profile can have a setting.
func checkSetting(name string) error {
	if slices.Contains([]string{"config", "profile", "help", "version", "e", "regexp"}, name) {
		return fmt.Errorf("%s cannot be set in a profile", name)
	}
	for _, cmd := range append(commands(), searching()) {
		if len(name) > 1 && flagNamed(cmd.app().Flags, name) != nil {
			return nil
		}
	}
	return fmt.Errorf("there is no setting %q: they have the names of the flags, without dashes: see oklog-query --help", name)
}

// said tells whether a flag is among the arguments, or has a value from the environment. A variable that is empty says nothing.
func said(c *cli.Context, args []string, f cli.Flag) bool {
	for _, name := range f.Names() {
		if flags.Given(args, c.App.Flags, name) {
			return true
		}
	}
	d, _ := docOf(f)
	return slices.ContainsFunc(d.env, func(name string) bool { return os.Getenv(name) != "" })
}

// excluded tells whether a flag was said that excludes f.
func excluded(c *cli.Context, args []string, f cli.Flag) bool {
	for _, group := range append(exclusive(), instead()...) {
		if slices.Contains(group, f.Names()[0]) && slices.ContainsFunc(group, func(name string) bool {
			other := flagNamed(c.App.Flags, name)
			return other != nil && said(c, args, other)
		}) {
			return true
		}
	}
	return false
}

// preferArguments has a flag among the arguments count where the environment says the same in another way.
func preferArguments(c *cli.Context, args []string) error {
	for _, group := range instead() {
		given := func(name string) bool { return flags.Given(args, c.App.Flags, name) }
		if !slices.ContainsFunc(group, given) {
			continue
		}
		for _, name := range group {
			if hasFlag(c.App.Flags, name) && !given(name) && c.String(name) != "" {
				if err := c.Set(name, ""); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func flagNamed(all []cli.Flag, name string) cli.Flag {
	if i := slices.IndexFunc(all, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }); i >= 0 {
		return all[i]
	}
	return nil
}

func hasFlag(all []cli.Flag, name string) bool { return flagNamed(all, name) != nil }
