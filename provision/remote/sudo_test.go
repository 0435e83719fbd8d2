package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// fakeSudo does what sudo does, as far as it matters here: it writes down what
// it was asked to run, wants the password if PASSWORD is not empty, guesses
// three times, and closes all files but the first three.
const fakeSudo = `#!/bin/sh
echo "$*" >>DIR/journal
prompt=
while :; do
	case $1 in
	-n) n=1 ;;
	-A) n= ;;
	-p) prompt=$2; shift ;;
	--) shift; break ;;
	*) echo "sudo: what is $1?" >&2; exit 1 ;;
	esac
	shift
done
read -r want <DIR/password
if [ -n "$want" ]; then
	[ -z "$n" ] || { echo 'sudo: a password is required' >&2; exit 1; }
	for try in 1 2 3; do
		IFS= read -r got <<END
$("$SUDO_ASKPASS" "$prompt" 3<&- 4<&-)
END
		echo "guess $got" >>DIR/guesses
		[ "$got" != "$want" ] || exec "$@" 3<&- 4<&-
		[ -n "$got" ] || { echo 'sudo: no password was provided' >&2; break; }
		echo 'Sorry, try again.' >&2
	done
	echo 'sudo: 1 incorrect password attempt' >&2
	exit 1
fi
exec "$@" 3<&- 4<&-
`

