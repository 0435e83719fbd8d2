package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"fwprov/provision"
)

// showHistory prints the generations of a pair.
func (s *session) showHistory(p *pair, all []*generation) error {
	if s.o.json {
		return writeJSON(s.scr.stdout(), newHistoryDocument(p, all))
	}
	historyView{out: s.scr.stdout(), style: s.w.outStyle(), zone: s.w.now().Location(), changes: s.o.verbose}.history(p, all)
	return nil
}

// historyView shows generations to people.
type historyView struct {
	out     io.Writer
	style   style
	zone    *time.Location
	changes bool // list them
}

func (v historyView) history(p *pair, all []*generation) {
	var b strings.Builder
	for _, g := range all {
		var counts []string
		for _, name := range g.where(p) {
			counts = append(counts, fmt.Sprintf("%s: %s", name, count(len(g.nodes[name].Changes), "change")))
		}
		b.WriteString(v.style.bold(describeGeneration(g, v.zone)) + "\n    " + strings.Join(counts, ", ") + "\n")
		if v.changes {
			v.list(&b, p, g)
		}
	}
	if len(all) == 0 {
		b.WriteString("Nothing was applied yet.\n")
	}
	_, _ = io.WriteString(v.out, b.String())
}

func (v historyView) list(b *strings.Builder, p *pair, g *generation) {
	for _, name := range g.where(p) {
		for _, c := range g.nodes[name].Changes {
			line := fmt.Sprintf("    %s  %s: %s %s", name, provision.Printable(c.Step), v.style.symbol(c.Action), provision.Printable(c.Target))
			if c.Why != "" {
				line += v.style.faint(" (" + provision.Printable(c.Why) + ")")
			}
			b.WriteString(line + "\n")
		}
	}
}

// describeGeneration is one line about a generation.
func describeGeneration(g *generation, zone *time.Location) string {
	from := filepath.Base(g.Origin.File)
	switch {
	case g.Origin.Commit != "":
		from += ", commit " + shortened(g.Origin.Commit)
		if g.Origin.Dirty {
			from += " and later edits"
		}
	case g.Origin.SHA256 != "":
		from += ", sha256 " + shortened(g.Origin.SHA256)
	}
	text := fmt.Sprintf("%d  %s  %s  %s", g.N, g.Time.In(zone).Format("2006-01-02 15:04:05 -0700"), g.Operator, from)
	if g.Note != "" {
		text += "  " + g.Note
	}
	if len(g.Partial) > 0 {
		text += "  (" + strings.Join(g.Partial, " ") + ")"
	}
	return strings.ReplaceAll(provision.Printable(text), "\n", " ")
}

// shortened is as much of a hash as people compare.
func shortened(hash string) string { return hash[:min(12, len(hash))] }

// historyDocument is history --json.
type historyDocument struct {
	Inventory   string               `json:"inventory,omitempty"`
	Generations []generationDocument `json:"generations"`
}

type generationDocument struct {
	N        int              `json:"n"`
	Run      string           `json:"run"`
	Time     time.Time        `json:"time"`
	Operator string           `json:"operator"`
	Origin   provision.Origin `json:"inventory"`
	Tool     string           `json:"tool"`
	Note     string           `json:"note,omitempty"`
	Partial  []string         `json:"partial,omitempty"`
	Nodes    []changesOf      `json:"nodes"`
}

type changesOf struct {
	Name    string               `json:"name"`
	Changes []provision.Recorded `json:"changes"`
}

func newHistoryDocument(p *pair, all []*generation) historyDocument {
	doc := historyDocument{Inventory: p.inventory, Generations: []generationDocument{}}
	for _, g := range all {
		d := generationDocument{N: g.N, Run: g.Run, Time: g.Time, Operator: g.Operator, Origin: g.Origin, Tool: g.Tool, Note: g.Note, Partial: g.Partial, Nodes: []changesOf{}}
		for _, name := range g.where(p) {
			changes := g.nodes[name].Changes
			if changes == nil {
				changes = []provision.Recorded{}
			}
			d.Nodes = append(d.Nodes, changesOf{name, changes})
		}
		doc.Generations = append(doc.Generations, d)
	}
	return doc
}
