package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen is what can be shown.
type screen struct {
	terminal bool // standard output is one
	progress bool // standard error is one
	width    int  // columns
	plain    bool // the user wants no colours
	ascii    bool // the user's language is not written in UTF-8
}

// defaultWidth is that of what is no terminal.
const defaultWidth = 80

func screenOf(s streams) screen {
	sc := screen{
		terminal: isTerminal(s.stdout), progress: isTerminal(s.stderr) && os.Getenv("TERM") != "dumb", width: defaultWidth,
		plain: os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb",
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			sc.ascii = v == "C" || v == "POSIX" || strings.Contains(v, ".") && !strings.Contains(strings.ToUpper(strings.ReplaceAll(v, "-", "")), "UTF8")
			break
		}
	}
	for _, w := range []io.Writer{s.stdout, s.stderr} {
		if f, ok := w.(*os.File); ok {
			if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
				sc.width = n
				break
			}
		}
	}
	return sc
}

// isTerminal tells whether w is one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
