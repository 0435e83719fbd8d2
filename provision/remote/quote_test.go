package remote

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shells returns those login shells that this machine has; sh is always there.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, sh := range []string{"sh", "dash", "bash", "zsh", "csh", "bsd-csh", "tcsh", "fish"} {
		if path, err := exec.LookPath(sh); err == nil {
			found[sh] = []string{path, "-c"}
		} else if sh == "sh" {
			t.Fatal(err)
		}
	}
	if path, err := exec.LookPath("busybox"); err == nil {
		found["busybox"] = []string{path, "sh", "-c"}
	}
	return found
}

func run(t *testing.T, argv []string, line, stdin string) string {
	t.Helper()
	c := exec.Command(argv[0], append(argv[1:], line)...)
	c.Stdin = strings.NewReader(stdin)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8"}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, errs.String())
	}
	return out.String()
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":           `''`,
		"eth2.10":    `eth2.10`,
		"a b":        `'a b'`,
		"it's":       `'it'\''s'`,
		`a\b`:        `'a'\\'b'`,
		"!!":         `\!\!`,
		"$(reboot)":  `'$(reboot)'`,
		"~root":      `'~root'`,
		"=ls":        `'=ls'`,
		"x\n; y `z`": "'x\n; y `z`'",
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// Every login shell must hand the script to sh as it was written.
func TestCommandLineInEveryLoginShell(t *testing.T) {
	scripts := map[string]struct{ script, want string }{
		"one line":   {`printf '%s|' a 'b  c' "$#" "d\\e"`, `a|b  c|0|d\e|`},
		"quotes":     {`echo "it's" '"so"' '!!' \! '!x' '\'`, "it's \"so\" !! ! !x \\\n"},
		"lines":      {"# it's a comment!\nfor i in 1 2; do\n\tprintf '%s\\n' \"$i \\\\n !$#\"\ndone\n\n", "1 \\n !0\n2 \\n !0\n"},
		"heredoc":    {"cat <<'EOF'\na\\nb\\\n !! $x `y` ~ * ? [a] {b,c} ^d^e^ %1 ;&|\nEOF\ncat <<EOF\nz\nEOF", "a\\nb\\\n !! $x `y` ~ * ? [a] {b,c} ^d^e^ %1 ;&|\nz\n"},
		"utf-8":      {"echo 'žluťoučký\nkůň 馬'", "žluťoučký\nkůň 馬\n"},
		"long":       {strings.Repeat("x='!'\n: \"it's\\n\" ü # '!!\n", 2000) + "echo done", "done\n"},
		"very long":  {strings.Repeat("x='!'\n: \"it's\\n\" ü # '!!\n", 9000) + "cat\necho done", "done\n"},
		"no newline": {`x=` + strings.Repeat("a", 800) + `; echo ${#x}`, "800\n"},
	}
	for sh, argv := range shells(t) {
		for name, s := range scripts {
			t.Run(sh+"/"+name, func(t *testing.T) {
				line, stdin, err := commandLine(s.script, false, false)
				if err != nil {
					t.Fatal(err)
				}
				if got := run(t, argv, line, stdin); got != s.want {
					t.Errorf("got %q, want %q", got, s.want)
				}
			})
		}
	}
}

func TestCommandLineSudo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\necho \"$1 $2 $3\"\nshift 2\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, script := range []string{"echo 'a  b'", "echo 'a  b' |\ncat", strings.Repeat("# long\n", 30000) + "echo 'a  b'"} {
		line, stdin, err := commandLine(script, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := run(t, []string{"/bin/sh", "-c"}, line, stdin), "-n -- sh\na  b\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCommandLineLimits(t *testing.T) {
	const overhead = len("exec sh -c ")
	line, stdin, err := commandLine(strings.Repeat("x", maxCommand-overhead), false, true)
	if err != nil || stdin != "" || len(line) != maxCommand {
		t.Errorf("a command of the greatest length: %d bytes, stdin %q, %v", len(line), stdin, err)
	}
	if _, _, err := commandLine(strings.Repeat("x", maxCommand-overhead+1), false, true); err == nil {
		t.Error("a command that is too long was taken although its stdin is in use")
	}
	line, stdin, err = commandLine(strings.Repeat("x", maxCommand-overhead+1), false, false)
	if err != nil || line != "exec sh -s" || len(stdin) < maxCommand-overhead {
		t.Errorf("a long command: %q, %d bytes of stdin, %v", line, len(stdin), err)
	}
	if _, _, err := commandLine("a\x00b", false, false); err == nil {
		t.Error("a NUL was taken")
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "it's", "\\", "!", "a\nb", "$x`y`\"", "-n", "\xff\x80", "'\\'!'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\x00") || len(s) > 60000 {
			return
		}
		out, err := exec.Command("sh", "-c", "printf %s "+Quote(s)).Output()
		if err != nil || string(out) != s {
			t.Fatalf("Quote(%q) = %s came out as %q, %v", s, Quote(s), out, err)
		}
		// As a script inside a command line, with and without newlines.
		for _, script := range []string{"printf %s " + Quote(s), "printf %s \\\n" + Quote(s)} {
			line, _, err := commandLine(script, false, true)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("sh", "-c", line).Output(); err != nil || string(out) != s {
				t.Fatalf("%q: %s came out as %q, %v", s, line, out, err)
			}
		}
	})
}
