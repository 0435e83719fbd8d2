package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fwprov/e2e/lab"
	"fwprov/inventories"
	"fwprov/provision"
)

// TestHistory takes one pair through what is kept of applies, and through plans,
// operators and interrupts that come in each other's way.
func TestHistory(t *testing.T) {
	t.Parallel()
	// What is waited for here is not what this test is about.
	quick := strings.NewReplacer(`interval      = "30s"`, `interval      = "2s"`, `fast_interval = "10s"`, `fast_interval = "1s"`, `mode      = "alarm"`, "", `transport = "multicast"`, "")
	r := up(t, "history-debian", lab.Debian, []byte(quick.Replace(string(inventories.Guide))))
	r.apply()
	r.holder(10 * time.Second)
	t.Run("rollback", func(t *testing.T) { r.with(t).rollback() })
	t.Run("saved plan", func(t *testing.T) { r.with(t).savedPlan() })
	t.Run("two operators", func(t *testing.T) { r.with(t).twoOperators() })
	t.Run("waiting operators", func(t *testing.T) { r.with(t).waitingOperators() })
	t.Run("interrupts", func(t *testing.T) { r.with(t).interrupts() })
}

// generations is what history --json prints.
type generations struct {
	Generations []struct {
		N                   int
		Run, Operator, Note string
		Inventory           provision.Origin
		Nodes               []struct {
			Name    string
			Changes []provision.Recorded
		}
	}
}

func (r *rig) history() generations {
	r.t.Helper()
	out, errs, code := r.run(nil, "history", r.file, "--json")
	if code != 0 {
		r.t.Fatalf("history: exit %d\n%s", code, errs)
	}
	if strings.Contains(out+errs, password) {
		r.t.Errorf("the history shows a secret: %s%s", out, errs)
	}
	var g generations
	if err := json.Unmarshal([]byte(out), &g); err != nil {
		r.t.Fatalf("history --json: %v in %s", err, out)
	}
	return g
}

