package hcl

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file under testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", file, diff)
	}
}

// load parses an inventory that must be good, and returns its warnings.
func load(t *testing.T, src []byte, opts Options) (*inventories.Pair, string) {
	t.Helper()
	pair, source, diags := Parse(src, "pair.hcl", opts)
	var b bytes.Buffer
	if err := source.Write(&b, diags, false); err != nil {
		t.Fatal(err)
	}
	if pair == nil {
		t.Fatalf("not accepted:\n%s", b.String())
	}
	return pair, b.String()
}

// TestExamples holds what the two inventories mean, every default filled in.
func TestExamples(t *testing.T) {
	for _, tt := range []struct {
		name string
		src  []byte
		vars map[string]string
	}{
		{"guide", inventories.Guide, map[string]string{"vrrp_password": "SOMEPASS"}},
		{"minimal", inventories.Minimal, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := tt.name
			pair, warnings := load(t, tt.src, Options{Vars: tt.vars})
			b, err := json.MarshalIndent(pair, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/"+name+".json", append(b, '\n'))
			golden(t, "testdata/"+name+".warnings", []byte(warnings))
		})
	}
}
