package steps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// TestCheckers gives the files of generated inventories to the daemons' own
// checkers. It starts conntrackd, which has none, and HAProxy, whose own does
// not see everything that keeps it from starting. It needs no network but one
// of its own. Compiled with go test -c it runs on any machine that has the
// daemons.
func TestCheckers(t *testing.T) {
	ns := newNamespace(t, "ss", "keepalived", "haproxy", "conntrackd", "iptables-restore", "ip6tables-restore")
	facts := ns.machine(t)
	for _, form := range []inventories.VRRPForm{inventories.Single, inventories.PerVLAN} {
		for _, size := range []struct{ vlans, services int }{{0, 0}, {0, 1}, {1, 0}, {1, 7}, {20, 50}, {250, 50}} {
			t.Run(fmt.Sprintf("%s/%d VLANs/%d services", form, size.vlans, size.services), func(t *testing.T) {
				p := sample.Pair(size.vlans, size.services, form)
				for _, n := range p.Nodes {
					ns.check(t, p, n, facts)
				}
			})
		}
	}
}

// namespace runs commands as root, or what passes for it, in a network of their
// own.
type namespace struct{ unshare []string }

// newNamespace skips the test where a program is missing or no namespace can be
// made.
func newNamespace(t *testing.T, programs ...string) namespace {
	t.Helper()
	for _, p := range append(programs, "unshare", "ip") {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("this machine has no %s", p)
		}
	}
	ns := namespace{[]string{"unshare", "-n"}}
	if os.Geteuid() != 0 {
		ns.unshare = []string{"unshare", "-rn"}
	}
	if out, err := exec.Command(ns.unshare[0], append(ns.unshare[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %s", out)
	}
	return ns
}

// run runs a script in a new network.
func (ns namespace) run(t *testing.T, script string) (string, error) {
	t.Helper()
	cmd := exec.Command(ns.unshare[0], append(ns.unshare[1:], "sh", "-eu", "-c", script)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// machine are the facts of this machine that decide what is rendered.
func (ns namespace) machine(t *testing.T) provision.Facts {
	t.Helper()
	f := debian12()
	for key, script := range map[string]string{
		"version keepalived": `keepalived -v 2>&1 | sed -n 's/^Keepalived v\([0-9.]*\).*/\1/p'`,
		"version haproxy":    `haproxy -v | sed -n 's/^HA-\{0,1\}Proxy version \([0-9.]*\).*/\1/p'`,
		"version conntrackd": `conntrackd -v | sed -n 's/.* v\([0-9.]*[0-9]\).*/\1/p'`,
	} {
		out, err := ns.run(t, script)
		if err != nil || strings.TrimSpace(out) == "" {
			t.Fatalf("%s: %v %q", key, err, out)
		}
		f[key] = strings.TrimSpace(out)
	}
	return f
}

// check renders the files of a node, stages them and runs the checkers on them.
func (ns namespace) check(t *testing.T, p *inventories.Pair, n inventories.Node, f provision.Facts) {
	t.Helper()
	dir := t.TempDir()
	staged := func(path string) string {
		if s := filepath.Join(dir, strings.ReplaceAll(path, "/", "_")); exists(s) {
			return s
		}
		return path
	}
	script := links(p, n)
	for _, s := range daemonSteps(p, n) {
		for _, file := range s.Files(f) {
			// What keepalived is to run was put in place by an earlier step.
			content := strings.ReplaceAll(string(file.Content), failoverScript(f), "/usr/bin/env")
			content = strings.ReplaceAll(content, "/var/lib/haproxy", dir)
			content = strings.ReplaceAll(content, conntrackdLock, dir+"/lock")
			content = strings.ReplaceAll(content, conntrackdSocket, dir+"/ctl")
			if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(file.Path, "/", "_")), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if v, ok := s.(provision.Validator); ok && len(s.Files(f)) > 0 {
			script += "(\n" + v.Validate(staged) + ") || { echo 'step " + s.Name() + "'; exit 1; }\n"
		}
	}
	if len(p.Services) > 0 {
		script += startHAProxy(staged(haproxyConf), dir)
	}
	script += startConntrackd(staged(conntrackdConf), dir)
	if out, err := ns.run(t, script); err != nil {
		t.Errorf("node %s: %v\n%s", n.Name, err, out)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// links makes the interfaces of a node, with their addresses.
func links(p *inventories.Pair, n inventories.Node) string {
	var b strings.Builder
	add := func(name, addr string, bits, i int) {
		fmt.Fprintf(&b, "ip link add %s type veth peer name p%d\nip link set p%d up\nip link set %s up\nip addr add %s/%d dev %s\n", name, i, i, name, addr, bits, name)
	}
	b.WriteString("ip link set lo up\n")
	add(p.Outside.Interface, n.Outside.String(), p.Outside.Network.Bits(), 0)
	add(p.Sync.Interface, n.Sync.String(), p.Sync.Network.Bits(), 1)
	for i, v := range p.VLANs {
		add(v.Interface, v.Addresses[n.Name].String(), v.Network.Bits(), i+2)
	}
	return b.String()
}

// startConntrackd starts the daemon, waits until it answers, and ends it.
func startConntrackd(conf, dir string) string {
	return fmt.Sprintf(`conntrackd -C %[1]s >%[2]s/out 2>&1 &
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	if conntrackd -C %[1]s -s >/dev/null 2>&1; then break; fi
	sleep 0.1
done
conntrackd -C %[1]s -s >/dev/null || { cat %[2]s/out; echo 'conntrackd did not start'; exit 1; }
conntrackd -C %[1]s -k >/dev/null
wait
if grep -i -e warning -e error %[2]s/out; then exit 1; fi
`, provision.Quote(conf), dir)
}

// startHAProxy starts the proxy, waits until it listens, and ends it. There is
// no socket of a log in its chroot here; the unit's drop-in puts one there.
func startHAProxy(conf, dir string) string {
	return fmt.Sprintf(`chmod 0711 %[2]s
haproxy -db -f %[1]s >%[2]s/haproxy.out 2>&1 &
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	if ss -Hltn 'sport = :%[3]d' | grep -q LISTEN || ! kill -0 $! 2>/dev/null; then break; fi
	sleep 0.1
done
if ! ss -Hltn 'sport = :%[3]d' | grep -q LISTEN || grep -e WARNING -e ALERT %[2]s/haproxy.out | grep -v 'in logger #'; then
	cat %[2]s/haproxy.out
	echo 'HAProxy did not start'
	exit 1
fi
kill $!
wait $! || true
`, provision.Quote(conf), dir, statPort)
}
