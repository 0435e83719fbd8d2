package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// TestHistoryView shows the history of two applies, the second of one node only.
func TestHistoryView(t *testing.T) {
	h := newHouse(t, "off", nil)
	p := h.app.pairs[0]
	p.runner.Operator = "alice from admin1"
	p.runner.Record = &provision.Record{Source: []byte("one\n"), Tool: "v1", Origin: provision.Origin{File: "/fw/pair.hcl", SHA256: strings.Repeat("ab", 32)}}
	if code, err := h.app.run(t.Context()); code != exitOK || err != nil {
		t.Fatal(code, err, h.stderr)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "fw01", "light"), []byte("dusk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := p.runner.Nodes
	p.runner.ID, p.runner.Nodes = "secondid", all[:1]
	p.runner.Record = &provision.Record{Source: []byte("two\n"), Tool: "v2", Note: "rollback to 1", Partial: []string{"--limit fw01", "--only light"},
		Origin: provision.Origin{File: "/fw/pair.hcl", SHA256: strings.Repeat("cd", 32), Commit: strings.Repeat("01", 20), Dirty: true}}
	if code, err := h.app.run(t.Context()); code != exitOK || err != nil {
		t.Fatal(code, err, h.stderr)
	}
	p.runner.Nodes = all
	found, err := p.history(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found[1].nodes["fw01"].Changes[0].Why += "\x1b[2J"
	for name, o := range map[string]options{"history.txt": {}, "history-verbose.txt": {verbose: true}, "history.json": {json: true}} {
		w, out, _ := testWorld(t)
		s := &session{w: w, o: o, scr: newScreen(w, true)}
		if err := s.showHistory(p, found); err != nil {
			t.Fatal(err)
		}
		s.scr.close()
		golden(t, name, out.String())
	}
	var none bytes.Buffer
	historyView{out: &none}.history(p, nil)
	if none.String() != "Nothing was applied yet.\n" {
		t.Errorf("without a history: %q", none.String())
	}
	if g, err := choose(found, ""); err != nil || g.N != 1 {
		t.Errorf("back to %v, %v", g, err)
	}
}

// TestHistoryHalfRead: what one node has is shown when the other's cannot be read.
func TestHistoryHalfRead(t *testing.T) {
	h := newHouse(t, "off", nil)
	p := h.app.pairs[0]
	p.runner.Record = &provision.Record{Source: []byte("one\n")}
	if code, err := h.app.run(t.Context()); code != exitOK || err != nil {
		t.Fatal(code, err, h.stderr)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "fw02/var/lib/fwprov/history/0001/meta.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := p.history(t.Context())
	if err == nil || !strings.Contains(err.Error(), "node fw02: read the history: ") || len(found) != 1 || len(found[0].nodes) != 1 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestChoose(t *testing.T) {
	// Generations whose sources have different digests cannot be made here: what
	// those of one house have in common is enough.
	at := func(n int, run string, nodes ...string) *generation {
		g := &generation{Generation: provision.Generation{N: n, Run: run, Time: time.Unix(int64(n), 0)}, nodes: map[string]provision.Generation{}}
		for _, name := range nodes {
			g.nodes[name] = g.Generation
		}
		return g
	}
	all := []*generation{at(1, "a", "fw01", "fw02"), at(2, "b", "fw01"), at(2, "c", "fw02"), at(3, "d", "fw01", "fw02")}
	for _, tc := range []struct {
		all      []*generation
		to, want string
	}{
		{nil, "", "the nodes have no history: nothing was applied yet"},
		{all, "", "the history has nothing else than what is in force: there is nothing to go back to"},
		{all, "1", "a"},
		{all, "3", "d"},
		{all, "c", "c"},
		{all, "4", "--to 4: there is no such generation; the history has 1, 2 and 3"},
		{all, "2", "--to 2: the nodes have different ones under that number: --to b (fw01), --to c (fw02)"},
	} {
		g, err := choose(tc.all, tc.to)
		got := fmt.Sprint(err)
		if err == nil {
			got = g.Run
		}
		if got != tc.want {
			t.Errorf("--to %q: %s, want %s", tc.to, got, tc.want)
		}
	}
}

// TestBackTo takes a pair to what a record has, and its nodes' addresses for SSH
// from the inventory.
func TestBackTo(t *testing.T) {
	h := newHouse(t, "off", nil)
	p := h.app.pairs[0]
	then := sample.Pair(2, 1, inventories.PerVLAN)
	p.runner.Record = &provision.Record{Source: then.Record()}
	if code, err := h.app.run(t.Context()); code != exitOK || err != nil {
		t.Fatal(code, err, h.stderr)
	}
	found, err := p.history(t.Context())
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := p.backTo(t.Context(), found[0]); err != nil {
		t.Fatal(err)
	}
	if string(p.Pair.Record()) != string(then.Record()) || len(p.nodes) != 2 || len(p.runner.Nodes[1].Steps) < 5 {
		t.Errorf("not what it was: %s", p.Describe())
	}

	p.runner.Others, p.runner.Nodes = []provision.Node{{Name: "fw09"}}, p.runner.Nodes[:1]
	if err := p.backTo(t.Context(), found[0]); err == nil || err.Error() != "generation 1 is of fw01 and fw02: it has no fw09" {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "fw01/var/lib/fwprov/history/0001/source"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.runner.Others, p.runner.Nodes = nil, p.runner.Nodes[:2]
	if err := p.backTo(t.Context(), found[0]); err == nil || !strings.Contains(err.Error(), "has changed while it was read") {
		t.Error(err)
	}
	if found, err = p.history(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.backTo(t.Context(), found[0]); err == nil || !strings.Contains(err.Error(), "generation 1 of fw01 is not that of fw02") {
		t.Error(err)
	}
}
