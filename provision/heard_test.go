package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"fwprov/provision/remote"
)

const (
	heardSecret = "Xq7mZr2k"
	nasty       = "\x1b]0;owned\a" + heardSecret + "\u202e"
)

// talker is a step that repeats what the node says wherever it can, and has a
// file with a secret.
type talker struct{ fail bool }

func (talker) Name() string { return "talker" }

func (talker) Probe() Probe {
	return Probe{Files: []string{"/etc/secret.conf"}, Script: "cat /etc/said", Parse: func(out string, f Facts) error {
		f["said"] = strings.TrimSpace(out)
		return nil
	}}
}

func (t talker) Plan(f Facts) ([]Change, error) {
	if t.fail {
		return nil, Findings{{Summary: "it says " + f["said"], Hint: f["said"]}}
	}
	out := PlanFiles(f, "talker", secretFile())
	return append(out, Change{Step: "talker", Target: "it", Action: Run, Why: "says " + f["said"], Diff: "-" + f["said"] + "\r\n+x\n",
		Script: "echo /etc/secret.conf line 3: $(cat /etc/said)\nexit 3"}), nil
}

func (talker) Notices(f Facts) []string { return []string{"it says " + f["said"]} }
func (talker) VerifyProbe() Probe       { return talker{}.Probe() }
func (talker) Verify(nodes map[string]Facts) []Check {
	return []Check{{Name: "talk", Detail: nodes["fw01"]["said"], Hint: nodes["fw01"]["said"]}}
}
func (talker) Prepares() {}

func secretFile() File {
	mask := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("old"+heardSecret), []byte("(sensitive)")) }
	return File{Path: "/etc/secret.conf", Content: []byte("pass " + heardSecret + "\n"), Mode: 0o600, Shown: []byte("pass (sensitive)\n"), Mask: mask}
}

// clean fails unless a text has neither a secret nor a control character.
func wantClean(t *testing.T, what, text string) {
	t.Helper()
	for _, bad := range []string{heardSecret, fmt.Sprintf("%x", heardSecret), fmt.Sprint([]byte(heardSecret)), "\x1b", "\a", "\u202e", "\r", `\u001b`,
		Hash(secretFile().Content), Hash([]byte("pass old" + heardSecret + "\n"))} {
		if strings.Contains(text, bad) {
			t.Errorf("%s has %q: %.2000s", what, bad, text)
		}
	}
}

