package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// checkers runs TestCheckers of package steps on a node, which has the daemons:
// the files of generated inventories, of all sizes, pass the daemons' own
// checkers.
func (r *rig) checkers() {
	r.t.Helper()
	program := filepath.Join(r.t.TempDir(), "steps.test")
	build := exec.Command("go", "test", "-c", "-o", program, "fwprov/steps")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("build the tests of package steps: %v\n%s", err, out)
	}
	node := r.pair.Nodes[0].Name
	r.copy(program, node, "/root/steps.test")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	res, err := r.lab.Exec(ctx, node, "/root/steps.test", "-test.run=^TestCheckers$", "-test.v")
	if err != nil || res.Code != 0 || !strings.Contains(res.Stdout, "--- PASS: TestCheckers (") {
		r.t.Errorf("the checkers on %s: %v\n%s%s", node, err, res.Stdout, res.Stderr)
	}
}

// copy puts a program on a node.
func (r *rig) copy(from, node, to string) {
	r.t.Helper()
	f, err := os.Open(from)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd, err := r.lab.Command(ctx, node, "sh", "-c", "cat >"+to+" && chmod 0755 "+to)
	if err != nil {
		r.t.Fatal(err)
	}
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("copy to %s: %v\n%s", node, err, out)
	}
}
