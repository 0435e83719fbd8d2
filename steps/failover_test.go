package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/provision"
)

// packaged is what matters here of the script that comes with conntrack-tools.
const packaged = `#!/bin/sh
CONNTRACKD_BIN=/usr/sbin/conntrackd
CONNTRACKD_CONFIG=/etc/conntrackd/conntrackd.conf
    $CONNTRACKD_BIN -C $CONNTRACKD_CONFIG -s
    if [ $? -eq 1 ]
    then
	$CONNTRACKD_BIN -C $CONNTRACKD_CONFIG -d
    fi
    $CONNTRACKD_BIN -C $CONNTRACKD_CONFIG -t
`

// TestFailoverScript runs probe and change on folders of the test.
func TestFailoverScript(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to root")
	}
	for _, tt := range []struct{ name, doc, want string }{
		{"documentation of Enterprise Linux 7", "/usr/share/doc/conntrack-tools-1.4.4/doc/sync/primary-backup.sh", "packaged"},
		{"documentation of Enterprise Linux", "/usr/share/doc/conntrack-tools/doc/sync/primary-backup.sh", "packaged"},
		{"documentation of Debian", "/usr/share/doc/conntrackd/examples/sync/primary-backup.sh", "packaged"},
		{"no documentation", "", "own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			if tt.doc != "" {
				if err := os.MkdirAll(filepath.Dir(root+tt.doc), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(root+tt.doc, []byte(packaged), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			sh := func(script string) string {
				t.Helper()
				script = strings.NewReplacer("/usr/share/doc/", root+"/usr/share/doc/", " /etc/conntrackd", " "+root+"/etc/conntrackd",
					"<"+copiedScript, "<"+root+copiedScript, provision.StateDir, root+provision.StateDir).Replace(script)
				out, err := exec.Command("sh", "-c", script).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return string(out)
			}
			probe := func() string {
				f := provision.Facts{}
				if content, err := os.ReadFile(root + copiedScript); err == nil {
					mode := strings.TrimSpace(sh("stat -c '0%a %u:%g' " + copiedScript))
					f[provision.Key("file", copiedScript)] = provision.Hash(content) + " " + mode
				}
				if tt.doc != "" { // as the test's scripts name it, too
					f[provision.Key("file", root+tt.doc)] = provision.Hash([]byte(packaged)) + " 0644 0:0"
				}
				if err := parseFailover(sh(failoverProbe()+"\ntrue"), f); err != nil {
					t.Fatal(err)
				}
				if got, want := f["doc primary-backup.sh"], tt.doc; got != want && got != root+want {
					t.Errorf("doc is %q, want %q", got, want)
				}
				return f["failover script"]
			}
			change := planFailover(debian12(), "conntrackd")[0].Script
			if got := probe(); got != "" {
				t.Errorf("before: %q", got)
			}
			for range 2 {
				sh("set -eu\n" + change)
				if got := probe(); got != "ready" {
					t.Errorf("after the change: %q", got)
				}
			}
			got, err := os.ReadFile(root + copiedScript)
			if err != nil {
				t.Fatal(err)
			}
			want := ownScript
			if tt.want == "packaged" {
				want = strings.Replace(packaged, "$CONNTRACKD_BIN -C $CONNTRACKD_CONFIG -d", "systemctl start conntrackd.service", 1)
			}
			if d := cmp.Diff(want, string(got)); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			for _, spoil := range []string{"chmod 0777 ", "chown 1 ", "echo >>"} {
				sh("set -eu\n" + change + spoil + " " + copiedScript + "\n")
				if got := probe(); got != "changed" {
					t.Errorf("after %s: %q", spoil, got)
				}
			}
			if left, _ := filepath.Glob(root + copiedScript + ".*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestOwnScript runs our own script with a conntrackd that notes what it is
// asked.
func TestOwnScript(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"conntrackd": "#!/bin/sh\necho \"$@\" >>" + dir + "/asked\n[ \"$3\" != -R ]\n",
		"logger":     "#!/bin/sh\necho \"logger $*\" >>" + dir + "/asked\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(strings.Replace(ownScript, "PATH=", "PATH="+dir+":", 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	const c = "-C /etc/conntrackd/conntrackd.conf "
	for state, want := range map[string]string{
		"primary": c + "-c\n" + c + "-f\n" + c + "-R\nlogger -t primary-backup.sh conntrackd -R failed\n" + c + "-B\n",
		"backup":  c + "-t\n" + c + "-n\n",
		"fault":   c + "-t\n",
	} {
		if err := os.RemoveAll(dir + "/asked"); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(script, state).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", state, err, out)
		}
		got, err := os.ReadFile(dir + "/asked")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Errorf("%s: -want +got\n%s", state, d)
		}
	}
	if err := exec.Command(script, "other").Run(); err == nil {
		t.Error("an unknown state is accepted")
	}
}
