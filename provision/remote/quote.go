package remote

import (
	"errors"
	"fmt"
	"strings"
)

// maxCommand is the longest command string in bytes: sshd hands it to the login
// shell as one argument, and Linux takes 128 KiB for an argument with its NUL.
const maxCommand = 1<<17 - 1

// maxWord keeps the words of a command below what the csh of BSD takes for one.
const maxWord = 1000

// Quote returns s as one word for sh, bash, zsh, csh, tcsh and fish, in which
// nothing is expanded. A newline is kept by all of them but csh and tcsh. s must
// not contain a NUL, which no command line can hold.
//
// What those shells do not agree on inside single quotes is left outside of
// them behind a backslash, where they do: the single quote, the backslash (an
// escape for fish) and the exclamation mark (history for csh).
func Quote(s string) string {
	if s != "" && strings.IndexFunc(s, isSpecial) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2)
	quoted := false
	for i := range len(s) {
		bare := strings.IndexByte(`'\!`, s[i]) >= 0
		if quoted == bare {
			b.WriteByte('\'')
			quoted = !quoted
		}
		if bare {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	if s == "" {
		return "''"
	}
	if quoted {
		b.WriteByte('\'')
	}
	return b.String()
}

// isSpecial reports whether r may not stand in a word without quotes.
func isSpecial(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/.,_-:@+", r)
}

// commandLine returns what the login shell is asked to run, whichever shell that
// is, and what has to go to its standard input. hasStdin says that standard
// input is the command's own.
func commandLine(script string, sudo, hasStdin bool) (line, stdin string, err error) {
	if strings.IndexByte(script, 0) >= 0 {
		return "", "", errors.New("the script contains a NUL byte")
	}
	if sudo {
		line, stdin = sudoLine(script, hasStdin)
		return line, stdin, nil
	}
	const sh = "exec sh "
	line = sh + "-c " + Quote(script)
	if strings.Contains(script, "\n") {
		line = sh + `-c 'eval "set --;$(printf %b "$@")"' sh` + words(script)
	}
	if len(line) <= maxCommand {
		return line, "", nil
	}
	if hasStdin {
		return "", "", fmt.Errorf("the command is %d bytes long, and its standard input is taken: a command line holds %d", len(line), maxCommand)
	}
	// The braces make sh read all of it before it runs any, so that a command
	// in it that reads standard input cannot eat the rest.
	return sh + "-s", "{\n" + script + "\n} </dev/null\n", nil
}

// words returns a script in the notation of printf %b, which has no newline for
// csh to stumble over, cut into words that are joined again by printf.
func words(script string) string {
	r := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	var b strings.Builder
	for script != "" {
		n := min(maxWord/4, len(script))
		b.WriteString(" " + Quote(r.Replace(script[:n])))
		script = script[n:]
	}
	return b.String()
}
