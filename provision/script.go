package provision

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// stepScript is the one command that carries out a batch. staged tells where the file of
// a change lies on the node. manifest is the new manifest, or nil if it does not change.
// Before and after every change a line is printed that followScript reads. The shell
// function alive, which a guard defines, is called before every change.
func stepScript(mark string, batch batch, staged map[string]string, manifest *string) string {
	var b strings.Builder
	b.WriteString("umask 022\n")
	owed := batch.owed
	for i, c := range batch.changes {
		var body strings.Builder
		if c.Write != nil {
			putFile(&body, *c.Write, staged[c.Write.Path], mark)
		}
		if c.Remove != "" {
			body.WriteString("rm -f -- " + Quote(c.Remove) + "\n")
		}
		var now bool
		if now, owed = owed.before(c); now {
			body.WriteString("systemctl daemon-reload\n")
		}
		body.WriteString(c.Script)
		fmt.Fprintf(&b, "alive\n(\nset -eu\n%s\n) </dev/null 2>&1\nrc=$?\nprintf '\\n@%s %d %%s\\n' $rc\n[ $rc -eq 0 ] || exit 1\n",
			strings.TrimRight(body.String(), "\n"), mark, i)
	}
	if batch.last && owed != (reload{}) {
		b.WriteString("systemctl daemon-reload\n")
	}
	if manifest != nil {
		b.WriteString("(\nset -eu\numask 077\nmkdir -p " + StateDir + "\ncat >" + Manifest + ".new <<'" + mark + "'\n" + *manifest +
			mark + "\nmv -f " + Manifest + ".new " + Manifest + "\n)\n[ $? -eq 0 ] || exit 1 # set -e does nothing before ||\n")
	}
	return b.String()
}

// reload is a daemon-reload that is owed. It takes a tenth of a second, so that one does
// for as many units as can be.
type reload struct {
	units bool // some were written or removed: before the next script
	links bool // some were enabled: systemd says of them what it knew before
}

// before tells whether a daemon-reload is due before the script of a change, and what is
// owed after it.
func (r reload) before(c Change) (now bool, after reload) {
	r.units = r.units || ofSystemd(c)
	if now = r.units && c.Script != ""; now {
		r = reload{}
	}
	r.links = r.links || c.Enables
	return now, r
}

// ofSystemd reports whether a change writes or removes a unit or a drop-in.
func ofSystemd(c Change) bool {
	p := c.Remove
	if c.Write != nil {
		p = c.Write.Path
	}
	return strings.HasPrefix(p, "/etc/systemd/system/")
}

// putFile copies a staged file next to its place, readable by nobody before it
// has its mode, and renames it: a reader sees the old file or the new one.
func putFile(b *strings.Builder, f File, staged, mark string) {
	dir, base := path.Split(f.Path)
	tmp := Quote(dir + "." + base + "." + mark)
	fmt.Fprintf(b, "[ -d %[1]s ] || mkdir -p -m 0755 %[1]s\n", Quote(path.Clean(dir)))
	fmt.Fprintf(b, "( umask 077; cp -- %s %s )\n", Quote(staged), tmp)
	fmt.Fprintf(b, "chown 0:0 %[1]s\nchmod %04[2]o %[1]s\n", tmp, f.Perm())
	fmt.Fprintf(b, "mv -f -- %s %s\n", tmp, Quote(f.Path))
	fmt.Fprintf(b, "! command -v restorecon >/dev/null || restorecon -- %s\n", Quote(f.Path))
}

// follower reads the lines a step's command prints as they come.
type follower struct {
	mark   string
	done   func(i int)       // change i is done
	output func(line string) // a line that a change printed
	tail   []string          // the last lines of the change in hand
	failed int               // the change that failed, -1
	code   int               // its exit status
}

// tailLines is how much of a failed command's output an error shows.
const tailLines = 12

func (f *follower) line(s string) {
	if rest, ok := strings.CutPrefix(s, "@"+f.mark+" "); ok {
		i, code, _ := strings.Cut(rest, " ")
		n, err1 := strconv.Atoi(i)
		rc, err2 := strconv.Atoi(code)
		if err1 != nil || err2 != nil {
			return
		}
		if rc != 0 {
			f.failed, f.code = n, rc
			return
		}
		f.tail = nil
		f.done(n)
		return
	}
	if s = strings.TrimRight(s, "\r"); s == "" {
		return
	}
	s = Printable(s)
	f.output(s)
	f.tail = append(f.tail, s)
	if len(f.tail) > tailLines {
		f.tail = f.tail[1:]
	}
}

// Printable makes a node's output harmless to a terminal: control characters, and
// those that change the direction of text.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return r
		case r < 0x20, r >= 0x7f && r < 0xa0, r == '\u061c', r == '\u200e', r == '\u200f', r == '\u2028', r == '\u2029', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return '\ufffd'
		}
		return r
	}, s)
}

// firstLines is the beginning of what a failed command said, for an error.
func firstLines(stderr []byte) string {
	s := strings.TrimSpace(Printable(string(stderr)))
	if s == "" {
		return ""
	}
	parts := strings.Split(s, "\n")
	if len(parts) > tailLines {
		parts = parts[:tailLines]
	}
	return ": " + strings.Join(parts, "\n  ")
}
