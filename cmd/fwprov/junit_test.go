package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"

	"fwprov/provision"
)

func TestJUnit(t *testing.T) {
	var j junitSuites
	j.add("edge", "2026-11-23T04:05:06", provision.Health{State: provision.Degraded, Checks: []provision.Check{
		{Name: "one holder", OK: true, Detail: "fw01 holds all 2 VIPs"},
		{Name: "rules v4", Node: "fw02", Detail: "not the ruleset of the <inventory> & \"more\"\x1b[2J", Why: "what may pass is another", Hint: "fwprov plan"},
	}})
	j.add("other", "2026-11-23T04:05:06", provision.Health{State: provision.Down, Checks: []provision.Check{
		{Name: "one holder", Down: true, Detail: "no node holds a VIP"},
	}})
	text, err := j.text()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", string(text))
	var back junitSuites
	if err := xml.Unmarshal(text, &back); err != nil || back.Tests != 3 || back.Failures != 2 {
		t.Errorf("read back: %v, %d tests, %d failures", err, back.Tests, back.Failures)
	}
}

func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	for _, text := range []string{"one", "two"} {
		if err := writeWhole(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(link, []byte("three")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(file)
	if b, _ := os.ReadFile(file); err != nil || string(b) != "three" || info.Mode() != 0o600 {
		t.Errorf("the file has %q, %v, %v", b, info, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no more: %v, %v", info, err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("left behind: %v", names)
	}
	if err := writeWhole(filepath.Join(dir, "no", "such"), nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
