package steps

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

const preflightDebian = `== uname
fw01 6.1.0-13-amd64
== uid
0
== os
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
VERSION_ID="12"
ID=debian
== systemd
State=running
== command
apt-get
dnf
ip
networkctl
ifup
interfaces
== selinux
== link
name eth0
== memory
4011234
== modules
/nf_conntrack.ko
tree
/nf_conntrack.ko.xz:
/8021q.ko:
/xt_socket.ko
== disk
Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/vda1         10000000  8000000   2000000      80% /
/dev/vdb            100000    99000      1000      99% /var
/dev/vda1         10000000  8000000   2000000      80% /
tmpfs               100000        0    100000       0% /run
`

func TestPreflightParse(t *testing.T) {
	f := provision.Facts{"unit systemd-networkd.service ActiveState": "active"}
	if err := parsePreflight(preflightDebian, f); err != nil {
		t.Fatal(err)
	}
	delete(f, "unit systemd-networkd.service ActiveState")
	want := provision.Facts{
		"os hostname": "fw01", "kernel release": "6.1.0-13-amd64", "os uid": "0",
		"os id": "debian", "os version": "12", "os packages": "apt", "os network": "ifupdown", "os state": "running",
		"os modules": "yes", "kernel memory": "4011234",
		"kernel nf_conntrack": "yes", "kernel 8021q": "yes", "kernel xt_socket": "yes", "disk /var": "1000",
		"module nf_conntrack": "yes", "module 8021q": "yes", "module xt_socket": "yes",
		"command apt-get": "yes", "command dnf": "yes", "command ip": "yes", "command networkctl": "yes",
		"command ifup": "yes", "command interfaces": "yes",
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

func TestNetworkStack(t *testing.T) {
	const on, off = "active", "inactive"
	cmds := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	for _, tt := range []struct {
		name     string
		active   []string
		commands map[string]bool
		link     map[string]string
		want     string
	}{
		{"EL9", []string{on, off, off}, cmds("nmcli"), map[string]string{"managed": "true"}, "networkmanager"},
		{"EL7 with NetworkManager and network.service", []string{on, off, on}, cmds("nmcli", "ifup", "network-scripts"), map[string]string{"managed": "true"}, "networkmanager"},
		{"EL7 without NetworkManager", []string{off, off, on}, cmds("ifup", "network-scripts"), nil, "ifcfg"},
		{"Debian", []string{off, off, off}, cmds("ifup", "interfaces"), nil, "ifupdown"},
		{"Debian with networkd for something else", []string{off, on, off}, cmds("ifup", "interfaces"), map[string]string{"ADMIN_STATE": "unmanaged"}, "ifupdown"},
		{"Debian with NetworkManager for something else", []string{on, off, off}, cmds("ifup", "interfaces"), map[string]string{"managed": "false"}, "ifupdown"},
		{"Ubuntu", []string{off, on, off}, cmds(), map[string]string{"ADMIN_STATE": "configured"}, "networkd"},
		{"addresses from elsewhere", []string{off, on, off}, cmds(), nil, "networkd"},
		{"none", []string{off, off, off}, cmds(), nil, ""},
		{"no systemd", nil, cmds(), nil, ""},
	} {
		f := provision.Facts{}
		for i, unit := range []string{"NetworkManager.service", "systemd-networkd.service", "network.service"} {
			if i < len(tt.active) {
				f[provision.Key("unit", unit, "ActiveState")] = tt.active[i]
			}
		}
		if got := networkStack(f, tt.commands, tt.link); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPackageManager(t *testing.T) {
	all := map[string]bool{"apt-get": true, "dnf": true, "yum": true}
	for _, tt := range []struct {
		id, like string
		commands map[string]bool
		want     string
	}{
		{"debian", "", all, "apt"},
		{"ubuntu", "debian", all, "apt"},
		{"rocky", "rhel centos fedora", all, "dnf"},
		{"centos", "rhel fedora", map[string]bool{"yum": true}, "yum"},
		{"alpine", "", map[string]bool{}, ""},
	} {
		if got := packageManager(map[string]string{"ID": tt.id, "ID_LIKE": tt.like}, tt.commands); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.id, got, tt.want)
		}
	}
}

func TestFindings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		facts provision.Facts // changes to a good machine
		want  []string
	}{
		{"good", nil, nil},
		{"not root", provision.Facts{"os uid": "1000"}, []string{"commands run as uid 1000, not as root"}},
		{"no systemd", provision.Facts{"os state": ""}, []string{`systemd does not run the system`}},
		{"old systemd", provision.Facts{"version systemd": "208"}, []string{"systemd 208 is older than 219"}},
		{"unknown distribution", provision.Facts{"os packages": "", "os id": "alpine", "os version": "3.20"}, []string{"no package manager was found (alpine 3.20)"}},
		{"disk and clock", provision.Facts{"disk /var": "1000", "clock date": "1970-01-01", "os readonly": "yes"},
			[]string{"/etc cannot be written", "the clock says 1970-01-01", "/var has only 1000 KiB free"}},
		{"another day", provision.Facts{"clock off": "24h"}, []string{"its clock is 24h ahead of that of the machine fwprov runs on"}},
		{"yesterday", provision.Facts{"clock off": "-24h"}, []string{"its clock is 24h behind that of the machine fwprov runs on"}},
		{"no sync interface", provision.Facts{"link eth1": "", "addr eth1 10.10.1.1/24": ""}, []string{"there is no interface eth1"}},
		{"no address", provision.Facts{"addr eth1 10.10.1.1/24": ""}, []string{"eth1 has no address, it should have 10.10.1.1/24"}},
		{"another network", provision.Facts{"addr eth0 192.168.1.1/24": "", "addr eth0 192.168.1.1/16": "yes"},
			[]string{"eth0 has 192.168.1.1/16, it should have 192.168.1.1/24"}},
		{"swapped", provision.Facts{"addr eth0 192.168.1.1/24": "", "addr eth0 192.168.1.2/24": "yes"},
			[]string{"eth0 has 192.168.1.2/24, the address of fw02"}},
		{"old daemon", provision.Facts{"version keepalived": "1.2.13"}, []string{"keepalived 1.2.13 is older than 1.3.5"}},
		{"unknown versions", provision.Facts{"os version": "99"}, []string{
			"nothing is known of a package for conntrackd", "nothing is known of a package for haproxy",
			"nothing is known of a package for iptables", "nothing is known of a package for keepalived"}},
		{"no xt_socket", provision.Facts{"kernel xt_socket": ""}, []string{"the kernel has no module xt_socket, which transparent services need"}},
		{"no trunk", provision.Facts{"link eth2": ""}, []string{"there is no interface eth2"}},
		{"trunk with an address", provision.Facts{"addr eth2 10.9.9.9/24": "yes"}, []string{"eth2 has the address 10.9.9.9/24, but a VLAN trunk carries none"}},
		{"no 802.1q", provision.Facts{"kernel 8021q": "", "link eth2.2": "up"}, []string{"the kernel has no 802.1q, and there is no interface eth2.3"}},
		{"wrong VLAN", provision.Facts{"link eth2.2": "up vlan eth3 7"}, []string{"eth2.2 is VLAN 7 of eth3, it should be VLAN 2 of eth2"}},
		{"no VLAN", provision.Facts{"link eth2.3": "up"}, []string{"eth2.3 exists, but it is no VLAN of eth2"}},
		{"address elsewhere", provision.Facts{"link eth9": "up", "addr eth9 10.10.3.253/24": "yes"}, []string{"10.10.3.253/24 is on eth9, it should be on eth2.3"}},
		{"no network stack", provision.Facts{"os network": ""}, []string{"nothing was found that configures interfaces at boot"}},
		{"interfaces.d not read", provision.Facts{"ifupdown source": ""}, []string{"/etc/network/interfaces does not read /etc/network/interfaces.d"}},
		{"overridden sysctl", provision.Facts{"override net.ipv4.ip_forward": "/etc/sysctl.d/99-sysctl.conf 0", "override net.ipv4.ip_nonlocal_bind": "/etc/sysctl.d/99-sysctl.conf 1"},
			[]string{"/etc/sysctl.d/99-sysctl.conf sets net.ipv4.ip_forward to 0 at boot, after /etc/sysctl.d/90-fwprov.conf sets it to 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := machineFacts("ifupdown").With(tt.facts)
			before := maps.Clone(f)
			var got []string
			for _, s := range groundwork(sample.Pair(2, 2, inventories.Single)) {
				changes, err := s.Plan(f)
				var found provision.Findings
				if errors.As(err, &found) {
					for _, x := range found {
						got = append(got, x.Summary)
					}
					if len(changes) > 0 {
						t.Errorf("step %s has findings and changes", s.Name())
					}
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(before, f); d != "" {
				t.Errorf("planning changed the facts: %s", d)
			}
		})
	}
}

// The probe runs under this machine's sh: what it says of itself has to come
// through, whatever names its variables have.
func TestPreflightProbeRuns(t *testing.T) {
	p := sample.Pair(1, 0, inventories.Single)
	out, _ := exec.Command("sh", "-c", preflight{p, p.Nodes[0]}.Probe().Script).Output()
	f := provision.Facts{}
	if err := parsePreflight(string(out), f); err != nil {
		t.Fatal(err)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Skipf("not a Linux with /proc: %v", err)
	}
	if got, want := f["kernel release"], strings.TrimSpace(string(release)); got != want {
		t.Errorf("kernel release is %q, want %q", got, want)
	}
	_, err = os.Stat("/lib/modules/" + f["kernel release"] + "/modules.dep")
	if got := f["os modules"] == "yes"; got != (err == nil) {
		t.Errorf("os modules is %q, modules.dep: %v", f["os modules"], err)
	}
	for _, k := range []string{"kernel memory", "os id", "os uid"} {
		if f[k] == "" {
			t.Errorf("no %s in %s", k, out)
		}
	}
}
