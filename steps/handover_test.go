package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReleaseLeavesTheDrainOfAnOperator: only what an apply holds is let go.
func TestReleaseLeavesTheDrainOfAnOperator(t *testing.T) {
	for who, stays := range map[string]bool{
		"":                                    false,
		"1 alice from admin\n":                true,
		"1 " + heldBy + "alice from admin\n":  false,
		"1 bob, after an apply of his own\n":  true,
		"0 " + heldBy + "alice, and edited\n": true,
	} {
		path := filepath.Join(t.TempDir(), "drain")
		if who != "" {
			if err := os.WriteFile(path, []byte(who), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		script := "set -eu\n" + strings.ReplaceAll(services{}.Release(), drainKept, path)
		if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
			t.Errorf("%q: %v %s", who, err, out)
		}
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%q: it stays: %v", who, err == nil)
		}
	}
}
