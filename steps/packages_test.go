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

func TestPackagesParse(t *testing.T) {
	for _, tt := range []struct {
		name, output string
		want         provision.Facts
	}{
		{"Debian, clean", `== installed
installed iptables 1.8.9-2
config-files haproxy 2.6.12-1
installed iputils-ping 3:20221126-1
== iptables
iptables v1.8.9 (nf_tables)
== candidates
conntrack:
  Installed: (none)
  Candidate: 1:1.4.7-1+b2
  Version table:
     1:1.4.7-1+b2 500
keepalived:
  Installed: (none)
  Candidate: (none)
`, provision.Facts{"package iptables": "yes", "package iputils-ping": "yes", "version iptables": "1.8.9", "variant iptables": "nf_tables",
			"candidate conntrack": "1:1.4.7-1+b2"}},
		{"EL9, done", `== installed
installed conntrack-tools 1.4.7-2.el9
installed haproxy 2.4.22-3.el9_3
package iptables is not installed
installed iptables-nft 1.8.10-2.el9
installed iptables-nft-services 1.8.10-2.el9
installed keepalived 2.2.8-3.el9
== iptables
iptables v1.8.10 (nf_tables)
== candidates
`, provision.Facts{"package conntrack-tools": "yes", "package haproxy": "yes", "package iptables-nft": "yes", "package iptables-nft-services": "yes",
			"package iptables-services": "yes", "package keepalived": "yes", "version conntrackd": "1.4.7", "version haproxy": "2.4.22",
			"version iptables": "1.8.10", "variant iptables": "nf_tables", "version keepalived": "2.2.8"}},
		{"EL7, yum breaks lines", `== installed
installed iptables 1.4.21-35.el7
== iptables
iptables v1.4.21
== candidates
Available Packages
conntrack-tools.x86_64                  1.4.4-7.el7                    base
iptables-services.x86_64
                                        1.4.21-35.el7                  base
keepalived.x86_64                       1.3.5-19.el7                   base
`, provision.Facts{"package iptables": "yes", "version iptables": "1.4.21", "variant iptables": "legacy",
			"candidate conntrack-tools": "1.4.4-7.el7", "candidate iptables-services": "1.4.21-35.el7", "candidate keepalived": "1.3.5-19.el7"}},
		{"nothing at all", "", provision.Facts{}},
	} {
		f := provision.Facts{}
		if err := parsePackages(tt.output, f); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, f); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestUpstream(t *testing.T) {
	for _, tt := range [][2]string{{"1:2.2.7-1+b2", "2.2.7"}, {"2.6.12-1+deb12u4", "2.6.12"}, {"2.0.20+repack-1", "2.0.20"},
		{"3.0.5-4.el10", "3.0.5"}, {"1.8.0~rc1-1", "1.8.0"}, {"1.8.9", "1.8.9"}, {"", ""}} {
		if got := upstream(tt[0]); got != tt[1] {
			t.Errorf("%q: %q, want %q", tt[0], got, tt[1])
		}
	}
}

func TestPackagesPlan(t *testing.T) {
	el := machineFacts("networkmanager")
	for _, tt := range []struct {
		name   string
		facts  provision.Facts
		want   string
		makes  provision.Facts // among others
		script []string        // substrings, in order
	}{
		{"Debian, lists known", machineFacts("ifupdown").With(provision.Facts{"candidate conntrack": "1:1.4.7-1", "candidate conntrackd": "1:1.4.7-1",
			"candidate haproxy": "2.6.12-1", "candidate iptables": "1.8.9-2", "candidate iptables-persistent": "1.0.20",
			"candidate netfilter-persistent": "1.0.20", "candidate keepalived": "1:2.2.9-1"}),
			"run conntrack conntrackd haproxy iptables iptables-persistent keepalived netfilter-persistent: are not installed\n",
			provision.Facts{"version keepalived": "2.2.9", "version haproxy": "2.6.12", "variant iptables": "nf_tables", "package keepalived": "yes"},
			[]string{"trap 'systemctl unmask", "systemctl mask", "debconf-set-selections", "apt install", "|| { apt update"}},
		{"Debian, no lists", machineFacts("ifupdown"),
			"run conntrack conntrackd haproxy iptables iptables-persistent keepalived netfilter-persistent: are not installed\n",
			provision.Facts{"version conntrackd": "1.4.7", "version haproxy": "2.6.12", "version iptables": "1.8.9", "version keepalived": "2.2.7"},
			[]string{"dpkg --configure -a", "apt update", "apt install"}},
		{"Ubuntu, no lists", machineFacts("networkd").With(provision.Facts{"os id": "ubuntu", "os like": "debian", "os version": "24.04"}),
			"run conntrack conntrackd haproxy iptables iptables-persistent keepalived netfilter-persistent: are not installed\n",
			provision.Facts{"version haproxy": "2.8.5"}, nil},
		{"EL9", el, "run conntrack-tools haproxy iptables-services keepalived: are not installed\n",
			provision.Facts{"version keepalived": "2.2.8", "package iptables-services": "yes"},
			[]string{"dnf -y --setopt=exit_on_lock=1 install 'conntrack-tools' 'haproxy' 'iptables-services' 'keepalived'"}},
		{"EL7", el.With(provision.Facts{"os version": "7.9", "os packages": "yum", "version iptables": "1.4.21", "variant iptables": "legacy"}),
			"run conntrack-tools haproxy iptables-services keepalived: are not installed\n",
			provision.Facts{"version keepalived": "1.3.5", "version iptables": ""}, []string{"yum -y --setopt=exit_on_lock=1 install"}},
		{"EL10 without its modules", el.With(provision.Facts{"os version": "10.0", "kernel xt_socket": "", "kernel release": "6.12.0-55.el10.x86_64"}),
			"run conntrack-tools haproxy iptables-services keepalived kernel-modules-extra-6.12.0-55.el10.x86_64: are not installed\n",
			provision.Facts{"kernel xt_socket": "yes", "version haproxy": "3.0.5"}, nil},
		{"EL, one gone", el.With(provision.Facts{"package conntrack-tools": "yes", "package iptables-services": "yes", "package keepalived": "yes",
			"version conntrackd": "1.4.7", "version iptables": "1.8.10", "version keepalived": "2.2.8", "variant iptables": "nf_tables"}),
			"run haproxy: is not installed\n", provision.Facts{"version haproxy": "2.4.22", "version keepalived": ""}, []string{"dnf -y --setopt=exit_on_lock=1 install 'haproxy'"}},
		{"no ping", el.With(provision.Facts{"package conntrack-tools": "yes", "package iptables-services": "yes", "package keepalived": "yes",
			"package haproxy": "yes", "command ping": ""}),
			"run iputils: is not installed\n", provision.Facts{"command ping": "yes"}, nil},
		{"cut off", machineFacts("ifupdown").With(provision.Facts{"package conntrack": "yes", "package conntrackd": "yes", "package haproxy": "yes",
			"package iptables": "yes", "package iptables-persistent": "yes", "package netfilter-persistent": "yes", "package keepalived": "yes",
			"unit haproxy.service UnitFileState": "masked-runtime", "unit haproxy.service LoadState": "masked"}),
			"run haproxy.service: is masked until the next boot: an installation was cut off\n",
			provision.Facts{"unit haproxy.service LoadState": "loaded"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sample.Pair(2, 2, inventories.Single)
			changes, err := packages{p, p.Nodes[0]}.Plan(tt.facts)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, brief(changes)); d != "" {
				t.Fatal(d)
			}
			for k, v := range tt.makes {
				if changes[0].Makes[k] != v {
					t.Errorf("makes %s %q, want %q", k, changes[0].Makes[k], v)
				}
			}
			rest := changes[0].Script
			for _, s := range tt.script {
				i := strings.Index(rest, s)
				if i < 0 {
					t.Fatalf("no %q in order in\n%s", s, changes[0].Script)
				}
				rest = rest[i:]
			}
			for _, c := range changes {
				checkChange(t, tt.facts, c)
			}
		})
	}
}

