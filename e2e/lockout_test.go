package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fwprov/e2e/lab"
	"fwprov/provision"
)

// confirmTimeout is the shortest there is.
const confirmTimeout = 5 * time.Second

// TestLockout applies what cuts the operator off.
func TestLockout(t *testing.T) {
	t.Parallel()
	for image, cases := range map[string][]func(*rig){
		lab.EL:     {(*rig).rulesShutOut, (*rig).masterShutOut, (*rig).addressTaken, (*rig).routeBroken, (*rig).killedBeforeConfirming, (*rig).rebootWhilePending},
		lab.Debian: {(*rig).rulesShutOut, (*rig).masterShutOut, (*rig).addressTaken, (*rig).rebootWhilePending},
	} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			r := up(t, "lockout-"+image, image, []byte(trafficInventory+"\nvlan \"mgmt\" { id = 5 }\n"))
			r.apply()
			r.holder(10 * time.Second)
			for _, c := range cases {
				c(r)
			}
			r.unchanged()
			r.healthy()
		})
	}
}

// lockedOut applies an edit that must fail, by a command of a host, and holds the
// nodes to what they were.
func (r *rig) lockedOut(what, from, to string, hosts []string, run func() (stderr string, code int)) {
	r.t.Helper()
	back := r.change(from, to)
	before := r.states()
	watch := r.watchSSH(hosts)
	start := time.Now()
	stderr, code := run()
	took := time.Since(start)
	r.eventually(confirmTimeout+5*time.Second, "nothing is pending after "+what, r.pending)
	out := watch()
	r.t.Logf("%s: exit %d after %.1fs, SSH out for %.1fs", what, code, took.Seconds(), out.Seconds())
	if code != 4 || !strings.Contains(stderr, "went back to what it was") {
		r.t.Errorf("%s: exit %d, want 4\n%s", what, code, stderr)
	}
	if out < time.Second || out > confirmTimeout+5*time.Second {
		r.t.Errorf("%s: SSH was out for %s, want at most %s", what, out, confirmTimeout+5*time.Second)
	}
	r.same(what, before)
	back()
	r.pings()
}

// change edits the inventory for a while. The lab gets what the edit needs at
// once, and keeps it.
func (r *rig) change(edits ...string) (back func()) {
	r.t.Helper()
	src, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(edits); i += 2 {
		r.edit(edits[i], edits[i+1])
	}
	return func() { r.write(src) }
}

func (r *rig) applyShort() (string, int) {
	r.t.Helper()
	out, errs, code := r.run(nil, "apply", r.file, "--confirm-timeout", confirmTimeout.String())
	return out + errs, code
}

// watchSSH looks, from hosts to addresses given as "HOST ADDRESS", whether sshd
// greets, until the function it returns is called, which tells the longest time
// that one did not.
func (r *rig) watchSSH(ways []string) func() time.Duration {
	ctx, stop := context.WithCancel(context.Background())
	r.t.Cleanup(stop)
	longest := make([]time.Duration, len(ways))
	var wg sync.WaitGroup
	for i, way := range ways {
		from, addr, _ := strings.Cut(way, " ")
		wg.Go(func() {
			last := time.Now()
			for ctx.Err() == nil {
				if greets(ctx, r.lab, from, addr) {
					longest[i] = max(longest[i], time.Since(last))
					last = time.Now()
				}
				time.Sleep(100 * time.Millisecond) // the pause between two looks
			}
			longest[i] = max(longest[i], time.Since(last))
		})
	}
	return func() time.Duration {
		stop()
		wg.Wait()
		var most time.Duration
		for _, d := range longest {
			most = max(most, d)
		}
		return most
	}
}

func greets(ctx context.Context, l *lab.Lab, from, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	conn, err := l.Dial(ctx, from, "tcp", addr+":22")
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.HasPrefix(line, "SSH-")
}

// rulesShutOut has rules that let SSH in from elsewhere only.
func (r *rig) rulesShutOut() {
	standby := r.pair.Peer(r.holder(10 * time.Second))
	r.lockedOut("rules that shut SSH out", "cluster \"edge\" {}", "cluster \"edge\" {}\n\nssh { allow_from = [\"198.51.100.0/24\"] }",
		[]string{"admin " + standby.Outside.String()}, r.applyShort)
}

// addressTaken reaches the standby by its address on a VLAN, and takes the VLAN
// away.
func (r *rig) addressTaken() {
	standby := r.pair.Peer(r.holder(10 * time.Second))
	vlan := r.pair.VLANs[1]
	addr := vlan.Addresses[standby.Name].String()
	r.adminOnVLAN(vlan.ID, "10.10.5.200/24")
	r.know(standby.Name, addr)
	decl := fmt.Sprintf("node %q {\n  outside ", standby.Name)
	r.edit(decl, fmt.Sprintf("node %q {\n  ssh_host  = %q\n  outside ", standby.Name, addr))
	r.lockedOut("the address of SSH taken away", "vlan \"mgmt\" { id = 5 }\n", "", []string{"admin " + addr}, r.applyShort)
	r.edit(fmt.Sprintf("  ssh_host  = %q\n", addr), "")
}

