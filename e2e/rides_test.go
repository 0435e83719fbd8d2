package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// masters starts an ssh to each node whose connection others may share, as
// ControlMaster does for an operator. lives asks whether all are there.
func (r *rig) masters() (lives func() string) {
	r.t.Helper()
	conf := filepath.Join(r.lab.Home(), ".ssh", "config")
	before, err := os.ReadFile(conf)
	if err != nil {
		r.t.Fatal(err)
	}
	text := append(before[:len(before):len(before)], "    ControlPath "+r.lab.Home()+"/%C\n"...)
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(func() {
		cancel()
		if err := os.WriteFile(conf, before, 0o600); err != nil {
			r.t.Error(err)
		}
	})
	for _, n := range r.pair.Nodes {
		cmd := r.lab.AdminCommand(ctx, "ssh", "-F", conf, "-M", "-N", n.Outside.String())
		if err := cmd.Start(); err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // it was killed
	}
	lives = func() string {
		for _, n := range r.pair.Nodes {
			within, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := r.lab.AdminCommand(within, "ssh", "-F", conf, "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-O", "check", n.Outside.String()).Run()
			cancel()
			if err != nil {
				return n.Name + " has no master"
			}
		}
		return ""
	}
	r.eventually(20*time.Second, "the masters are there", lives)
	return lives
}

// masterShutOut has rules that shut out new connections of SSH, but not that of a
// master which is there: what only looks rides it, and a change is not confirmed
// by it.
func (r *rig) masterShutOut() {
	r.t.Run("with a master", func(t *testing.T) {
		r := r.with(t)
		lives := r.masters()
		before := map[string][2]int{}
		for _, n := range r.pair.Nodes {
			c, e := r.logins(n.Name)
			before[n.Name] = [2]int{c, e}
		}
		for _, args := range [][]string{{"plan", r.file}, {"apply", r.file}, {"verify", r.file, "--once"}} {
			if out, errs, code := r.run(nil, args...); code != 0 {
				t.Errorf("%s: exit %d\n%s%s", args[0], code, out, errs)
			}
		}
		for _, n := range r.pair.Nodes {
			c, e := r.logins(n.Name)
			if c != before[n.Name][0] || e != before[n.Name][1]+3 {
				t.Errorf("%s: %d logins and %d commands, want none and 3", n.Name, c-before[n.Name][0], e-before[n.Name][1])
			}
		}
		r.rulesShutOut()
		if wrong := lives(); wrong != "" {
			t.Errorf("afterwards %s", wrong)
		}
	})
}
