// Package e2e proves fwprov on real daemons: labs of two machines each, the
// program run as a user would, and a look at what the machines then do.
//
// The tests need root and run when FWPROV_E2E is set, as `make test` sets it:
// they start machines and take minutes.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fwprov/e2e/lab"
	"fwprov/hcl"
	"fwprov/inventories"
)

// password is the guide's vrrp_password in every test.
const password = "Xq7mZr2k"

var binary string // fwprov, built once

func TestMain(m *testing.M) {
	code := func() int {
		if os.Getenv("FWPROV_E2E") == "" || os.Getuid() != 0 {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "fwprov-e2e.")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "fwprov")
		if out, err := exec.Command("go", "build", "-o", binary, "fwprov/cmd/fwprov").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build fwprov: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}()
	os.Exit(code)
}

// rig is a lab with an inventory that the test edits and applies.
type rig struct {
	t    *testing.T
	lab  *lab.Lab
	pair *inventories.Pair
	file string
	long time.Duration // what a run of fwprov may take; a command on a host, a tenth
}

// up starts a lab with the inventory in src, and takes it down at the end.
func up(t *testing.T, name, image string, src []byte) *rig {
	t.Helper()
	return upOn(t, lab.Options{Name: name, Image: image}, src)
}

// upOn is up for a lab that is more particular.
func upOn(t *testing.T, opts lab.Options, src []byte) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the lab needs root: run make test as root or with sudo")
	}
	if os.Getenv("FWPROV_E2E") == "" {
		t.Skip("the lab starts machines and takes minutes: run make test, or set FWPROV_E2E=1")
	}
	r := &rig{t: t, file: filepath.Join(t.TempDir(), "inventory.hcl"), long: 5 * time.Minute}
	if opts.Machine == lab.VM {
		r.long = 20 * time.Minute
	}
	r.write(src)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	start := time.Now()
	// A name of its own: a run that was killed leaves its lab behind.
	opts.Name, opts.Log = fmt.Sprintf("%s-%d", opts.Name, os.Getpid()), t.Logf
	l, err := lab.Up(ctx, r.pair, opts)
	if err != nil {
		t.Fatal(err)
	}
	r.lab = l
	t.Logf("lab up in %.1fs", time.Since(start).Seconds())
	t.Cleanup(func() {
		if t.Failed() {
			r.autopsy()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := l.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

// write stores the inventory and decodes it.
func (r *rig) write(src []byte) {
	r.t.Helper()
	if err := os.WriteFile(r.file, src, 0o600); err != nil {
		r.t.Fatal(err)
	}
	pair, source, diags := hcl.Load(r.file, hcl.Options{Env: []string{"FWPROV_VAR_vrrp_password=" + password}})
	if diags.HasErrors() {
		var b bytes.Buffer
		_ = source.Write(&b, diags, false)
		r.t.Fatalf("the inventory is wrong:\n%s", b.String())
	}
	r.pair = pair
}

// edit replaces a part of the inventory, which must be there, and lets the lab
// have what the new one needs.
func (r *rig) edit(from, to string) {
	r.t.Helper()
	src, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(src), from) {
		r.t.Fatalf("the inventory has no %q", from)
	}
	r.writeSync([]byte(strings.Replace(string(src), from, to, 1)))
}

// add appends to the inventory.
func (r *rig) add(text string) {
	r.t.Helper()
	src, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	last := strings.TrimRight(string(src), "\n")
	r.writeSync([]byte(last + "\n\n" + text + "\n"))
}

// writeSync is write for a lab that is up already.
func (r *rig) writeSync(src []byte) {
	r.t.Helper()
	r.write(src)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.lab.Sync(ctx, r.pair); err != nil {
		r.t.Fatal(err)
	}
}

// run runs fwprov on the admin host.
func (r *rig) run(env []string, args ...string) (stdout, stderr string, code int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), r.long)
	defer cancel()
	cmd := r.lab.AdminCommand(ctx, binary, args...)
	cmd.Env = append(cmd.Env, "FWPROV_VAR_vrrp_password="+password)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		r.t.Fatalf("fwprov %s: %v", strings.Join(args, " "), err)
	}
	r.t.Logf("fwprov %s: exit %d after %.2fs", strings.Join(args, " "), code, time.Since(start).Seconds())
	return out.String(), errs.String(), code
}

// planned is what plan --json prints.
type planned struct {
	Changes int
	Nodes   []struct {
		Name, Role string
		Changes    []struct {
			Step, Target, Action, Diff, Why, Cost, Together string
			Disruptive                                      bool
		}
	}
}

// plan runs plan and returns it.
func (r *rig) plan() planned {
	r.t.Helper()
	out, errs, code := r.run(nil, "plan", r.file, "--json")
	if code != 0 {
		r.t.Fatalf("plan: exit %d\n%s", code, errs)
	}
	var p planned
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		r.t.Fatalf("plan --json: %v in %s", err, out)
	}
	return p
}

// targets lists "STEP ACTION TARGET" of the changes of one node.
func (p planned) targets(node string) []string {
	var out []string
	for _, n := range p.Nodes {
		for _, c := range n.Changes {
			if n.Name == node {
				out = append(out, c.Step+" "+c.Action+" "+c.Target)
			}
		}
	}
	return out
}

// apply applies the inventory, which must end well, with a healthy pair and
// nothing left to do.
func (r *rig) apply() {
	r.t.Helper()
	out, errs, code := r.run(nil, "apply", r.file)
	if code != 0 {
		r.t.Fatalf("apply: exit %d\n%s\n%s", code, out, errs)
	}
	r.unchanged()
}