// source is the text of the inventory.
func (r *rig) source() []byte {
	r.t.Helper()
	text, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// rollback applies a second inventory and goes back to the first, and from there to
// the second again.
func (r *rig) rollback() {
	firstText := r.source()
	r.add("vlan \"lab\" { id = 7 }") // in the lab an interface for a VLAN stays once it was there
	r.write(firstText)
	for _, n := range r.pair.Nodes {
		r.on(n.Name, "sysctl -qw net.ipv4.conf.eth2/7.promote_secondaries=1") // keepalived does, and leaves it
	}
	first := r.states()
	r.add("vlan \"lab\" { id = 7 }")
	r.edit("  tcp          = [22]", "  tcp          = [22, 2222]")
	r.edit("  password        = var.vrrp_password", `  password        = "Other123"`)
	r.edit("  sticky      = \"10m\"", "  sticky      = \"20m\"")
	r.apply()
	r.holder(15 * time.Second)
	second, secondText := r.states(), r.source()

	g := r.history().Generations
	if len(g) != 2 {
		r.t.Fatalf("after two applies the history has %+v", g)
	}
	if last := g[1]; last.N != 2 || !strings.Contains(last.Operator, " from ") || last.Inventory.File != r.file || last.Inventory.SHA256 != provision.Hash(secondText) ||
		len(last.Nodes) != 2 || len(last.Nodes[0].Changes) < 5 || len(last.Nodes[1].Changes) < 5 {
		r.t.Errorf("the history has %+v", last)
	}
	for _, n := range r.pair.Nodes {
		if out := r.on(n.Name, "cd /var/lib/fwprov && stat -c %a history history/0001 history/0001/* && find history -type f -name source -perm /077 && cmp history/0002/files/etc/keepalived/keepalived.conf /etc/keepalived/keepalived.conf"); strings.ReplaceAll(out, "\n", " ") != "700 700 700 600 600" {
			r.t.Errorf("%s: modes in the history are %s", n.Name, out)
		}
	}
	if out, _, code := r.run(nil, "history", r.file, "--verbose"); code != 0 || !strings.Contains(out, "~ /etc/haproxy/haproxy.cfg") {
		r.t.Errorf("history: exit %d\n%s", code, out)
	}
	if _, errs, code := r.run(nil, "rollback", r.file, "--to", "9"); code != 1 || !strings.Contains(errs, "the history has 1 and 2") {
		r.t.Errorf("rollback to what is not there: exit %d\n%s", code, errs)
	}

	// The secrets are those of then, whatever is given now.
	r.back([]string{"FWPROV_VAR_vrrp_password=other"}, "Back to 1 ")
	r.writeSync(firstText)
	r.holder(15 * time.Second)
	r.same("rolled back", first)
	for _, n := range r.pair.Nodes {
		r.on(n.Name, "cd /var/lib/fwprov/history/0003/files && find . -type f -exec cp -a --parents -t / {} +")
	}
	r.same("rolled back by hand", first)
	r.unchanged()
	r.healthy()
	if g = r.history().Generations; len(g) != 3 || g[2].N != 3 || g[2].Note != "rollback to 1" || g[2].Inventory != g[0].Inventory {
		r.t.Errorf("after a rollback the history has %+v", g)
	}

	r.back(nil, "Back to 2 ")
	r.writeSync(secondText)
	r.holder(15 * time.Second)
	r.same("rolled forward", second)
	r.unchanged()
	r.back(nil, "Back to 3 ")
	r.writeSync(firstText)
	r.holder(15 * time.Second)
}

func (r *rig) back(env []string, say string) {
	r.t.Helper()
	out, errs, code := r.run(env, "rollback", r.file)
	if code != 0 || !strings.Contains(errs, say) {
		r.t.Fatalf("rollback: exit %d, want %q\n%s\n%s", code, say, out, errs)
	}
}

// savedPlan saves a plan, changes what it depends on in every way, and carries it
// out in the end.
func (r *rig) savedPlan() {
	plan := filepath.Join(filepath.Dir(r.file), "plan")
	base := r.source()
	r.edit(`server "ext-mx-in002" { address = "10.10.2.2" }`, "server \"ext-mx-in002\" { address = \"10.10.2.2\" }\n  server \"ext-mx-in003\" { address = \"10.10.2.3\" }")
	wanted := r.source()
	if _, errs, code := r.run(nil, "plan", r.file, "--out", plan); code != 0 || !strings.Contains(errs, "Saved") {
		r.t.Fatalf("plan --out: exit %d\n%s", code, errs)
	}
	text, err := os.ReadFile(plan)
	if err != nil {
		r.t.Fatal(err)
	}
	if info, err := os.Stat(plan); err != nil || info.Mode() != 0o600 || strings.Contains(string(text), password) {
		r.t.Errorf("the saved plan has mode %v, or a secret: %v", info.Mode(), err)
	}
	before := r.states()
	refused := func(what, want string, env []string) {
		r.t.Helper()
		out, errs, code := r.run(env, "apply", plan)
		if code != 1 || !strings.Contains(errs, want) {
			r.t.Errorf("%s: exit %d, want 1 and %q\n%s\n%s", what, code, want, out, errs)
		}
	}

	r.on("fw01", "cp -a /etc/haproxy/haproxy.cfg /root/kept && echo '# by hand' >>/etc/haproxy/haproxy.cfg")
	refused("a file changed by hand", "node fw01 is no longer what it was", nil)
	r.on("fw01", "mv /root/kept /etc/haproxy/haproxy.cfg")
	r.on("fw02", "sysctl -qw net.ipv4.ip_forward=0")
	refused("a sysctl changed by hand", "to be done now as well: sysctl: ", nil)
	r.on("fw02", "sysctl -qw net.ipv4.ip_forward=1")
	r.write(append(wanted, "\nallow \"more\" {\n  from = \"inside\"\n  to   = \"outside\"\n}\n"...))
	refused("another inventory", "Allows[more].From is new", nil)
	r.write(append([]byte("# a comment\n"), wanted...))
	refused("another password", "a sensitive value of the inventory is another", []string{"FWPROV_VAR_vrrp_password=Other123"})
	if err := os.WriteFile(plan, []byte(strings.Replace(string(text), "ext-mx-in003", "ext-mx-in004", 1)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	refused("another plan", "was altered after it was saved", nil)
	r.same("after plans that were refused", before)

	if err := os.WriteFile(plan, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.write(wanted)
	if out, errs, code := r.run(nil, "apply", plan); code != 0 {
		r.t.Fatalf("apply of a saved plan: exit %d\n%s\n%s", code, out, errs)
	}
	r.unchanged()
	refused("a plan that was carried out", "not to be done any more: haproxy: update /etc/haproxy/haproxy.cfg", nil)
	r.writeSync(base)
	r.apply()
}

// attempt is one apply of several at once.
type attempt struct {
	out, errs string
	code      int
}

// together applies the inventory so many times at once.
func (r *rig) together(n int, args ...string) []attempt {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	attempts := make([]attempt, n)
	var wg sync.WaitGroup
	for i := range attempts {
		wg.Go(func() {
			cmd := r.lab.AdminCommand(ctx, binary, append([]string{"apply", r.file}, args...)...)
			cmd.Env = append(cmd.Env, "FWPROV_VAR_vrrp_password="+password, "SUDO_USER=operator"+fmt.Sprint(i))
			var out, errs strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &errs
			_ = cmd.Run()
			attempts[i] = attempt{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
		})
	}
	wg.Wait()
	return attempts
}

var (
	someChanges = regexp.MustCompile(`(?m)^[1-9][0-9]* changes? made in `)
	lockedBy    = regexp.MustCompile(`node fw0[12] is locked by operator[0-9] from .* since 20`)
)

// twoOperators starts ten applies at once: one does it.
func (r *rig) twoOperators() {
	r.edit("  tcp          = [22]", "  tcp          = [22, 2223]")
	before := len(r.history().Generations)
	changed, locked := 0, 0
	for i, a := range r.together(10) {
		switch {
		case a.code == 0 && someChanges.MatchString(a.out):
			changed++
		case a.code == 0 && strings.Contains(a.out, "No changes."):
		case a.code == 5 && lockedBy.MatchString(a.errs):
			locked++
		default:
			r.t.Errorf("apply %d: exit %d\n%s\n%s", i, a.code, a.out, a.errs)
		}
	}
	r.t.Logf("of ten applies at once %d changed the nodes, %d found them locked", changed, locked)
	if changed != 1 || locked == 0 {
		r.t.Errorf("%d applies changed the nodes, want 1; %d found them locked", changed, locked)
	}
	if n := len(r.history().Generations); n != before+1 {
		r.t.Errorf("%d generations more, want 1", n-before)
	}
	r.unchanged()
	r.healthy()
}

// waitingOperators starts three applies that wait for each other.
func (r *rig) waitingOperators() {
	r.edit("  tcp          = [22, 2223]", "  tcp          = [22]")
	changed := 0
	for i, a := range r.together(3, "--lock-timeout", "2m") {
		if a.code != 0 {
			r.t.Errorf("apply %d: exit %d\n%s\n%s", i, a.code, a.out, a.errs)
		}
		if someChanges.MatchString(a.out) {
			changed++
		}
	}
	if changed != 1 {
		r.t.Errorf("%d applies changed the nodes, want 1", changed)
	}
	r.unchanged()
}

// interrupts ends applies by signals, in the middle of a node's changes.
func (r *rig) interrupts() {
	base := r.source()
	for _, tc := range []struct {
		name    string
		at      provision.EventKind
		signals []syscall.Signal
		code    int
		say     string
	}{
		{"Ctrl-C before anything", provision.Planned, []syscall.Signal{syscall.SIGINT}, 130, ""},
		{"Ctrl-C", provision.ChangeDone, []syscall.Signal{syscall.SIGINT}, 4, "interrupted: the step in hand is finished, then the node is confirmed or goes back"},
		{"SIGTERM", provision.ChangeDone, []syscall.Signal{syscall.SIGTERM}, 4, "went back to what it was"},
		{"a closed terminal", provision.ChangeDone, []syscall.Signal{syscall.SIGHUP, syscall.SIGHUP}, 4, "went back to what it was"},
		{"Ctrl-C twice", provision.ChangeDone, []syscall.Signal{syscall.SIGINT, syscall.SIGINT}, 130, "The connection was dropped."},
	} {
		before := r.states()
		r.add("vlan \"lab\" { id = 7 }")
		errs, code := r.interrupted(tc.at, tc.signals)
		r.eventually(confirmTimeout+10*time.Second, "nothing is pending after "+tc.name, r.pending)
		if code != tc.code || !strings.Contains(errs, tc.say) {
			r.t.Errorf("%s: exit %d, want %d and %q\n%s", tc.name, code, tc.code, tc.say, errs)
		}
		r.writeSync(base)
		r.same(tc.name, before)
	}
	r.add("vlan \"lab\" { id = 7 }")
	r.apply()
	r.holder(15 * time.Second)
	r.pings()
}

// interrupted applies and sends signals once an event of a kind was told.
func (r *rig) interrupted(at provision.EventKind, signals []syscall.Signal) (stderr string, code int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := r.lab.AdminCommand(ctx, binary, "apply", r.file, "--json", "--confirm-timeout", confirmTimeout.String())
	cmd.Env = append(cmd.Env, "FWPROV_VAR_vrrp_password="+password)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	lines, sent := bufio.NewScanner(out), false
	for lines.Scan() {
		var e provision.Event
		if !sent && json.Unmarshal(lines.Bytes(), &e) == nil && e.Event == at {
			sent = true
			for _, s := range signals {
				if err := cmd.Process.Signal(s); err != nil {
					r.t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond) // two of the same that come at once are one to the kernel
			}
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	if !sent {
		r.t.Fatalf("no event %s was told: %s", at, errs.String())
	}
	return errs.String(), cmd.ProcessState.ExitCode()
}
