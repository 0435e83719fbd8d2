package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"fwprov/provision/remote"
)

// What a node says reaches people, logs and JSON in four ways, each of which is
// cut off here: as lines while a command runs, as standard error, as an error of
// the connection, and as facts in the words of a change or a check. Facts
// themselves stay as they are.

// clean makes text that may come from a node harmless to whoever reads it: no
// control characters, no secret that a program was given and talks about, and not
// more than anybody wants to read.
func (r *Runner) clean(s string) string {
	if r.Redact != nil {
		s = r.Redact(s)
	}
	return bounded(Printable(s))
}

// Bounds of text in bytes. No line that is worth reading comes near the first;
// the second is that of two files in a diff.
const (
	maxLine = 4 << 10
	maxText = 2 * maxContent
)

// bounded cuts long lines and long texts, and says so.
func bounded(s string) string {
	if len(s) <= maxLine {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		if b.Len() > maxText {
			fmt.Fprintf(&b, "[%d bytes left out]\n", len(s)-maxText)
			break
		}
		text, newline := strings.CutSuffix(line, "\n")
		if over := len(text) - maxLine; over > 0 {
			text = strings.ToValidUTF8(text[:maxLine], "") + fmt.Sprintf(" [%d bytes left out]", over)
		}
		b.WriteString(text)
		if newline {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// dial opens a connection whose words are clean.
func (r *Runner) dial(ctx context.Context, node string, fresh bool) (Conn, error) {
	c, err := r.Dial(ctx, node, fresh)
	if err != nil {
		return nil, r.heard(err)
	}
	return hearing{c, r}, nil
}

// hearing is a connection whose words are clean, except for the standard output
// of a command: that is parsed.
type hearing struct {
	Conn
	r *Runner
}

func (h hearing) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	if onLine := cmd.OnLine; onLine != nil {
		cmd.OnLine = func(line string) { onLine(h.r.clean(line)) }
	}
	res, err := h.Conn.Exec(ctx, cmd)
	res.Stderr = []byte(h.r.clean(string(res.Stderr)))
	return res, h.r.heard(err)
}

func (h hearing) Upload(ctx context.Context, files []remote.File) error {
	return h.r.heard(h.Conn.Upload(ctx, files))
}

// heardError is an error that may quote a node.
type heardError struct {
	error
	text string
}

func (e heardError) Error() string { return e.text }
func (e heardError) Unwrap() error { return e.error }

// heard is err with a text that is clean.
func (r *Runner) heard(err error) error {
	if err == nil {
		return nil
	}
	if text := r.clean(err.Error()); text != err.Error() {
		return heardError{err, text}
	}
	return err
}

// tell cleans what a plan says of a node.
func (r *Runner) tell(n *NodePlan) {
	for i := range n.Changes {
		c := &n.Changes[i]
		c.Why, c.Diff = r.clean(c.Why), r.clean(c.Diff)
	}
	for i, s := range n.Notices {
		n.Notices[i] = r.clean(s)
	}
	var found Findings
	if errors.As(n.Err, &found) {
		for i, f := range found {
			found[i] = Finding{r.clean(f.Summary), r.clean(f.Hint)}
		}
	}
	n.Err = r.heard(n.Err)
}

// tellChecks cleans what checks say of nodes.
func (r *Runner) tellChecks(checks []Check) []Check {
	for i, c := range checks {
		checks[i].Detail, checks[i].Why, checks[i].Hint = r.clean(c.Detail), r.clean(c.Why), r.clean(c.Hint)
	}
	return checks
}

// differs says that a fact is not what was planned. A hash is not shown: that of
// a file with a secret tells whether a guess is right.
func differs(key, have, want string) string {
	planned := hash.FindString(want)
	words := func(s string) string {
		if s == "" {
			return "absent"
		}
		s = hash.ReplaceAllStringFunc(s, func(h string) string {
			if h == planned {
				return "the content planned"
			}
			return "another content"
		})
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%s is %s, should be %s", key, words(have), words(want))
}

var hash = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// maskContents hides the secrets in what was read of files for their diffs.
func maskContents(f Facts, changes []Change) {
	for _, c := range changes {
		if c.Write == nil || c.Write.Mask == nil {
			continue
		}
		if text, ok := f[old(c.Write.Path)]; ok {
			f[old(c.Write.Path)] = string(c.Write.Mask([]byte(text)))
		}
	}
}

// Format prints of a file what may be seen.
func (f File) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, fmt.Sprintf("%s %04o, %d bytes", f.Path, f.Perm(), len(f.Content)))
}

// Format prints of a record what may be seen.
func (r Record) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, strings.TrimSpace(fmt.Sprintf("%s of %s %s", r.Origin.File, r.Origin.Commit, r.Note)))
}
