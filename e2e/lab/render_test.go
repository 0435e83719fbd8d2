package lab

import (
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"mvdan.cc/sh/v3/syntax"

	"fwprov/inventories"
)

// TestRenderGolden holds everything that is rendered for the guide's pair, with
// the kernel's 802.1q and without.
func TestRenderGolden(t *testing.T) {
	p := guide()
	p.SSH = inventories.SSH{User: "admin", Port: 2222}
	top, err := Plan(p)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	section := func(title, content string) { s.WriteString("=== " + title + "\n" + content + "\n") }
	for _, trunk := range []bool{false, true} {
		kernel := " without 802.1q"
		if trunk {
			kernel = " with 802.1q"
		}
		for _, b := range top.Bridges {
			section("switch "+b.Name+kernel, bridgeBatch(b, trunk))
		}
		for _, h := range top.Hosts {
			section("plug "+h.Name+kernel, plugBatch("test", h, machineLinks(h, trunk)))
		}
	}
	var nodes []Host
	for _, h := range top.Hosts {
		section("setup "+h.Name, setupBatch(h))
		if h.Kind == KindNode {
			nodes = append(nodes, h)
		}
	}
	section("unplug fw01", unplugBatch(nodes[0], machineLinks(nodes[0], false)))
	section("/etc/network/interfaces", interfaces(nodes[0]))
	for _, l := range machineLinks(nodes[0], true) {
		section(l.Interface+".nmconnection", keyfile(nodes[0], l))
	}
	section("/etc/hosts", etcHosts(nodes[1]))
	section("~/.ssh/config", sshConfig(nodes, top.SSH, "/home"))
	section("~/.ssh/known_hosts", knownHosts(nodes[0], top.SSH, "ssh-ed25519 AAAA\n")+knownHosts(nodes[1], Login{Port: 22}, "ssh-ed25519 AAAA\n"))
	golden(t, "guide.txt", s.String())
}

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "plain", "two words", "it's", `$HOME "x" \ ` + "`id`", "'; id; '"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("quote(%q) reads as %q, %v", s, out, err)
		}
	}
}

// Every script of the lab is POSIX sh.
func TestScriptsParse(t *testing.T) {
	parser := syntax.NewParser(syntax.Variant(syntax.LangPOSIX))
	seen := 0
	err := fs.WalkDir(embedded, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".sh") {
			return err
		}
		seen++
		f, err := embedded.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := parser.Parse(f, path); err != nil {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 8 {
		t.Errorf("only %d scripts are embedded", seen)
	}
}

func TestImageKeys(t *testing.T) {
	keys := map[string]string{}
	for name := range imageParents {
		key, err := imageKey(name)
		if err != nil {
			t.Fatal(err)
		}
		for other, k := range keys {
			if k == key {
				t.Errorf("images %s and %s have the same key", name, other)
			}
		}
		keys[name] = key
	}
	if _, err := imageKey("suse"); err == nil {
		t.Error("an image that does not exist has a key")
	}
	for path, image := range map[string]string{
		"image/el/rpms.sh": "el", "image/el.sh": "el", "image/common.sh": "mail", "image/base.sh": "base",
	} {
		if !belongsTo(path, image) {
			t.Errorf("%s does not belong to image %s", path, image)
		}
	}
	if belongsTo("image/el.sh", "debian") {
		t.Error("image/el.sh belongs to image debian")
	}
}

func TestMissing(t *testing.T) {
	look := func(without ...string) func(string) (string, error) {
		return func(program string) (string, error) {
			for _, w := range without {
				if w == program {
					return "", exec.ErrNotFound
				}
			}
			return "/bin/" + program, nil
		}
	}
	if err := missing(requirements, look()); err != nil {
		t.Errorf("nothing is missing, but: %v", err)
	}
	err := missing(requirements, look("systemd-nspawn", "nsenter", "unshare"))
	want := "the lab needs systemd-nspawn, nsenter, unshare: apt-get install systemd-container util-linux"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestCgroupRoots(t *testing.T) {
	const (
		v1      = "30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
		named   = "31 29 0:27 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,xattr,name=systemd\n"
		hybrid  = "32 29 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		unified = "32 29 0:28 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n"
		other   = "1 0 8:1 / / rw - ext4 /dev/root rw\nnonsense\n"
	)
	tests := []struct {
		name, mountinfo string
		want            []string
	}{
		{"unified", other + unified, []string{"/sys/fs/cgroup"}},
		{"hybrid", other + v1 + named + hybrid, []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}},
		{"no unified one", other + v1 + named, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, cgroupRoots(tt.mountinfo)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, name := range []string{"", "a.b", "../x", "Lab", strings.Repeat("x", 33), "-x"} {
		if _, err := (Options{Name: name}).complete(); err == nil {
			t.Errorf("%q is accepted as a name", name)
		}
	}
	o, err := Options{Name: "guide-el"}.complete()
	if err != nil || o.StateDir != DefaultStateDir || o.CacheDir != DefaultCacheDir || o.Log == nil {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestOpenOfNoLab(t *testing.T) {
	_, err := Open(Options{Name: "none", StateDir: t.TempDir()})
	if err == nil || err.Error() != "lab none: the lab is not up" {
		t.Errorf("got %v", err)
	}
}

func TestLastLines(t *testing.T) {
	for in, want := range map[string]string{"": "", "a\n": "a", "a\nb\nc\n": "b\nc"} {
		if got := lastLines([]byte(in), 2); got != want {
			t.Errorf("lastLines(%q) = %q, want %q", in, got, want)
		}
	}
}
