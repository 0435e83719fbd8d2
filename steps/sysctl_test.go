package steps

import (
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

func TestSysctlFiles(t *testing.T) {
	p := sample.Pair(2, 0, inventories.Single)
	s := sysctl{p, p.Nodes[0]}
	golden(t, "testdata/sysctl/machine", listing(s.Files(machineFacts("ifupdown"))))
	container := provision.Facts{"kernel memory": "4011234", "fixed " + conntrackMaxKey: "yes", "sysctl net.ipv4.ip_forward": "0"}
	golden(t, "testdata/sysctl/container", listing(s.Files(container)))
}

func TestSysctlParse(t *testing.T) {
	f := provision.Facts{}
	err := parseSysctl(`== fixed
/proc/sys/net/netfilter/nf_conntrack_max
== value
/proc/sys/net/ipv4/ip_forward:1
/proc/sys/net/netfilter/nf_conntrack_max:262144
/proc/sys/net/ipv4/conf/eth2.2/send_redirects:1
/proc/sys/net/ipv4/conf/lo/send_redirects:1
/etc/sysctl.d/99-a.conf:net.ipv4.ip_forward = 1
/etc/sysctl.d/zz.conf:  -net/ipv4/ip_forward=0
/etc/sysctl.d/10-early.conf:net.ipv4.tcp_syncookies=0
/usr/lib/sysctl.d/99-glob.conf:net.ipv4.conf.*.rp_filter = 1
/usr/lib/sysctl.d/99-glob.conf:net.ipv4.conf.eth2/2.rp_filter = 1
`, f)
	if err != nil {
		t.Fatal(err)
	}
	want := provision.Facts{
		"sysctl net.ipv4.ip_forward": "1", "sysctl net.netfilter.nf_conntrack_max": "262144", "fixed net.netfilter.nf_conntrack_max": "yes",
		"sysctl net.ipv4.conf.eth2/2.send_redirects": "1", "sysctl net.ipv4.conf.lo.send_redirects": "1",
		"override net.ipv4.ip_forward":             "/etc/sysctl.d/zz.conf 0",
		"override net.ipv4.conf.all.rp_filter":     "/usr/lib/sysctl.d/99-glob.conf 1",
		"override net.ipv4.conf.default.rp_filter": "/usr/lib/sysctl.d/99-glob.conf 1",
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

func TestSysctlPlan(t *testing.T) {
	p := sample.Pair(2, 0, inventories.Single)
	step := []provision.Step{sysctl{p, p.Nodes[0]}}
	_, done := settle(t, step, machineFacts("ifupdown"))
	for _, tt := range []struct {
		name string
		with provision.Facts
		want string
	}{
		{"done", nil, ""},
		{"reset by hand", provision.Facts{"sysctl net.ipv4.ip_forward": "0", "sysctl net.ipv4.conf.all.accept_redirects": "1"},
			"update net.ipv4.ip_forward: is 0, not 1\nupdate net.ipv4.conf.all.accept_redirects: is 1, not 0\n"},
		{"an interface's own value", provision.Facts{"sysctl net.ipv4.conf.eth2/2.send_redirects": "1", "sysctl net.ipv4.conf.docker0.send_redirects": "1"},
			"update net.ipv4.conf.eth2/2.send_redirects: is 1, not 0\n"},
		{"conntrack's limit", provision.Facts{"sysctl " + conntrackMaxKey: "65536"}, "update net.netfilter.nf_conntrack_max: is 65536, not 262144\n"},
		{"conntrack not loaded", provision.Facts{"sysctl " + conntrackMaxKey: "", "sysctl net.netfilter.nf_conntrack_tcp_loose": ""},
			"run nf_conntrack: is not loaded\ncreate net.netfilter.nf_conntrack_max: becomes 262144\ncreate net.netfilter.nf_conntrack_tcp_loose: becomes 0\n"},
		{"file deleted", provision.Facts{"file " + sysctlFile: ""}, "create /etc/sysctl.d/90-fwprov.conf: was deleted by hand\n"},
		{"somebody later agrees", provision.Facts{"override net.ipv4.ip_forward": "/etc/sysctl.d/99-sysctl.conf 1"}, ""},
	} {
		changes, _ := settle(t, step, done.With(tt.with))
		if d := cmp.Diff(tt.want, brief(changes)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestConntrackEntries(t *testing.T) {
	for memory, want := range map[string]int{"": 65536, "500000": 65536, "1000000": 65536, "2000000": 131072, "3800000": 262144,
		"4011234": 262144, "8000000": 524288, "16000000": 1048576, "900000000": 1048576} {
		if got := conntrackEntries(provision.Facts{"kernel memory": memory}); got != want {
			t.Errorf("%s KiB: %d, want %d", memory, got, want)
		}
	}
}

// The probe reads this machine's kernel: values of more than one digit are
// whole, which the read of some shells does not manage.
func TestSysctlProbeReads(t *testing.T) {
	p := sample.Pair(1, 0, inventories.Single)
	out, err := exec.Command("sh", "-c", sysctl{p, p.Nodes[0]}.Probe().Script).Output()
	if err != nil {
		t.Fatal(err)
	}
	f := provision.Facts{}
	if err := parseSysctl(string(out), f); err != nil {
		t.Fatal(err)
	}
	if f["sysctl net.ipv4.ip_forward"] == "" {
		t.Skipf("this kernel shows no net.ipv4.ip_forward: %s", out)
	}
	if v := f["sysctl net.ipv4.neigh.default.gc_thresh3"]; len(v) == 1 {
		t.Errorf("net.ipv4.neigh.default.gc_thresh3 is %q", v)
	}
	if f["sysctl net.ipv4.conf.lo.send_redirects"] == "" {
		t.Errorf("no values of interfaces in %s", out)
	}
}
