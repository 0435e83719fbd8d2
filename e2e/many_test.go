package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fwprov/e2e/lab"
	"fwprov/inventories"
)

// TestManyPairs applies to a pair, beside one that is not there: the one that is
// ends as if it were alone.
func TestManyPairs(t *testing.T) {
	t.Parallel()
	r := up(t, "many", lab.Debian, inventories.Minimal)
	src, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(filepath.Dir(r.file), "gone.hcl")
	// Nobody listens there, and the answer is a refusal.
	text := strings.NewReplacer(`"edge"`, `"gone"`, `vlan_host = 253`, "vlan_host = 253\n  ssh_host = \"127.0.0.1\"",
		`vlan_host = 252`, "vlan_host = 252\n  ssh_host = \"127.0.0.2\"").Replace(string(src)) + "\nssh {\n  port = 1\n}\n"
	if err := os.WriteFile(gone, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(code int, out string, args ...string) {
		t.Helper()
		got, errs, exit := r.run(nil, append(args, gone, r.file)...)
		if exit != code || !strings.Contains(got, out) {
			t.Errorf("%s: exit %d\n%s\n%s", args[0], exit, got, errs)
		}
	}
	want(1, "edge: ", "plan")
	want(1, "1 pair changed; 1 pair failed.", "apply", "--yes")
	r.holder(0)
	want(1, "0 pairs changed; 1 pair is as the inventories say; 1 pair failed.", "apply", "--yes")
	want(1, "; 1 pair is as the inventories say.", "plan")
	want(3, "edge is healthy.", "verify", "--once")
	r.edit(`vlan "servers" { id = 3 }`, `vlan "servers" { id = 3 }`+"\n"+`vlan "guests" { id = 4 }`)
	want(1, `{"inventory":"`+r.file+`","event":"summary","changed":`, "apply", "--json")
	r.unchanged()
}
