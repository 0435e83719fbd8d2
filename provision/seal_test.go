package provision

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestSeal(t *testing.T) {
	a, b := SealKey{[]byte("a")}, SealKey{[]byte("b")}
	seals := []string{
		a.Seal([]byte("x"), []byte("y")), b.Seal([]byte("x"), []byte("y")),
		a.Seal([]byte("xy")), a.Seal([]byte("x"), []byte("y"), nil), a.Seal([]byte("1 x"), []byte("y")),
	}
	sorted := slices.Sorted(slices.Values(seals))
	if len(slices.Compact(sorted)) != len(seals) {
		t.Errorf("different things have the same seal: %q", seals)
	}
	if a.Seal([]byte("x"), []byte("y")) != seals[0] {
		t.Error("the same thing has two seals")
	}
}

func TestSealKeys(t *testing.T) {
	m1, m2 := newMachine(t), newMachine(t)
	for m, key := range map[*machine]string{m1: "one", m2: "two"} {
		if err := os.MkdirAll(m.root+"/etc/ssh", 0o755); err != nil {
			t.Fatal(err)
		}
		m.write(t, "/etc/ssh/ssh_host_ed25519_key", key)
	}
	r := runner(map[string]*machine{"fw01": m1, "fw02": m2}, func(string) []Step { return nil }, nil)
	keys, err := r.SealKeys(context.Background())
	if err != nil || len(keys) != 2 || keys["fw01"].Seal() == keys["fw02"].Seal() {
		t.Fatalf("%v, %v", keys, err)
	}
	again, err := r.SealKeys(context.Background())
	if err != nil || again["fw01"].Seal() != keys["fw01"].Seal() {
		t.Errorf("another key at the second look: %v", err)
	}
	if err := os.Remove(m2.root + "/etc/ssh/ssh_host_ed25519_key"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SealKeys(context.Background()); err == nil || !strings.Contains(err.Error(), "node fw02") || !strings.Contains(err.Error(), "no SSH host key") {
		t.Errorf("without a host key: %v", err)
	}
	posix(t, sealScript)
}

// TestExact: everything that an apply would do, and what it follows from, counts.
func TestExact(t *testing.T) {
	plan := func() *NodePlan {
		return &NodePlan{Role: Standby, Changes: []Change{{Step: "s", Target: "t", Action: Update, Script: "x", From: Facts{"a": "b", "c": "d"}, Makes: Facts{"a": "c"},
			Write: &File{Path: "/etc/a", Content: []byte("secret"), Mode: 0o600, Shown: []byte("masked")}}}}
	}
	same := string(plan().Exact())
	if string(plan().Exact()) != same || strings.Contains(same, "secret") {
		t.Errorf("%s", same)
	}
	for what, alter := range map[string]func(*NodePlan){
		"role":    func(n *NodePlan) { n.Role = Active },
		"from":    func(n *NodePlan) { n.Changes[0].From["a"] = "x" },
		"makes":   func(n *NodePlan) { n.Changes[0].Makes["a"] = "x" },
		"script":  func(n *NodePlan) { n.Changes[0].Script = "y" },
		"content": func(n *NodePlan) { n.Changes[0].Write.Content = []byte("other") },
		"mode":    func(n *NodePlan) { n.Changes[0].Write.Mode = 0o640 },
		"late":    func(n *NodePlan) { n.Changes[0].Late = true },
		"more":    func(n *NodePlan) { n.Changes = append(n.Changes, Change{}) },
	} {
		n := plan()
		alter(n)
		if string(n.Exact()) == same {
			t.Errorf("another %s is not noticed", what)
		}
	}
}