// adminOnVLAN gives the admin host a cable to the switch of a VLAN.
func (r *rig) adminOnVLAN(id int, addr string) {
	r.t.Helper()
	ns := func(host string) string { return "fwprov-lab." + r.lab.Name() + "." + host }
	batch := fmt.Sprintf("link add padmin%[1]d type veth peer name vlan%[1]d netns %[2]s\nlink set padmin%[1]d master vlan%[1]d up\n", id, ns(lab.Admin))
	cmd := exec.Command("ip", "-n", ns("switch"), "-batch", "-")
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	r.on(lab.Admin, fmt.Sprintf("ip link set vlan%[1]d up && ip addr add %[2]s dev vlan%[1]d", id, addr))
}

// know lets the admin know a node by another address.
func (r *rig) know(node, addr string) {
	r.t.Helper()
	path := filepath.Join(r.lab.Home(), ".ssh/known_hosts")
	known, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(known)) {
		names, key, _ := strings.Cut(line, " ")
		if strings.HasPrefix(names+",", node+",") {
			known = append(known, addr+" "+key...)
			break
		}
	}
	if err := os.WriteFile(path, known, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// routeBroken is run from beyond the gateway, and makes that network a VLAN: a new
// one, and one that there was.
func (r *rig) routeBroken() {
	const mgmt = "vlan \"mgmt\" { id = 5 }\n"
	for what, to := range map[string]string{
		"a VLAN over the way back":       mgmt + "vlan \"far\" {\n  id      = 6\n  network = \"203.0.113.0/24\"\n}\n",
		"a VLAN moved over the way back": "vlan \"mgmt\" {\n  id      = 5\n  network = \"203.0.113.0/24\"\n}\n",
	} {
		standby := r.pair.Peer(r.holder(10 * time.Second))
		r.lockedOut(what, mgmt, to, []string{"client " + standby.Outside.String()}, r.applyFromClient)
	}
}

// applyFromClient applies from beyond the gateway.
func (r *rig) applyFromClient() (string, int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd, err := r.lab.Command(ctx, lab.Client, binary, "apply", r.file, "--confirm-timeout", confirmTimeout.String())
	if err != nil {
		r.t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "HOME="+r.lab.Home(), "SSH_AUTH_SOCK=")
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// killAt starts an apply and kills it as soon as an event says so. It returns the
// node of that event.
func (r *rig) killAt(when func(provision.Event) bool) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := r.lab.AdminCommand(ctx, binary, "apply", r.file, "--json", "--confirm-timeout", confirmTimeout.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	node := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e provision.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && when(e) {
			node = e.Node
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if node == "" {
		r.t.Fatal("the apply ended before it could be killed")
	}
	return node
}

// events reads what apply --json prints.
func events(out string) []provision.Event {
	var all []provision.Event
	for line := range strings.Lines(out) {
		var e provision.Event
		if json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

func confirming(e provision.Event) bool { return e.Event == provision.Confirming }

// killedBeforeConfirming kills the program when all is changed and nothing
// confirmed.
func (r *rig) killedBeforeConfirming() {
	defer r.change("tcp  = [7]", "tcp  = [7, 2222]")()
	before := r.states()
	start := time.Now()
	node := r.killAt(confirming)
	r.eventually(confirmTimeout+5*time.Second, "nothing is pending after the program was killed", r.pending)
	r.t.Logf("killed before confirming %s: %.1fs in all", node, time.Since(start).Seconds())
	r.same("killed before confirming", before)
}

// rebootWhilePending reboots the node whose changes nobody confirms any more.
func (r *rig) rebootWhilePending() {
	r.holder(10 * time.Second)
	back := r.change("vlan \"mgmt\" { id = 5 }\n", "vlan \"lab\" { id = 8 }\n", "tcp  = [7]", "tcp  = [7, 2222]")
	before := r.states()
	node := r.killAt(confirming)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.lab.PowerCut(ctx, node); err != nil {
		r.t.Fatal(err)
	}
	if err := r.lab.PowerOn(ctx, node); err != nil {
		r.t.Fatal(err)
	}
	if out := r.on(node, "cat /run/fwprov/rollback.log"); !strings.Contains(out, ": boot\n") || !strings.Contains(out, "went back: ok") {
		r.t.Errorf("%s did not go back at boot: %s", node, out)
	}
	if order := r.on(node, "journalctl -b -q -o cat -u fwprov-rollback-boot -u networking -u NetworkManager | head -n 2"); !strings.Contains(order, "Go back") {
		r.t.Errorf("the network of %s was up before it went back: %s", node, order)
	}
	r.eventually(20*time.Second, node+" is as before after its reboot", func() string {
		return differs(rebooted(before[node]), rebooted(r.state(node)))
	})
	r.eventually(confirmTimeout+5*time.Second, "nothing is pending", r.pending)
	other := r.pair.Peer(node).Name
	if d := differs(before[other], r.state(other)); d != "" {
		r.t.Errorf("%s is not as before while its peer rebooted:\n%s", other, d)
	}
	back()
	r.healthy()
}
