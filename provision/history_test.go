package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fwprov/provision/remote"
)

// recording makes a runner leave generations. Every run has an ID of its own.
func recording(r *Runner, id, source string) *Runner {
	r.ID, r.Operator = id, "alice from admin1"
	r.Record = &Record{Source: []byte(source), Origin: Origin{File: "/x/pair.hcl", SHA256: Hash([]byte("text")), Commit: "abc", Dirty: true}, Tool: "v1", Note: "a note", Partial: []string{"--only web"}}
	return r
}

// files lists what is below a folder of a machine.
func (m *machine) files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	entries, err := os.ReadDir(m.root + dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestHistory(t *testing.T) {
	m1, m2 := newMachine(t), newMachine(t)
	machines := map[string]*machine{"fw01": m1, "fw02": m2}
	content := "first\n"
	steps := func(node string) []Step {
		if node == "fw02" {
			return []Step{web{name: "web"}} // nothing to be changed
		}
		return []Step{web{name: "web", files: []File{{Path: "/etc/a.conf", Content: []byte(content), Mode: 0o600}}}}
	}
	apply := func(id, source string) *Runner {
		t.Helper()
		r := recording(runner(machines, steps, nil), id, source)
		if _, err := r.Apply(context.Background(), r.Plan(context.Background())); err != nil {
			t.Fatal(err)
		}
		return r
	}
	apply("run1", "one\n")
	content = "second\n"
	r := apply("run2", "two\n")
	apply("run3", "two\n") // changes nothing

	found, err := r.History(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for node, changes := range map[string][]Recorded{"fw01": {{"web", "/etc/a.conf", Update, ""}}, "fw02": {}} {
		g := found[node]
		if len(g) != 2 {
			t.Fatalf("%s has %d generations, want 2", node, len(g))
		}
		want := Generation{N: 2, Run: "run2", Time: time.Unix(0, 0).UTC(), Operator: "alice from admin1", Origin: r.Record.Origin, Tool: "v1",
			Note: "a note", Partial: []string{"--only web"}, Changes: changes}
		got := g[1]
		if got.digest != Hash([]byte("two\n")) || got.SameSource(g[0]) {
			t.Errorf("%s: digest %s", node, got.digest)
		}
		got.digest = ""
		if d := cmp.Diff(want, got, cmp.AllowUnexported(Generation{})); d != "" {
			t.Errorf("%s: %s", node, d)
		}
		if src, err := r.Source(context.Background(), node, g[0]); err != nil || string(src) != "one\n" {
			t.Errorf("%s: source %q, %v", node, src, err)
		}
	}
	if got := m1.read(t, historyDir+"/0001/files"+m1.root+"/etc/a.conf"); got != "first\n" {
		t.Errorf("the file of generation 1 is %q", got)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, "/0001": 0o700, "/0001/source": 0o600, "/0001/meta.json": 0o600} {
		if info, err := os.Stat(m1.root + historyDir + path); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s: %v, %v", path, info.Mode(), err)
		}
	}
	if d := cmp.Diff([]string{"0001", "0002"}, m2.files(t, historyDir)); d != "" {
		t.Error(d)
	}
	changed := found["fw01"][0]
	m1.write(t, historyDir+"/0001/source", "forged")
	if _, err := r.Source(context.Background(), "fw01", changed); err == nil {
		t.Error("a source that has changed since is taken")
	}
}

// TestNoHistoryOfWhatWasNotKept: neither a node that goes back nor those that come
// after it have a generation.
func TestNoHistoryOfWhatWasNotKept(t *testing.T) {
	m1, m2 := guardMachine(t), guardMachine(t)
	steps := guardSteps(switchStep{fail: true})
	r := recording(runner(map[string]*machine{"fw01": m1, "fw02": m2}, steps, nil), "run1", "one")
	r.Roles = func(map[string]Facts) map[string]Role { return map[string]Role{"fw01": Standby, "fw02": Active} }
	sum, err := r.Apply(context.Background(), r.Plan(context.Background()))
	if err == nil || !sum.RolledBack {
		t.Fatalf("%+v, %v", sum, err)
	}
	for node, m := range map[string]*machine{"fw01": m1, "fw02": m2} {
		if got := m.files(t, historyDir); len(got) > 0 {
			t.Errorf("%s has %q in its history", node, got)
		}
	}
}

// TestGoingBackTakesTheGenerationAway: the node goes back after its generation was
// written and before it was confirmed.
func TestGoingBackTakesTheGenerationAway(t *testing.T) {
	m := guardMachine(t)
	r := recording(runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil), "run1", "one")
	p := r.Plan(context.Background())
	j, err := r.openJournal(context.Background(), p.Nodes)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, Manifest, "")
	m.hold(t, r.ID)
	g := newGuard(r.ID, p.Nodes[0])
	sh := func(script string) string {
		t.Helper()
		res, err := m.Exec(context.Background(), remote.Command{Script: script})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %s", res.Code, res.Stderr)
	}
	if got := sh(g.armScript(time.Minute)); !strings.HasPrefix(got, "0 ") {
		t.Fatal(got)
	}
	if got := sh(scriptHead + j.script(p.Nodes[0])); got != "0 " {
		t.Fatal(got)
	}
	if d := cmp.Diff([]string{"0001"}, m.files(t, historyDir)); d != "" {
		t.Fatal(d)
	}
	sh(g.backScript())
	if got := m.files(t, historyDir); len(got) > 0 {
		t.Errorf("after going back %q is in the history", got)
	}

	// The other way round: it would go back while it is being confirmed.
	if j, err = r.openJournal(context.Background(), p.Nodes); err != nil {
		t.Fatal(err)
	}
	if got := sh(g.armScript(time.Minute)); !strings.HasPrefix(got, "0 ") {
		t.Fatal(got)
	}
	meanwhile := j.script(p.Nodes[0]) + "sh " + rollbackSh + " now " + r.ID + " >/dev/null 2>&1 9>&- &\nsleep 0.3\n"
	if got := sh(g.disarmScript(meanwhile, "")); !strings.HasPrefix(got, "0 ") {
		t.Error(got)
	}
	if d := cmp.Diff([]string{"0001"}, m.files(t, historyDir)); d != "" {
		t.Errorf("of a node that was confirmed: %s", d)
	}
}

