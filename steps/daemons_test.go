package steps

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

var update = flag.Bool("update", false, "write the golden files")

// machine is what a golden file of a distribution assumes of it.
type machine struct {
	name, packages, selinux                            string
	systemd, keepalived, conntrackd, haproxy, iptables string
}

// machines are the distributions, oldest first. Versions are those their
// package managers have.
var machines = []machine{
	{"el7", "yum", "enforcing", "219", "1.3.5", "1.4.4", "1.5.18", "1.4.21"},
	{"el8", "dnf", "permissive", "239", "2.1.5", "1.4.4", "1.8.27", "1.8.5"},
	{"el9", "dnf", "enforcing", "252", "2.2.8", "1.4.7", "2.4.22", "1.8.10"},
	{"debian12", "apt", "", "252", "2.2.7", "1.4.7", "2.6.12", "1.8.9"},
	{"debian13", "apt", "", "257", "2.3.3", "1.4.8", "3.0.11", "1.8.11"},
}

func (m machine) facts() provision.Facts {
	return provision.Facts{
		"os packages": m.packages, "os selinux": m.selinux, "kernel ipv6": "yes", "ssh ports": "22",
		"version systemd": m.systemd, "version keepalived": m.keepalived, "version conntrackd": m.conntrackd,
		"version haproxy": m.haproxy, "version iptables": m.iptables,
		"sysctl net.netfilter.nf_conntrack_max": "65536",
	}
}

// debian12 is the machine of tests that are not about versions.
func debian12() provision.Facts { return machines[3].facts() }

// daemonSteps are the steps of this file's tests for a node.
func daemonSteps(p *inventories.Pair, n inventories.Node) []provision.Renderer {
	return []provision.Renderer{conntrackd{p, n}, iptables{p, n}, haproxy{p, n}, keepalived{p, n}}
}

// TestGolden holds what every version gets of the guide's form and of the
// default one.
func TestGoldenDaemons(t *testing.T) {
	for _, form := range []inventories.VRRPForm{inventories.PerVLAN, inventories.Single} {
		p := sample.Pair(2, 4, form)
		for _, m := range machines {
			for _, s := range daemonSteps(p, p.Nodes[0]) {
				for _, f := range s.Files(m.facts()) {
					golden(t, filepath.Join("testdata", m.name, string(form), f.Path), f.Content)
				}
			}
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (go test -update writes it anew): -golden +got\n%s", path, d)
	}
}