// An installation under the machine's own sh, with package managers of the test.
func TestTransaction(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"busy":   "echo x >>$DIR/tries\n[ $(wc -l <$DIR/tries) -gt $1 ] || { echo metadata already locked by 90; exit 200; }\necho installed\n",
		"broken": "echo no such package >&2\nexit 100\n",
		"slow":   "echo begun\n/bin/sleep 0.5\necho half\n/bin/sleep 0.5\necho whole >$DIR/done\n",
		"sleep":  ":\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(script string) *exec.Cmd {
		posix(t, "transaction", transaction(script))
		cmd := exec.Command("sh", "-euc", "(\n"+transaction(script)+") 2>&1\n")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "DIR="+dir)
		return cmd
	}
	for _, c := range []struct {
		script, want string
		code         int
	}{
		{"patient busy 2", "metadata already locked by 90\nwaiting for the lock of the package manager\n" +
			"metadata already locked by 90\nwaiting for the lock of the package manager\ninstalled\n", 0},
		{"patient busy 100", "another package manager has held its lock", 1},
		{"patient broken", "no such package\n", 1},
		{"set +e\npatient broken || { echo then; exit 7; }", "no such package\nthen\n", 7},
	} {
		_ = os.Remove(filepath.Join(dir, "tries"))
		cmd := run(c.script)
		out, _ := cmd.CombinedOutput()
		if !strings.Contains(string(out), c.want) || cmd.ProcessState.ExitCode() != c.code {
			t.Errorf("%s: exit %d\n%s", c.script, cmd.ProcessState.ExitCode(), out)
		}
	}
	// The connection is lost when it has begun.
	cmd := run("patient slow")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	_, _ = out.Read(make([]byte, 1))
	_ = out.Close()
	_ = cmd.Wait()
	if _, err := os.Stat(filepath.Join(dir, "done")); err != nil {
		t.Error("an installation did not outlive its connection")
	}
}

// The check after the installation runs under the machine's own sh with a
// dpkg-query of the test.
func TestCheckVersions(t *testing.T) {
	dir := t.TempDir()
	fake := "#!/bin/sh\nfor last; do :; done\ncase $last in haproxy) printf %s 2.6.12-1+deb12u4 ;; keepalived) printf %s 1:2.2.7-1+b2 ;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "dpkg-query"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(haproxy string) (string, error) {
		script := checkVersions(provision.Facts{"os packages": "apt"}, provision.Facts{"version haproxy": haproxy, "version keepalived": "2.2.7"})
		posix(t, "check", script)
		cmd := exec.Command("sh", "-euc", script)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("2.6.12"); err != nil || out != "" {
		t.Errorf("as expected: %v %s", err, out)
	}
	out, err := run("2.6.1")
	if want := "haproxy 2.6.12 was installed where 2.6.1 was expected; run apply again to plan for it\n"; err == nil || out != want {
		t.Errorf("another version: %v %q", err, out)
	}
}
