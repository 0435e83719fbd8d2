package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// stage lays a script of keepalived's down where it finds these tools instead of the
// machine's, and returns how to run it.
func stage(t *testing.T, name string, tools map[string]string) (dir string, run func(args ...string) (string, int)) {
	t.Helper()
	p := sample.Pair(2, 2, inventories.Single)
	dir = t.TempDir()
	for tool, body := range tools {
		if err := os.WriteFile(filepath.Join(dir, tool), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range (keepalived{p, p.Nodes[0]}).aliveFiles(debian12()) {
		if filepath.Base(f.Path) != name {
			continue
		}
		text := strings.NewReplacer("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PATH="+dir+":$PATH",
			"run="+provision.RunDir, "run="+dir, "/sys/fs/cgroup", dir+"/cgroup").Replace(string(f.Content))
		return dir, func(args ...string) (string, int) {
			t.Helper()
			cmd := exec.Command("sh", append([]string{"-c", text, name}, args...)...)
			out, err := cmd.CombinedOutput()
			if err != nil && cmd.ProcessState == nil {
				t.Fatal(err)
			}
			return string(out), cmd.ProcessState.ExitCode()
		}
	}
	t.Fatalf("no %s", name)
	return "", nil
}

// TestAliveScriptsArePOSIX parses what keepalived runs, for every machine.
func TestAliveScriptsArePOSIX(t *testing.T) {
	for _, services := range []int{0, 2} {
		p := sample.Pair(2, services, inventories.Single)
		for _, m := range machines {
			for _, f := range (keepalived{p, p.Nodes[0]}).aliveFiles(m.facts()) {
				if strings.HasSuffix(f.Path, ".sh") {
					posix(t, m.name+" "+f.Path, string(f.Content))
				}
			}
		}
	}
}

// TestAlive: a node whose rules would not let VRRP through is at fault, one whose
// rules cannot be read at the moment is not; the watchdog is told in any case.
func TestAlive(t *testing.T) {
	for _, c := range []struct {
		name, iptables string
		firewalld      bool
		want           int
	}{
		{"ours", "echo '-P INPUT DROP'; echo '-A INPUT -s 10.10.1.2/32 -d 224.0.0.18/32 -i eth1 -p vrrp -j ACCEPT'", false, 0},
		{"by number", "echo '-A INPUT -i eth1 -p 112 -j ACCEPT'", false, 0},
		{"flushed", "echo '-P INPUT DROP'", false, 1},
		{"somebody else's", "echo '-A INPUT -p icmp -j ACCEPT'; echo '-A INPUT -j REJECT'", false, 1},
		{"dropped", "echo '-A INPUT -p vrrp -j DROP'", false, 1},
		{"locked", "exit 4", false, 0},
		{"firewalld", "echo '-A INPUT -p vrrp -j ACCEPT'", true, 1},
	} {
		dir, run := stage(t, "alive.sh", map[string]string{"iptables": c.iptables, "systemd-notify": `echo "$NOTIFY_SOCKET $*" >"${0%/*}/new" && mv "${0%/*}/new" "${0%/*}/told"`})
		if c.firewalld {
			if err := os.MkdirAll(filepath.Join(dir, "cgroup/system.slice/firewalld.service"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if out, code := run(); code != c.want || out != "" {
			t.Errorf("%s: exit %d, want %d: %s", c.name, code, c.want, out)
		}
		told := ""
		for deadline := time.Now().Add(10 * time.Second); told == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) { // it is not waited for
			b, _ := os.ReadFile(filepath.Join(dir, "told"))
			told = string(b)
		}
		if told != "/run/systemd/notify WATCHDOG=1\n" {
			t.Errorf("%s: systemd was told %q", c.name, told)
		}
	}
}

// servesTools answer as files in their folder say: gateway, haproxy and what the peer
// says that it could do.
var servesTools = map[string]string{
	"timeout": `here=${0%/*}
case "$*" in
*ping*) [ -e $here/sees ] ;;
*127.0.0.1*) [ ! -e $here/stuck ] || exit 124; [ -e $here/balances ] ;;
*1349*) echo asked >>$here/asked; for f in balance reach; do [ ! -e $here/peer-$f ] || printf '%s ' $f; done ;;
esac
`,
	"systemctl": `here=${0%/*}
case "$*" in
is-active*) [ ! -e $here/dead ] ;;
kill*) rm -f $here/stuck; : >$here/balances; : >$here/killed ;;
esac
`,
	"cat": `here=${0%/*}
case $* in
*/stat) if [ -e $here/stuck ] && [ ! -e $here/busy ]; then echo "1 (haproxy) T 0"; else echo "1 (haproxy) S 0"; fi ;;
*) exec /bin/cat "$@" ;;
esac
`,
	"sleep":  "exit 0",
	"logger": "exit 0",
}

// TestServes: a node gives way only to a peer that can do what it cannot.
func TestServes(t *testing.T) {
	for _, c := range []struct {
		name  string
		there string // files
		want  int
	}{
		{"all is well", "sees balances peer-balance peer-reach", 0},
		{"the gateway is gone for both", "mark balances peer-balance", 0},
		{"the gateway is gone for this node", "mark balances peer-balance peer-reach", 1},
		{"the gateway is gone, and the peer's HAProxy", "mark balances peer-reach", 0},
		{"a gateway that has never answered", "balances peer-balance peer-reach", 0},
		{"HAProxy is gone, here only", "sees peer-balance peer-reach", 1},
		{"HAProxy is gone, the peer has no gateway", "sees peer-balance", 0},
		{"HAProxy is gone, nobody's gateway answers pings", "peer-balance", 1},
		{"HAProxy is gone, on both", "sees peer-reach", 0},
		{"HAProxy has not been started yet", "sees fresh peer-balance peer-reach", 0},
		{"HAProxy is stopped", "sees stuck peer-balance peer-reach", 0},
		{"HAProxy is busy", "sees stuck busy", 0},
	} {
		dir, run := stage(t, "serves.sh", servesTools)
		for f := range strings.FieldsSeq(c.there) {
			touch(t, dir, strings.Replace(f, "mark", "gateway."+sample.Pair(2, 2, inventories.Single).Outside.Gateway.String(), 1))
		}
		if !strings.Contains(c.there, "fresh") {
			touch(t, dir, "loaded/haproxy.service")
		}
		touch(t, dir, "cgroup/system.slice/haproxy.service/cgroup.procs")
		if err := os.WriteFile(filepath.Join(dir, "cgroup/system.slice/haproxy.service/cgroup.procs"), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := run(); code != c.want || out != "" {
			t.Errorf("%s: exit %d, want %d: %s", c.name, code, c.want, out)
		}
		_, err := os.Stat(filepath.Join(dir, "killed"))
		if killed := err == nil; killed != (c.name == "HAProxy is stopped") {
			t.Errorf("%s: HAProxy was ended: %t", c.name, killed)
		}
		if asked, _ := os.ReadFile(filepath.Join(dir, "asked")); strings.Count(string(asked), "asked") > 1 {
			t.Errorf("%s: the peer was asked %d times", c.name, strings.Count(string(asked), "asked"))
		}
	}
}

// TestTellsThePeer: a node says what it could do if it is not at fault itself.
func TestTellsThePeer(t *testing.T) {
	for _, c := range []struct{ name, there, state, want string }{
		{"standby", "sees balances", "BACKUP", "balance reach\n"},
		{"active", "sees balances", "MASTER", "balance reach\n"},
		{"at fault", "sees balances", "FAULT", ""},
		{"not heard of", "sees balances", "", ""},
		{"without the gateway", "balances", "BACKUP", "balance\n"},
		{"without HAProxy", "sees", "BACKUP", " reach\n"},
		{"without keepalived", "sees balances dead", "BACKUP", ""},
	} {
		dir, run := stage(t, "serves.sh", servesTools)
		for f := range strings.FieldsSeq(c.there) {
			touch(t, dir, f)
		}
		if c.state != "" {
			if out, code := run("GROUP", "VG_GW", c.state, "150"); out != "" || code != 0 {
				t.Errorf("%s: told of a state: exit %d, %s", c.name, code, out)
			}
		}
		if out, code := run("ready"); out != c.want || code != 0 {
			t.Errorf("%s: exit %d, says %q, want %q", c.name, code, out, c.want)
		}
	}
}

func touch(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPatience: alive.sh ends in time on a machine that stalls, and before the
// watchdog of the same profile loses its own patience.
func TestPatience(t *testing.T) {
	for profile, want := range map[string]int{"": 2, "vm": 6} {
		p := sample.Pair(2, 2, inventories.Single)
		p.VRRP.Profile = profile
		for _, s := range (keepalived{p, p.Nodes[0]}).scripts(debian12()) {
			if s.Name != "alive" {
				continue
			}
			if limit := time.Duration(s.Timeout) * time.Second; s.Timeout != want || limit >= p.VRRP.Watchdog() {
				t.Errorf("profile %q: alive.sh has %s, want %ds and less than the watchdog's %s", profile, limit, want, p.VRRP.Watchdog())
			}
		}
	}
}