// Wherever words of a node can come out, they come out clean.
func TestWhatNodesSayIsClean(t *testing.T) {
	m := newMachine(t)
	m.write(t, "/etc/said", nasty+"\n")
	m.write(t, "/etc/secret.conf", "pass old"+heardSecret+"\n")
	for _, fail := range []bool{false, true} {
		var events []Event
		var log bytes.Buffer
		r := runner(map[string]*machine{"fw01": m}, func(string) []Step { return []Step{talker{fail}} }, &events)
		r.Redact = func(s string) string { return strings.ReplaceAll(s, heardSecret, "(sensitive)") }
		r.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		p := r.Plan(context.Background())
		n := p.Nodes[0]
		if !fail {
			if n.Err != nil || len(n.Changes) != 2 || n.Changes[0].Diff != "--- /etc/secret.conf\n+++ /etc/secret.conf\n@@ -1,1 +1,1 @@\n-pass (sensitive)\n+pass (sensitive)\n" &&
				n.Changes[0].Diff != "(only sensitive values differ)\n" {
				t.Errorf("planned %v %v", n.Err, n.Changes)
			}
			if !strings.Contains(n.Changes[1].Why, "(sensitive)") || strings.Count(n.Changes[1].Diff, "\n") != 2 {
				t.Errorf("nothing is left of it: %+v", n.Changes[1])
			}
		}
		h, err := r.Verify(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		sum, err := r.Apply(context.Background(), p)
		if !fail && (err == nil || !strings.Contains(err.Error(), "line 3: ") || sum.Failed != 1) {
			t.Errorf("apply: %v", err)
		}
		for what, x := range map[string]any{"events": events, "changes": n.Changes, "notices": n.Notices, "health": h, "facts of changes": nil} {
			if what == "changes" { // what they were computed from stays on the nodes: see Exact
				for i := range n.Changes {
					n.Changes[i].From, n.Changes[i].Makes = nil, nil
				}
			}
			b, err := json.Marshal(x)
			if err != nil {
				t.Fatal(err)
			}
			wantClean(t, "JSON of "+what, string(b))
		}
		wantClean(t, "error", fmt.Sprint(err, n.Err))
		wantClean(t, "log", log.String())
		for _, verb := range []string{"%v", "%+v", "%s"} {
			wantClean(t, "print of the file", fmt.Sprintf(verb, []any{secretFile(), n.Changes, &Record{Source: []byte(heardSecret)}, remote.File{Content: []byte(heardSecret)}}))
		}
		for k, v := range n.facts {
			if strings.HasPrefix(k, old("")) && strings.Contains(v, heardSecret) {
				t.Errorf("the plan keeps the secret as %s", k)
			}
		}
	}
}

// babbler is a connection all of whose words are nasty.
type babbler struct{}

func (babbler) Exec(context.Context, remote.Command) (remote.Result, error) {
	return remote.Result{Code: 1, Stderr: []byte(nasty)}, nil
}
func (babbler) Upload(context.Context, []remote.File) error { return errors.New(nasty) }
func (babbler) Rides() string                               { return "" }
func (babbler) Close() error                                { return nil }

func TestConnectionsAreClean(t *testing.T) {
	r := runner(map[string]*machine{"fw01": newMachine(t)}, func(string) []Step { return nil }, nil)
	r.Redact = func(s string) string { return strings.ReplaceAll(s, heardSecret, "(sensitive)") }
	sentinel := errors.New(nasty)
	r.Dial = func(context.Context, string, bool) (Conn, error) { return nil, fmt.Errorf("dial: %w", sentinel) }
	_, err := r.exec(context.Background(), "fw01", "try", fileTimeout, remote.Command{Script: "x"})
	if wantClean(t, "dial", err.Error()); !errors.Is(err, sentinel) {
		t.Error("the cause is lost")
	}
	r.Dial = func(context.Context, string, bool) (Conn, error) { return babbler{}, nil }
	_, err = r.exec(context.Background(), "fw01", "try", fileTimeout, remote.Command{Script: "x"})
	if wantClean(t, "exec", err.Error()); !strings.Contains(err.Error(), "(sensitive)") {
		t.Error(err)
	}
	c, err := r.conn(context.Background(), "fw01")
	if err != nil {
		t.Fatal(err)
	}
	wantClean(t, "upload", c.Upload(context.Background(), nil).Error())
	res, _ := c.Exec(context.Background(), remote.Command{})
	wantClean(t, "standard error", string(res.Stderr))
}

func TestDiffers(t *testing.T) {
	a, b := Hash([]byte("a")), Hash([]byte("b"))
	for _, tt := range []struct{ have, want, say string }{
		{"", "yes", `k is absent, should be "yes"`},
		{"no", "", `k is "no", should be absent`},
		{a + " 0644 0:0", b + " 0600 0:0", `k is "another content 0644 0:0", should be "the content planned 0600 0:0"`},
		{a + " 0644 0:0", a + " 0600 0:0", `k is "the content planned 0644 0:0", should be "the content planned 0600 0:0"`},
		{a, "", `k is "another content", should be absent`},
	} {
		if got := differs("k", tt.have, tt.want); got != tt.say {
			t.Errorf("got %s, want %s", got, tt.say)
		}
	}
}

func TestBounded(t *testing.T) {
	long := strings.Repeat("é", 4000)
	for in, want := range map[string]string{
		"short\n":          "short\n",
		long + "\nshort\n": strings.Repeat("é", 2048) + " [3904 bytes left out]\nshort\n",
		"x" + long:         "x" + strings.Repeat("é", 2047) + " [3905 bytes left out]",
	} {
		if got := bounded(in); got != want {
			t.Errorf("%.20q becomes %d bytes, want %d: ...%s", in, len(got), len(want), got[len(got)-40:])
		}
	}
	endless := strings.Repeat("line\n", 1<<20)
	if got := bounded(endless); len(got) > maxText+maxLine || !strings.HasSuffix(got, "bytes left out]\n") {
		t.Errorf("%d bytes are %d", len(endless), len(got))
	}
}
