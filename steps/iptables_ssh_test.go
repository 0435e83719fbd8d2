package steps

import (
	"testing"

	"fwprov/provision"
)

// TestSSHPorts reads what sshd_config(5) allows.
func TestSSHPorts(t *testing.T) {
	for _, tt := range []struct{ out, want string }{
		{"ssh 22\n", "22"},
		{"ssh \n", ""},
		{"ssh 22\nPort 22022\nport=2222\n  Port \"443\"\n", "22 443 2222 22022"},
		{"ssh 22\nListenAddress 192.168.1.1\nListenAddress 192.168.1.1:2200\nListenAddress [2001:db8::1]:2201\nListenAddress 2001:db8::1\nListenAddress ::\n", "22 2200 2201"},
		{"ssh 22\nPort 0\nPort 70000\nPort x\nPort\n", "22"},
		{"ssh 22 -A INPUT -j ACCEPT\n", "22"},
	} {
		f := provision.Facts{}
		if err := parseIptables(tt.out, f); err != nil || f["ssh ports"] != tt.want {
			t.Errorf("%q: %q, want %q (%v)", tt.out, f["ssh ports"], tt.want, err)
		}
	}
}