// unchanged fails the test if a plan finds anything to do.
func (r *rig) unchanged() {
	r.t.Helper()
	if p := r.plan(); p.Changes != 0 {
		r.t.Fatalf("a rerun finds %d changes: fw01 %q, fw02 %q", p.Changes, p.targets("fw01"), p.targets("fw02"))
	}
}

// on runs a command on a host, which must succeed, and returns what it printed.
func (r *rig) on(host, script string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), r.long/10)
	defer cancel()
	res, err := r.lab.Exec(ctx, host, "sh", "-c", script)
	if err != nil || res.Code != 0 {
		r.t.Fatalf("%s: %s: %v, status %d\n%s%s", host, script, err, res.Code, res.Stdout, res.Stderr)
	}
	return strings.TrimSpace(res.Stdout)
}

// try is on for a command that may fail.
func (r *rig) try(host, script string) (string, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), r.long/10)
	defer cancel()
	res, err := r.lab.Exec(ctx, host, "sh", "-c", script)
	return strings.TrimSpace(res.Stdout + res.Stderr), err == nil && res.Code == 0
}

// eventually waits until cond says nothing.
func (r *rig) eventually(within time.Duration, what string, cond func() string) {
	r.t.Helper()
	start := time.Now()
	for {
		wrong := cond()
		if wrong == "" {
			r.t.Logf("%s: after %.1fs", what, time.Since(start).Seconds())
			return
		}
		if time.Since(start) > within {
			r.t.Fatalf("%s: not within %s: %s", what, within, wrong)
		}
		time.Sleep(100 * time.Millisecond) // the pause between two looks of a wait with a deadline
	}
}

// holders tells how many of the VIPs each node has.
func (r *rig) holders() map[string]int {
	out := map[string]int{}
	for _, n := range r.pair.Nodes {
		addrs, _ := r.try(n.Name, "ip -4 -o addr show")
		for _, v := range r.pair.VIPs() {
			if strings.Contains(addrs, " "+v.Addr.String()+"/") {
				out[n.Name]++
			}
		}
	}
	return out
}

// holder waits for exactly one node to hold all VIPs and returns it.
func (r *rig) holder(within time.Duration) string {
	r.t.Helper()
	var name string
	r.eventually(within, "one holder of all VIPs", func() string {
		h := r.holders()
		all := len(r.pair.VIPs())
		for i, n := range r.pair.Nodes {
			if h[n.Name] == all && h[r.pair.Nodes[1-i].Name] == 0 {
				name = n.Name
				return ""
			}
		}
		return fmt.Sprintf("of %d VIPs: %v", all, h)
	})
	return name
}

// pings fails the test unless the outside VIP answers the client and every VIP
// answers the admin host's side of the gateway.
func (r *rig) pings() {
	r.t.Helper()
	r.pingsFrom("client", r.pair.Nodes[0].Name, r.pair.Nodes[1].Name)
}

// pingsFrom fails the test unless every VIP answers every one of these hosts.
func (r *rig) pingsFrom(hosts ...string) {
	r.t.Helper()
	for _, v := range r.pair.VIPs() {
		for _, from := range hosts {
			r.eventually(3*time.Second, from+" pings "+v.Addr.String(), func() string {
				if out, ok := r.try(from, "ping -n -c 1 -W 1 "+v.Addr.String()); !ok {
					return out
				}
				return ""
			})
		}
	}
}

// healthy fails the test unless verify finds the pair healthy.
func (r *rig) healthy() {
	r.t.Helper()
	if out, errs, code := r.run(nil, "verify", r.file); code != 0 {
		r.t.Fatalf("verify: exit %d\n%s\n%s", code, out, errs)
	}
}

// transitions counts what keepalived has said of VRRP states on both nodes.
func (r *rig) transitions() int {
	r.t.Helper()
	n := 0
	for _, node := range r.pair.Nodes {
		out := r.on(node.Name, "journalctl -q -o cat -t Keepalived_vrrp | grep -c 'Entering .* STATE' || true")
		count, err := strconv.Atoi(out)
		if err != nil {
			r.t.Fatal(err)
		}
		n += count
	}
	return n
}

// logins tells how many connections and commands a node's sshd has logged since
// it booted.
func (r *rig) logins(node string) (connections, commands int) {
	r.t.Helper()
	log := r.on(node, "journalctl -q -o cat _COMM=sshd; journalctl -q -o cat _COMM=sshd-session")
	return len(acceptedLine.FindAllString(log, -1)), len(sessionLine.FindAllString(log, -1))
}

var (
	acceptedLine = regexp.MustCompile(`(?m)^Accepted publickey `)
	sessionLine  = regexp.MustCompile(`(?m)^Starting session: `)
)

// autopsy logs what a failed test leaves behind.
func (r *rig) autopsy() {
	for _, n := range r.pair.Nodes {
		for _, look := range []string{
			"ip -br addr", "systemctl --no-pager --failed", "conntrackd -s network",
			"conntrack -L -p tcp 2>/dev/null | grep ESTABLISHED", "journalctl -q -o short-precise -t conntrack-tools | tail -n 40",
			"iptables-save", "journalctl -q --no-pager -o short-precise | grep -vE ' (sshd|sudo|systemd-logind|pam_[a-z]*)[[:punct:]]' | tail -n 60",
		} {
			out, _ := r.try(n.Name, look)
			r.t.Logf("%s: %s\n%s", n.Name, look, out)
		}
	}
}