// TestGenerationsCountOn: the number is the next of all nodes, and the last 20 stay.
func TestGenerationsCountOn(t *testing.T) {
	m1, m2 := newMachine(t), newMachine(t)
	for i := 1; i <= 30; i++ {
		if err := os.MkdirAll(fmt.Sprintf("%s%s/%04d", m2.root, historyDir, i), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	steps := func(string) []Step {
		return []Step{web{name: "web", files: []File{{Path: "/etc/a.conf", Content: []byte("a\n")}}}}
	}
	r := recording(runner(map[string]*machine{"fw01": m1, "fw02": m2}, steps, nil), "run1", "one")
	if _, err := r.Apply(context.Background(), r.Plan(context.Background())); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"0031"}, m1.files(t, historyDir)); d != "" {
		t.Error(d)
	}
	if got := m2.files(t, historyDir); len(got) != keptBefore || got[0] != "0012" || got[19] != "0031" {
		t.Errorf("%d generations stay: %q", len(got), got)
	}
}

// TestLockRemovesWhatIsUnfinished: a run that was killed leaves nothing behind that
// the next one does not remove.
func TestLockRemovesWhatIsUnfinished(t *testing.T) {
	m := newMachine(t)
	if err := os.MkdirAll(m.root+newGeneration, 0o700); err != nil {
		t.Fatal(err)
	}
	r := runner(map[string]*machine{"fw01": m}, func(string) []Step { return nil }, nil)
	if err := r.Lock(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := m.files(t, historyDir); len(got) > 0 {
		t.Errorf("%q is left", got)
	}
}

// TestLockWaitsForPartOfASecond: flock does not know of any.
func TestLockWaitsForPartOfASecond(t *testing.T) {
	m := newMachine(t)
	first := runner(map[string]*machine{"fw01": m}, func(string) []Step { return nil }, nil)
	first.Operator = "alice"
	if err := first.Lock(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	second := runner(map[string]*machine{"fw01": m}, func(string) []Step { return nil }, nil)
	second.ID = "another"
	waited := make(chan struct{})
	second.Emit = func(e Event) {
		if e.Event == Waiting {
			close(waited)
		}
	}
	freed := make(chan struct{})
	go func() {
		defer close(freed)
		<-waited
		first.Close()
	}()
	defer second.Close()
	if err := second.Lock(context.Background(), 500*time.Millisecond); err != nil {
		t.Error(err)
	}
	<-freed
}

func TestParseHistory(t *testing.T) {
	digest := strings.Repeat("a", 64)
	one := "\n@m 0001 " + digest + "\n{\"n\":1,\"run\":\"r\",\"changes\":[]}"
	for _, c := range []struct {
		out  string
		n    int
		fail string
	}{
		{"\n@m end\n", 0, ""},
		{one + "\n@m end\n", 1, ""},
		{one, 0, "incomplete"},
		{"\n@m 0010 " + digest + "\n{\"n\":10,\"run\":\"r\"}" + one + "\n@m end\n", 2, ""},
		{"\n@m 0002 " + digest + "\n{\"n\":1,\"run\":\"r\"}" + one + "\n@m end\n", 1, "generation 0002"},
		{"\n@m x\x1b " + digest + "\n{}" + one + "\n@m end\n", 1, "generation x\ufffd"},
		{"\n@m 0002 " + digest + "\n{\"n\":" + one + "\n@m end\n", 1, "generation 0002"},
	} {
		got, err := parseHistory("m", c.out)
		if len(got) != c.n || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%q: %d generations, %v", c.out, len(got), err)
		}
		if len(got) == 2 && got[0].N > got[1].N {
			t.Errorf("%q: not in order", c.out)
		}
	}
}

func TestHistoryScriptsParse(t *testing.T) {
	posix(t, openScript)
	posix(t, pruneScript)
	posix(t, historyScript("m"))
	r := recording(runner(nil, nil, nil), "run1", "")
	posix(t, (&journal{r: r, number: 1}).script(&NodePlan{Changes: []Change{{Target: "/etc/it's $x"}}}))
}

func FuzzParseHistory(f *testing.F) {
	f.Add("\n@m 0001 " + strings.Repeat("a", 64) + "\n{\"n\":1,\"run\":\"r\",\"time\":\"2026-11-23T00:00:00Z\"}\n@m end\n")
	f.Add("\n@m 1")
	f.Fuzz(func(t *testing.T, out string) {
		got, err := parseHistory("m", out)
		for i, g := range got {
			if g.N < 1 || i > 0 && g.N < got[i-1].N {
				t.Errorf("generation %d after %v: %v", g.N, got[:i], err)
			}
		}
		_, _ = lastGeneration(out)
	})
}

// TestHistoryWithoutWhatIsGone: a file that somebody has removed, and that the run
// is not to restore, is no reason to go back.
func TestHistoryWithoutWhatIsGone(t *testing.T) {
	m := newMachine(t)
	content := "first\n"
	steps := func(string) []Step {
		return []Step{
			web{name: "web", files: []File{{Path: "/etc/a.conf", Content: []byte(content), Mode: 0o600}}},
			web{name: "other", files: []File{{Path: "/etc/b.conf", Content: []byte("b\n"), Mode: 0o600}}},
		}
	}
	machines := map[string]*machine{"fw01": m}
	r := recording(runner(machines, steps, nil), "run1", "one\n")
	if _, err := r.Apply(context.Background(), r.Plan(context.Background())); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(m.root + "/etc/b.conf"); err != nil {
		t.Fatal(err)
	}
	content = "second\n"
	r = recording(runner(machines, steps, nil), "run2", "two\n")
	r.Wanted = func(step string) bool { return step == "web" }
	if _, err := r.Apply(context.Background(), r.Plan(context.Background())); err != nil {
		t.Fatal(err)
	}
	if got := m.read(t, historyDir+"/0002/files"+m.root+"/etc/a.conf"); got != "second\n" {
		t.Errorf("the file of generation 2 is %q", got)
	}
}

// TestWhatCannotBeWrittenIsNoted: a full disk ends the script that writes a
// generation, and the one that writes the manifest.
func TestWhatCannotBeWrittenIsNoted(t *testing.T) {
	m := newMachine(t)
	r := recording(runner(map[string]*machine{"fw01": m}, func(string) []Step { return nil }, nil), "run1", "one\n")
	manifest := "file\t/etc/a.conf\tweb\n"
	for name, script := range map[string]string{
		"history":  (&journal{r: r, number: 1}).script(&NodePlan{}),
		"manifest": "alive() { :; }\n" + stepScript("mark", batch{}, nil, &manifest),
	} {
		for _, full := range []string{"", "cat() { return 1; }\n"} {
			dir := t.TempDir()
			if err := os.MkdirAll(dir+newGeneration, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+Manifest, []byte(manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // what was not answered is tried again
				out, err := exec.Command("sh", "-c", full+strings.ReplaceAll(script, StateDir, dir+StateDir)).CombinedOutput()
				if failed := err != nil; failed != (full != "") {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
			}
		}
	}
}
