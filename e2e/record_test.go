package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fwprov/e2e/bench/fleet"
	"fwprov/e2e/lab"
)

// TestRecordFleet writes down what the nodes of a pair answer that is as its
// inventory says. The simulated pairs of the benchmark answer the same.
func TestRecordFleet(t *testing.T) {
	if os.Getenv("FWPROV_RECORD") == "" {
		t.Skip("it rewrites e2e/bench/fleet/testdata: set FWPROV_RECORD=1")
	}
	r := up(t, "record", lab.Debian, fleet.Inventory(0, "192.168.1.1", "192.168.1.2"))
	r.apply()
	answers, err := fleet.Record(r.pair, func(node, script string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		res, err := r.lab.Exec(ctx, node, "env", "SSH_CONNECTION=192.168.1.100 40000 192.168.1.1 22", "sh", "-c", script) // as over SSH
		return res.Stdout, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for node, text := range answers {
		if err := os.WriteFile(filepath.Join("bench", "fleet", "testdata", node+".probe"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
