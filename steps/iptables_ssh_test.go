package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		{"ssh \nport 2222\naddressfamily any\nlisten_address x\nlogingracetime 120\nlistenaddress [::]:2222\nlistenaddress 0.0.0.0:2222\nclientaliveinterval 15\n", "2222"},
		{"ssh 22 -A INPUT -j ACCEPT\n", "22"},
	} {
		f := provision.Facts{}
		if err := parseIptables(tt.out, f); err != nil || f["ssh ports"] != tt.want {
			t.Errorf("%q: %q, want %q (%v)", tt.out, f["ssh ports"], tt.want, err)
		}
	}
}

// TestSSHPortsProbe reads folders of the test's own. sshd itself is asked only where its
// files do not say all.
func TestSSHPortsProbe(t *testing.T) {
	const session, standard = "SSH_CONNECTION=192.0.2.1 50000 192.168.1.1 22", "Include /etc/ssh/sshd_config.d/*.conf\n"
	for name, tt := range map[string]struct{ env, main, more, want string }{
		"nothing is said":      {session, standard + "#Port 2200\n", "", "22"},
		"a port":               {session, standard + "Port 2222\n", "", "22 2222"},
		"a port in the folder": {session, standard, "  port 2223\n", "22 2223"},
		"more files":           {session, standard + "include /etc/ssh/site.conf\n", "", "22 7777"},
		"under sudo":           {"SUDO_UID=1", standard, "", "7777"},
		"no file":              {session, "", "", "22 7777"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range map[string]string{"sshd_config": tt.main, "sshd_config.d/a.conf": tt.more, "bin/sshd": "#!/bin/sh\necho port 7777\necho maxsessions 10\n"} {
				path = filepath.Join(root, path)
				if text == "" {
					continue
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			// What a file says of others keeps its path.
			script := strings.NewReplacer("'Include /etc/ssh/", "'Include /etc/ssh/", "/etc/ssh/", root+"/").Replace(sshPortsProbe)
			for _, sh := range []string{"dash", "bash"} {
				cmd := exec.Command(sh, "-c", script)
				cmd.Env = []string{tt.env, "PATH=" + root + "/bin:" + os.Getenv("PATH")}
				out, err := cmd.Output()
				f := provision.Facts{}
				if perr := parseIptables(string(out), f); err != nil || perr != nil || f["ssh ports"] != tt.want {
					t.Errorf("%s: %q, want %q; it says %q (%v, %v)", sh, f["ssh ports"], tt.want, out, err, perr)
				}
			}
		})
	}
}
