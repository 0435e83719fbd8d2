package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// undone runs what an Undo saves, the script of a change, and what restores, in a
// folder of the test. Paths in swap are somewhere else.
func undone(t *testing.T, run func(script string) (string, error), u provision.Undo, change string, swap ...string) string {
	t.Helper()
	dir := t.TempDir()
	script := "cd " + dir + "\nset -eu\n" + u.Save + "\n" + change + "\n" +
		"set +e\ntry() { \"$@\" || echo \"failed: $*\"; }\n" + u.Restore + "\n" + u.Tidy
	out, err := run(strings.NewReplacer(swap...).Replace(script))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// TestMovedVLANGoesBack: the address that a change has given an interface, and the
// route it brought, are gone, whether the network was another one or the same.
func TestMovedVLANGoesBack(t *testing.T) {
	ns := newNamespace(t)
	p := sample.Pair(2, 0, inventories.Single)
	step := interfaces{p, p.Nodes[0]}
	v := p.VLANs[0]
	ours := cidr(v.Addresses[p.Nodes[0].Name], v.Network)
	link := "ip link add " + v.Interface + " type veth peer name other\nip link set other up\nip link set " + v.Interface + " up\n"
	const show = "\nip -4 -o addr show | awk '{ print $2, $4 }'\nip -4 route\n"
	links := t.TempDir() // the namespace is one of networks only
	if err := os.WriteFile(filepath.Join(links, v.Interface), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, before := range map[string]string{"another network": "192.0.2.7/24", "the same": strings.Replace(ours, v.Addresses[p.Nodes[0].Name].String(), v.VIP.String(), 1)} {
		t.Run(name, func(t *testing.T) {
			manifest := filepath.Join(t.TempDir(), "manifest")
			if err := os.WriteFile(manifest, []byte("interface\t"+v.Interface+"\tinterfaces\tcreated "+before+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			was, err := ns.run(t, link+"ip addr add "+before+" brd + dev "+v.Interface+show)
			if err != nil {
				t.Fatal(was)
			}
			change := "ip addr replace " + ours + " brd + dev " + v.Interface + "\n" + delAddr(v.Interface, before)
			now := undone(t, func(s string) (string, error) {
				return ns.run(t, link+"ip addr add "+before+" brd + dev "+v.Interface+"\n"+s+show)
			}, step.Undo(), change, provision.Manifest, manifest, nmRuns, "false", "systemctl is-active --quiet systemd-networkd.service", "false", "/sys/class/net", links)
			if d := cmp.Diff(was, now); d != "" {
				t.Errorf("-before +now:\n%s", d)
			}
		})
	}
}

// TestDaemonsGoBack: a daemon is restarted or reloaded only if it has loaded
// something since, and one that had not told before what it has loaded has not
// loaded what the change brought.
func TestDaemonsGoBack(t *testing.T) {
	for _, tt := range []struct {
		name, before, change string
		did, left            []string
	}{
		{"nothing", "old >haproxy.service", ":", nil, []string{"haproxy.service"}},
		{"a reload", "old | tee haproxy.service haproxy.service.d", "echo new >haproxy.service", []string{"reload haproxy.service"}, []string{"haproxy.service", "haproxy.service.d"}},
		{"a restart", "old | tee haproxy.service haproxy.service.d", "echo new | tee haproxy.service haproxy.service.d", []string{"restart haproxy.service"}, []string{"haproxy.service", "haproxy.service.d"}},
		{"daemons of others", ":", "for u in conntrackd haproxy keepalived; do echo new | tee $u.service $u.service.d; done",
			[]string{"restart conntrackd.service", "restart haproxy.service", "restart keepalived.service"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			in := func(script string) string { return "(cd " + dir + "; " + script + ") >/dev/null\n" }
			before := tt.before
			if before != ":" {
				before = "echo " + before
			}
			// every unit is active, and tells nothing when it is reloaded
			fake := "systemctl() { case $1 in re[ls]*) echo \"$1 $2\" ;; esac; }\nconntrackd() { :; }\n" + in(before)
			out := undone(t, func(s string) (string, error) {
				out, err := exec.Command("sh", "-c", fake+s).CombinedOutput()
				return string(out), err
			}, services{}.Undo(), in(tt.change), provision.LoadedDir, dir)
			var did []string
			for line := range strings.Lines(out) {
				did = append(did, strings.TrimSpace(line))
			}
			if d := cmp.Diff(tt.did, did); d != "" {
				t.Errorf("-want +did:\n%s", d)
			}
			left, err := filepath.Glob(dir + "/*")
			for i, path := range left {
				left[i] = filepath.Base(path)
			}
			if d := cmp.Diff(tt.left, left); err != nil || d != "" {
				t.Errorf("%v\n-want +left:\n%s", err, d)
			}
		})
	}
}
