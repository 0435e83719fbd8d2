package steps

import (
	"strings"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// A configuration that somebody else wrote is shown in a plan without its
// passwords, and without anything but them missing.
func TestForeignPasswordsAreMasked(t *testing.T) {
	const conf = `global
    stats socket /run/haproxy/admin.sock mode 660 level admin
userlist ops
    user alice password $6$k6y3o.eP$JlKBx9za9667qe4(xHSwRv6J.C0/D7cV91
    user bob insecure-password hunter2
listen stats
    stats enable
    stats auth admin:hunter2
    stats	auth	root:hunter2 # hunter
`
	p := sample.Pair(1, 1, inventories.Single)
	s := haproxy{p, p.Nodes[0]}
	for _, f := range s.Files(provision.Facts{"os packages": "apt", "version haproxy": "2.6.12"}) {
		if f.Path != haproxyConf {
			continue
		}
		got := string(f.Mask([]byte(conf)))
		if strings.Contains(got, "hunter2") || strings.Contains(got, "JlKBx9za") {
			t.Errorf("shown:\n%s", got)
		}
		for _, kept := range []string{"level admin\n", "user alice password (sensitive)\n", "insecure-password (sensitive)\n", "stats enable\n", "stats auth (sensitive)\n", "(sensitive) # hunter\n"} {
			if !strings.Contains(got, kept) {
				t.Errorf("%q is gone:\n%s", kept, got)
			}
		}
		if again := string(f.Mask([]byte(got))); again != got {
			t.Errorf("masked twice:\n%s", again)
		}
		if own := string(f.Mask(f.Content)); own != string(f.Content) {
			t.Errorf("our own file has something that looks like a password:\n%s", own)
		}
		return
	}
	t.Error("there is no configuration")
}

// What a unit records of a configuration with a secret is for root alone.
func TestRecordOfAHashIsPrivate(t *testing.T) {
	for _, reload := range []bool{false, true} {
		for line := range strings.Lines(loadedLines("x.service", reload, "/etc/x", "/etc/x.d")) {
			if !strings.Contains(line, "'umask 077; mkdir") {
				t.Errorf("%s", line)
			}
		}
	}
}
