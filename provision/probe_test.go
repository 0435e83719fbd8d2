package provision

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"mvdan.cc/sh/v3/syntax"
)

// posix fails the test if a generated script does not parse as POSIX sh.
func posix(t *testing.T, script string) {
	t.Helper()
	if _, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(script), ""); err != nil {
		t.Errorf("%v in\n%s", err, script)
	}
}

func TestProbeReadsManifestFilesUnits(t *testing.T) {
	const zero = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	j := join("m", []namedProbe{{"one", Probe{Units: []string{"b.service", "a.service"}, Files: []string{"/etc/x*"},
		Script: "echo hi", Parse: func(out string, f Facts) error { f["said one"] = strings.TrimSpace(out); return nil }}}}, nil)
	posix(t, j.script)
	out := strings.NewReplacer("Z", zero).Replace(`
@m manifest
file	/etc/x	one	Z
vlan	eth2.2	interfaces	made
nonsense

@m stat
1795400000 444 0:0 regular empty file|/proc/self/stat
1 600 0:0 regular file|/etc/x
1 755 0:0 directory|/etc/xd
1 777 0:0 symbolic link|/etc/xl
1 4755 0:0 regular empty file|/etc/xs

@m sums
Z  /etc/x
Z  /etc/xl
Z  /etc/xs

@m rollback
run1
/etc/a.conf steps/02-iptables

@m loaded
* 
a.service Z

@m units
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no
Evil=yes

LoadState=not-found
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no

@m step one
hi

@m end
`)
	got, err := j.parse(out)
	if err != nil {
		t.Fatal(err)
	}
	want := Facts{
		"managed file /etc/x":             "one " + zero,
		"managed vlan eth2.2":             "interfaces made",
		"file /etc/x":                     zero + " 0600 0:0",
		"file /etc/xd":                    "other directory",
		"file /etc/xl":                    "other symbolic link",
		"file /etc/xs":                    zero + " 4755 0:0",
		"loaded a.service":                zero,
		"unit a.service LoadState":        "loaded",
		"unit a.service ActiveState":      "active",
		"unit a.service UnitFileState":    "enabled",
		"unit a.service NeedDaemonReload": "no",
		"unit b.service LoadState":        "not-found",
		"unit b.service ActiveState":      "inactive",
		"unit b.service NeedDaemonReload": "no",
		"said one":                        "hi",
		"clock now":                       "1795400000",
		"lost":                            "/etc/a.conf, steps/02-iptables",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	wantManifest := "file\t/etc/x\tone\t" + zero + "\nvlan\teth2.2\tinterfaces\tmade\n"
	if d := cmp.Diff(wantManifest, renderManifest(got)); d != "" {
		t.Error(d)
	}
	if _, err := j.parse(out[:strings.Index(out, "@m end")]); err == nil {
		t.Error("a truncated answer was taken for a whole one")
	}
	if _, err := j.parse(strings.Replace(out, "\n\nLoadState", "\nLoadState", 1)); err == nil {
		t.Error("one unit was taken for two")
	}
}

func TestScriptsParse(t *testing.T) {
	posix(t, contents("m", []string{"/etc/it's", "/etc/b"}))
	manifest := "file\t/etc/x\tone\tz\n"
	posix(t, stepScript("m", batch{changes: []Change{
		{Write: &File{Path: "/etc/it's", Content: []byte("x")}, Script: "true"},
		{Remove: "/etc/systemd/system/y.service"},
		{Script: "for f in a b; do\n\techo $f\ndone\n"},
		{Write: &File{Path: "/etc/systemd/system/x"}},
	}, last: true}, map[string]string{"/etc/it's": "/tmp/0", "/etc/systemd/system/x": "/tmp/1"}, &manifest))
}

func TestPrintable(t *testing.T) {
	if got := Printable("a\x1b[2Jb\tc\x00\u009b\u202ed é"); got != "a\ufffd[2Jb\tc\ufffd\ufffd\ufffdd é" {
		t.Errorf("%q", got)
	}
}

// FuzzParse holds that nothing a node prints makes the engine panic.
func FuzzParse(f *testing.F) {
	f.Add("\n@m manifest\nfile\t/x\ty\tz\n\n@m stat\n600 0:0 regular file|/x\n\n@m units\nLoadState=loaded\n\n@m end\n")
	f.Add("\n@m end")
	f.Add("\n@m rollback\nrun\n/etc/x steps/01-y\n\n@m end\n")
	f.Fuzz(func(t *testing.T, out string) {
		j := join("m", []namedProbe{{"one", Probe{Units: []string{"a.service"}}}}, nil)
		facts, err := j.parse(out)
		if err == nil {
			_ = renderManifest(facts)
		}
		_ = parseContents("m", out, Facts{})
		fl := &follower{mark: "m", failed: -1, done: func(int) {}, output: func(string) {}}
		for _, line := range strings.Split(out, "\n") {
			fl.line(line)
		}
	})
}

func TestCompareClocks(t *testing.T) {
	now := time.Unix(1795400000, 0)
	for seconds, want := range map[string]string{
		"1795400000": "", "1795403599": "", "1795396401": "", "1795403600": "1h", "1795486400": "24h", "1795313600": "-24h", "0": "-498722h",
		"": "", "x": "", "99999999999999999999": "", "-4000000000000000000": "",
	} {
		f := Facts{}.With(Facts{clockNow: seconds})
		compareClocks(f, now)
		date := ""
		if seconds == "0" {
			date = "1970-01-01"
		}
		if d := cmp.Diff(Facts{}.With(Facts{"clock off": want, "clock date": date}), f); d != "" {
			t.Errorf("%q: %s", seconds, d)
		}
	}
}

// What is asked once is known at every look.
func TestProbeOnce(t *testing.T) {
	var heard []string
	step := namedProbe{"one", Probe{Script: "v=1; echo always", Once: "echo once $v",
		Parse: func(out string, f Facts) error {
			heard = append(heard, strings.Join(strings.Fields(out), " "))
			return nil
		}}}
	var once map[string]string
	for i := range 3 {
		j := join("m", []namedProbe{step}, once)
		posix(t, j.script)
		if got := strings.Contains(j.script, "echo once"); got != (i == 0) {
			t.Errorf("look %d asks: %t", i+1, got)
		}
		out, err := exec.Command("sh", "-c", j.script).Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.parse(string(out)); err != nil {
			t.Fatal(err)
		}
		once = j.once
	}
	if d := cmp.Diff([]string{"always once 1", "always once 1", "always once 1"}, heard); d != "" {
		t.Error(d)
	}
}
