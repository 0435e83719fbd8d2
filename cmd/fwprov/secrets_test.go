package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fwprov/inventories"
	"fwprov/provision"
	"fwprov/steps"
)

// given is a session on the guide's inventory with every kind of secret, and what
// it has printed.
func given(t *testing.T, o options) (s *session, printed func() string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pair.hcl")
	if err := os.WriteFile(file, inventories.Guide, 0o600); err != nil {
		t.Fatal(err)
	}
	w, stdout, stderr := testWorld(t)
	w.environ = []string{"HOME=" + t.TempDir(), "FWPROV_VAR_vrrp_password=Xq7mZr2k", sudoPasswordEnv + "=open sesame", agePassphraseEnv + "=open sesame"}
	o.sudoFD = -1
	s, err := open(t.Context(), w, o, []string{file})
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	t.Cleanup(s.end)
	return s, func() string { return stdout.String() + stderr.String() }
}

var theSecrets = []string{"Xq7mZr2k", "sesame", fmt.Sprintf("%x", "Xq7mZr2k"), fmt.Sprint([]byte("Xq7mZr2k")), fmt.Sprintf("%x", "sesame")}

func wantNone(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range theSecrets {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s shows %q: ...%s", what, secret, text[max(0, i-200):min(len(text), i+50)])
		}
	}
}

// Nothing that is at hand in a run shows a secret when it is printed.
func TestNothingPrintsASecret(t *testing.T) {
	s, _ := given(t, options{vars: map[string]string{"vrrp_password": "Xq7mZr2k"}})
	p := s.pairs[0]
	if p.VRRP.Password.Reveal() != "Xq7mZr2k" {
		t.Fatal("the inventory does not have the secret")
	}
	facts, ok := steps.Assume("debian12", p.Pair)
	if !ok {
		t.Fatal("nothing is known of debian12")
	}
	files := render(p, facts, true)
	var changes []provision.Change
	for _, step := range steps.For(p.Pair, p.Nodes[0]) {
		got, _ := step.Plan(facts) // preflight has findings
		changes = append(changes, got...)
	}
	secretFiles := 0
	for _, c := range changes {
		if c.Write != nil && strings.Contains(string(c.Write.Content), "Xq7mZr2k") {
			secretFiles++
		}
	}
	if secretFiles != 1 || len(files) == 0 {
		t.Fatalf("%d files with the secret", secretFiles)
	}
	p.runner.Record = &provision.Record{Source: p.Pair.Record()}
	a := &application{session: s}
	things := []any{s, s.w, s.o, &s.o, p, *p, p.Pair, *p.Pair, p.runner, s.trust, s.sudo, a, s.scr,
		s.w.ageKeys(t.Context(), s.o, false), changes, &provision.Plan{Nodes: []*provision.NodePlan{{Changes: changes}}}, p.runner.Record, *p.runner.Record}
	for _, n := range p.runner.Nodes {
		things = append(things, n, n.Steps)
	}
	for _, c := range changes {
		things = append(things, c, &c, c.Write)
		if c.Write != nil {
			things = append(things, *c.Write)
		}
	}
	for i, x := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			wantNone(t, fmt.Sprintf("%s of thing %d, a %T,", verb, i, x), fmt.Sprintf(verb, x))
		}
		if b, err := json.Marshal(x); err == nil {
			wantNone(t, fmt.Sprintf("JSON of thing %d, a %T,", i, x), string(b))
		}
	}
}

// Neither a plan nor the events and the log of an apply show it, for people or as
// JSON, even if a program on a node does.
func TestNoViewShowsASecret(t *testing.T) {
	for _, o := range []options{{verbose: true}, {json: true}, {json: true, verbose: true}} {
		s, printed := given(t, o)
		p := s.pairs[0]
		facts, _ := steps.Assume("debian12", p.Pair)
		plan := &provision.Plan{}
		for _, n := range p.Nodes {
			np := &provision.NodePlan{Name: n.Name}
			for _, step := range steps.For(p.Pair, n) {
				got, _ := step.Plan(facts)
				np.Changes = append(np.Changes, got...)
			}
			plan.Changes += len(np.Changes)
			plan.Nodes = append(plan.Nodes, np)
		}
		if err := s.showPlans([]*provision.Plan{plan}); err != nil {
			t.Fatal(err)
		}
		onShells(t, p)
		if o.json {
			p.runner.Emit = (&application{session: s}).jsonEvents(p)
		}
		plans := s.plan(t.Context())
		if plans[0].Err() != nil {
			t.Fatal(plans[0].Err())
		}
		if err := s.showPlans(plans); err != nil {
			t.Fatal(err)
		}
		_, err := p.runner.Apply(t.Context(), plans[0])
		if err == nil {
			t.Error("the bulb is not broken")
		} else {
			printError(s.scr.stderr(), s.scr.style, err)
		}
		out := printed()
		wantNone(t, fmt.Sprintf("%+v", o), out)
		if !strings.Contains(out, "(sensitive)") || !strings.Contains(out, "no bulb") || o.verbose != strings.Contains(out, "level=DEBUG") {
			t.Errorf("that is not all:\n%s", out)
		}
	}
}

// onShells makes the nodes of a pair folders of this machine, with a broken light
// that is called by the name of the secret.
func onShells(t *testing.T, p *pair) {
	t.Helper()
	dir := t.TempDir()
	for i, n := range p.runner.Nodes {
		file := filepath.Join(dir, n.Name, "light")
		for _, d := range []string{"run", "var/lib"} {
			if err := os.MkdirAll(filepath.Join(dir, n.Name, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(file, []byte("broken Xq7mZr2k\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.runner.Nodes[i].Steps = []provision.Step{light{file}}
	}
	p.runner.Dial = func(_ context.Context, node string, _ bool) (provision.Conn, error) {
		return shell{filepath.Join(dir, node)}, nil
	}
}