// sudoers makes a folder in which sudo is the fake that wants a password.
func sudoers(t *testing.T, password string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write(t, filepath.Join(dir, "password"), password+"\n")
	write(t, filepath.Join(dir, "sudo"), strings.ReplaceAll(fakeSudo, "DIR", dir))
	if err := os.Chmod(filepath.Join(dir, "sudo"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}

// A script is run whole, with its own standard input, and nothing of it or of
// the password is in an argument of sudo.
func TestSudo(t *testing.T) {
	long := strings.Repeat("# it's long !\\n\n", 12000)
	for name, c := range map[string]struct {
		cmd     Command
		wants   string    // what sudo wants
		has     *Password // what it gets
		execs   int
		journal int
		stdout  string
	}{
		"without a password": {Command{Script: "# a comment\necho 'it''s' \"$#\" \\\\\nwc -c"}, "", nil, 1, 1, "its 0 \\\n0\n"},
		"standard input":     {Command{Script: "read -r a\necho \"$a\"\ncat", Stdin: strings.NewReader("one\ntwo\n")}, "", nil, 1, 1, "one\ntwo\n"},
		"a long script":      {Command{Script: long + "cat\necho end"}, "", nil, 1, 1, "end\n"},
		"a private script":   {Command{Script: "cat\necho end", Private: true}, "", nil, 1, 1, "end\n"},

		"a password that is not wanted":  {Command{Script: "cat\necho end"}, "", NewPassword("open sesame"), 1, 1, "end\n"},
		"a password":                     {Command{Script: "cat\necho end"}, "a\\'$b \"!", NewPassword("a\\'$b \"!"), 1, 1, "end\n"},
		"a password and standard input":  {Command{Script: "cat\necho end", Stdin: strings.NewReader("one\n")}, "x", NewPassword("x"), 1, 1, "one\nend\n"},
		"a password and a long script":   {Command{Script: long + "echo end"}, "x", NewPassword("x"), 1, 1, "end\n"},
		"somebody who need not be asked": {Command{Script: "echo end"}, "", asked(t, "", 0), 1, 1, "end\n"},
		"somebody who is asked":          {Command{Script: "echo end"}, "x", asked(t, "x", 1), 2, 2, "end\n"},
		"asked before standard input":    {Command{Script: "cat", Stdin: strings.NewReader("one\n")}, "x", asked(t, "x", 1), 2, 2, "one\n"},
		"not asked before standard input": {
			Command{Script: "cat", Stdin: strings.NewReader("one\n")}, "", asked(t, "x", 0), 2, 2, "one\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sudoers(t, c.wants)
			bubble(t, func(t *testing.T, st *site) {
				st.target.Sudo, st.opts.Password = true, c.has
				client := st.connect(t)
				defer client.Close()
				res, err := client.Exec(t.Context(), c.cmd)
				if err != nil || string(res.Stdout) != c.stdout || res.Code != 0 {
					t.Errorf("got %.80q, %q, %d, %v", res.Stdout, res.Stderr, res.Code, err)
				}
				if len(st.lines) != c.execs {
					t.Errorf("%d commands, want %d", len(st.lines), c.execs)
				}
				for _, line := range st.lines {
					if c.wants != "" && len(c.wants) > 2 && strings.Contains(line, c.wants) {
						t.Errorf("the command has the password in it: %s", line)
					}
				}
			})
			log := linesOf(t, dir+"/journal")
			if len(log) != c.journal {
				t.Errorf("sudo was called %d times, want %d: %q", len(log), c.journal, log)
			}
			for _, line := range log {
				if !strings.HasSuffix(line, ")\"") || len(line) > 80 {
					t.Errorf("the journal has more than a fixed text: %.200s", line)
				}
			}
		})
	}
}

// A sudo that wants no password does not wait for it: however long it takes to come, it
// is not taken for the script.
func TestPasswordThatIsNotWanted(t *testing.T) {
	dir := sudoers(t, "")
	head, err := exec.LookPath("head")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "head"), fmt.Sprintf("#!/bin/sh\n[ $2 != %d ] || sleep 0.3\nexec %s \"$@\"\n", passwordBlock, head))
	if err := os.Chmod(filepath.Join(dir, "head"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "echo sesame"
	line, stdin, err := (&Client{sudo: true}).invocation(Command{Script: "cat\necho end"}, &text)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Stdin = stdin
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "end\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// A script whose end does not arrive is not begun.
func TestCutScript(t *testing.T) {
	script := "cat <<'X'\na { b\nX\nif :; then\n\techo begun\nfi\nf() {\n\techo begun\n}\nf\necho begun"
	for _, c := range []*Client{{}, {sudo: true}} {
		sudoers(t, "")
		line, stdin, err := c.invocation(Command{Script: script, Private: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(stdin)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(text) - 2 { // the last newlines do not matter
			cmd := exec.Command("/bin/sh", "-c", line)
			cmd.Stdin = bytes.NewReader(text[:n])
			if out, err := cmd.Output(); n > 0 && err == nil || len(out) > 0 {
				t.Fatalf("of %d bytes %d arrived, and it printed %q, %v", len(text), n, out, err)
			}
		}
	}
}

// asked is a password somebody is asked for, so many times.
func asked(t *testing.T, answer string, times int) *Password {
	n := 0
	t.Cleanup(func() {
		if n != times {
			t.Errorf("asked %d times, want %d", n, times)
		}
	})
	return AskPassword(func(context.Context) (string, error) { n++; return answer, nil })
}

// A wrong password is tried once on each node, whatever else is run there.
func TestWrongSudoPassword(t *testing.T) {
	dir := sudoers(t, "right")
	for name, p := range map[string]*Password{"given": NewPassword("wrong"), "asked for": asked(t, "wrong", 1)} {
		os.Remove(dir + "/guesses")
		bubble(t, func(t *testing.T, st *site) {
			st.target.Sudo, st.opts.Password = true, p
			for range 2 {
				client := st.connect(t)
				for range 2 {
					_, err := client.Exec(t.Context(), Command{Script: "echo 1\necho 2\necho 3"})
					wantError(t, err, "sudo does not accept the password that was given for all nodes")
				}
				client.Close()
			}
		})
		if got := linesOf(t, dir+"/guesses"); strings.Join(got, ",") != "guess wrong,guess " {
			t.Errorf("%s: %q, want one guess and then the end", name, got)
		}
	}
}

func TestNobodyToAskForSudo(t *testing.T) {
	dir := sudoers(t, "right")
	for name, c := range map[string]struct {
		has  *Password
		want string
	}{
		"nobody":     {nil, "sudo: a password is required (put it into FWPROV_SUDO_PASSWORD"},
		"no answer":  {AskPassword(func(context.Context) (string, error) { return "", errors.New("there was no answer") }), "ask for the password of sudo: there was no answer"},
		"empty":      {NewPassword(""), "one line of 1 to 1023 characters"},
		"two lines":  {NewPassword("a\nb"), "one line of 1 to 1023 characters"},
		"a long one": {NewPassword(strings.Repeat("x", 1024)), "one line of 1 to 1023 characters"},
	} {
		bubble(t, func(t *testing.T, st *site) {
			st.target.Sudo, st.opts.Password = true, c.has
			client := st.connect(t)
			defer client.Close()
			_, err := client.Exec(t.Context(), Command{Script: "echo 1"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
		})
	}
	if got := linesOf(t, dir+"/guesses"); len(got) > 0 {
		t.Errorf("guessed: %q", got)
	}
}

// The time that a person takes is not waited for the node, but an interrupt ends
// the wait.
func TestTimeToAnswer(t *testing.T) {
	sudoers(t, "x")
	bubble(t, func(t *testing.T, st *site) {
		slow := AskPassword(func(context.Context) (string, error) { time.Sleep(5 * time.Minute); return "x", nil })
		st.target.Sudo, st.opts.Password = true, slow
		client := st.connect(t)
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res, err := client.Exec(ctx, Command{Script: "echo end"})
		if err != nil || string(res.Stdout) != "end\n" {
			t.Errorf("got %q, %v", res.Stdout, err)
		}
	})
	bubble(t, func(t *testing.T, st *site) {
		ctx, cancel := context.WithCancel(t.Context())
		st.target.Sudo = true
		st.opts.Password = AskPassword(func(context.Context) (string, error) { cancel(); return "x", nil })
		client := st.connect(t)
		defer client.Close()
		if _, err := client.Exec(ctx, Command{Script: "echo end"}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// What is promised: one round trip more for a password, and none without.
func TestSudoRoundTrips(t *testing.T) {
	script := "cat\n" + strings.Repeat("# a comment\n", 500) + "echo done"
	for name, c := range map[string]struct {
		wants string
		has   *Password
		want  float64
	}{
		"without a password": {"", nil, 9},
		"with a password":    {"x", NewPassword("x"), 10},
	} {
		t.Run(name, func(t *testing.T) {
			sudoers(t, c.wants)
			bubble(t, func(t *testing.T, st *site) {
				st.target.Sudo, st.opts.Password = true, c.has
				if c.has == nil {
					// The one in memory would wait for the end of a standard input that there is not.
					st.exec = func(_ *server, line string, ch ssh.Channel) int {
						out, err := exec.Command("/bin/sh", "-c", line).Output()
						if err != nil {
							return 1
						}
						ch.Write(out)
						return 0
					}
				}
				begin := time.Now()
				client := st.connect(t)
				res, err := client.Exec(t.Context(), Command{Script: script})
				if err != nil || string(res.Stdout) != "done\n" {
					t.Errorf("got %q, %q, %v", res.Stdout, res.Stderr, err)
				}
				client.Close()
				if got := trips(begin); got != c.want {
					t.Errorf("%v round trips, want %v", got, c.want)
				}
			})
		})
	}
}

// A password is in nothing that is printed of a connection's options.
func TestPasswordIsNotPrinted(t *testing.T) {
	o := Options{Password: NewPassword("open sesame")}
	if _, err := o.Password.now("fw01"); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, x := range []any{o, &o, o.Password, &Client{password: o.Password}} {
			if got := fmt.Sprintf(verb, x); strings.Contains(got, "sesame") || strings.Contains(got, fmt.Sprintf("%x", "sesame")) {
				t.Errorf("%s of %T: %s", verb, x, got)
			}
		}
	}
}

// Every login shell must hand on the script, and the password before it.
func TestSudoInEveryLoginShell(t *testing.T) {
	script := "# it's a comment!\nprintf '%s|' a 'b  c' \"$#\" \"d\\\\e\" '!!'\ncat"
	for sh, argv := range shells(t) {
		for name, c := range map[string]struct {
			cmd   Command
			wants string
			want  string
		}{
			"pipe":     {Command{Script: script}, "", `a|b  c|0|d\e|!!|`},
			"private":  {Command{Script: script, Private: true}, "", `a|b  c|0|d\e|!!|`},
			"stdin":    {Command{Script: script, Stdin: strings.NewReader("in")}, "", `a|b  c|0|d\e|!!|in`},
			"password": {Command{Script: script, Stdin: strings.NewReader("in")}, `it's "$x" \!`, `a|b  c|0|d\e|!!|in`},
		} {
			t.Run(sh+"/"+name, func(t *testing.T) {
				sudoers(t, c.wants)
				var password *string
				if c.wants != "" {
					password = &c.wants
				}
				line, stdin, err := (&Client{sudo: true}).invocation(c.cmd, password)
				if err != nil {
					t.Fatal(err)
				}
				var in []byte
				if stdin != nil {
					if in, err = io.ReadAll(stdin); err != nil {
						t.Fatal(err)
					}
				}
				if got := run(t, argv, line, string(in)); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		}
	}
}
