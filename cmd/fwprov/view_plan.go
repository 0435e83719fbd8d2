package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"fwprov/provision"
)

// symbols of the actions, as they stand before a target.
var symbols = map[provision.Action]string{
	provision.Create: "+",
	provision.Update: "~",
	provision.Delete: "-",
	provision.Run:    ">",
}

// symbol is an action's, in its colour.
func (s style) symbol(a provision.Action) string {
	switch a {
	case provision.Create:
		return s.green(symbols[a])
	case provision.Update:
		return s.yellow(symbols[a])
	case provision.Delete:
		return s.red(symbols[a])
	}
	return s.cyan(symbols[a])
}

// planView shows plans to people.
type planView struct {
	out   io.Writer
	style style
	brief bool // without diffs
}

// plan shows the plan of one pair. The label stands before the nodes' names if
// there are several pairs.
func (v planView) plan(label string, p *provision.Plan) {
	var b strings.Builder
	for _, n := range p.Nodes {
		v.node(&b, label, n)
	}
	v.notices(&b, p)
	_, _ = io.WriteString(v.out, b.String())
}

// told shows what others have to do, without the changes.
func (v planView) told(p *provision.Plan) {
	var b strings.Builder
	v.notices(&b, p)
	_, _ = io.WriteString(v.out, b.String())
}

func (v planView) node(b *strings.Builder, label string, n *provision.NodePlan) {
	name := v.style.bold(nodeName(label, n.Name))
	switch {
	case n.Err != nil:
		fmt.Fprintf(b, "%s: %s\n\n", name, v.style.red("not planned"))
		return
	case len(n.Changes) == 0:
		return
	}
	role := ""
	if n.Role == provision.Active || n.Role == provision.Standby {
		role = fmt.Sprintf(" (%s)", n.Role)
	}
	fmt.Fprintf(b, "%s%s: %s\n", name, role, count(len(n.Changes), "change"))
	step := ""
	for _, c := range n.Changes {
		if c.Step != step {
			step = c.Step
			fmt.Fprintf(b, "  %s\n", step)
		}
		v.change(b, c)
	}
	b.WriteString("\n")
}

func (v planView) change(b *strings.Builder, c provision.Change) {
	line := fmt.Sprintf("    %s %s", v.style.symbol(c.Action), provision.Printable(c.Target))
	if c.Why != "" {
		line += v.style.faint(" (" + provision.Printable(c.Why) + ")")
	}
	if c.Disruptive {
		what := "! disruptive"
		if c.Cost == "" {
			what += ": interrupts traffic or moves a VIP"
		}
		line += "  " + v.style.yellow(what)
	}
	b.WriteString(line + "\n")
	if c.Together != "" {
		b.WriteString("      both nodes have to agree on it: " + provision.Printable(c.Together) + "\n")
	}
	if c.Cost != "" {
		b.WriteString("      " + v.style.yellow(provision.Printable(c.Cost)) + "\n")
	}
	if c.Diff != "" && !v.brief {
		b.WriteString(indent(v.style.diff(provision.Printable(c.Diff)), "      "))
	}
}

// diff colours a unified diff.
func (s style) diff(d string) string {
	if !s.on {
		return d
	}
	var b strings.Builder
	for line := range strings.Lines(d) {
		text, nl := strings.CutSuffix(line, "\n")
		switch {
		case strings.HasPrefix(text, "--- "), strings.HasPrefix(text, "+++ "):
			text = s.bold(text)
		case strings.HasPrefix(text, "@@"):
			text = s.cyan(text)
		case strings.HasPrefix(text, "+"):
			text = s.green(text)
		case strings.HasPrefix(text, "-"):
			text = s.red(text)
		}
		b.WriteString(text)
		if nl {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// notices says once what several nodes have to tell.
func (v planView) notices(b *strings.Builder, p *provision.Plan) {
	said := map[string]bool{}
	for _, n := range p.Nodes {
		for _, text := range n.Notices {
			if said[text] {
				continue
			}
			if len(said) == 0 {
				b.WriteString(v.style.bold("For others to do:") + "\n")
			}
			said[text] = true
			b.WriteString("  - " + strings.ReplaceAll(strings.TrimSpace(provision.Printable(text)), "\n", "\n    ") + "\n")
		}
	}
	if len(said) > 0 {
		b.WriteString("\n")
	}
}

// tally is how much there is in plans.
type tally struct {
	changes, disruptive int
	changed, failed     int // nodes
}

func (t *tally) add(p *provision.Plan) {
	t.changes += p.Changes
	for _, n := range p.Nodes {
		if n.Err != nil {
			t.failed++
		} else if len(n.Changes) > 0 {
			t.changed++
		}
		for _, c := range n.Changes {
			if c.Disruptive {
				t.disruptive++
			}
		}
	}
}

// total sums up the plans of all pairs.
func (v planView) total(plans []*provision.Plan) {
	var t tally
	for _, p := range plans {
		t.add(p)
	}
	switch {
	case t.changes == 0 && t.failed > 0:
		fmt.Fprintf(v.out, "%s\n", v.style.bold("No plan: "+count(t.failed, "node")+" could not be planned."))
	case t.changes == 0:
		fmt.Fprintf(v.out, "%s Everything is as the inventory says.\n", v.style.bold(v.style.green("No changes.")))
	default:
		text := fmt.Sprintf("Plan: %s on %s", count(t.changes, "change"), count(t.changed, "node"))
		if t.disruptive > 0 {
			text += fmt.Sprintf(", %d of them disruptive", t.disruptive)
		}
		if t.failed > 0 {
			text += fmt.Sprintf("; %s could not be planned", count(t.failed, "node"))
		}
		fmt.Fprintf(v.out, "%s\n", v.style.bold(text+"."))
	}
}

// planErrors tells why nodes have no plan, on standard error.
func planErrors(out io.Writer, s style, label string, p *provision.Plan) {
	for _, n := range p.Nodes {
		var found provision.Findings
		switch {
		case n.Err == nil:
		case errors.As(n.Err, &found):
			fmt.Fprintf(out, "%s node %s is not ready:\n", s.red("error:"), nodeName(label, n.Name))
			for _, f := range found {
				fmt.Fprintf(out, "  - %s\n", provision.Printable(f.Summary))
				if f.Hint != "" {
					fmt.Fprintf(out, "    %s\n", provision.Printable(f.Hint))
				}
			}
		default:
			printError(out, s, labelled(label, n.Err))
		}
	}
}

// nodeName is how a node is called where there may be several pairs.
func nodeName(label, node string) string {
	switch {
	case label == "":
		return node
	case node == "":
		return label
	}
	return label + "/" + node
}

// planDocument is plan --json. What a change holds besides is not shown: it may
// tell about secrets.
type planDocument struct {
	Inventory string         `json:"inventory,omitempty"`
	Changes   int            `json:"changes"`
	Nodes     []nodeDocument `json:"nodes"`
	NotBegun  bool           `json:"not_begun,omitempty"` // nothing is known of the pair
}

type nodeDocument struct {
	Name    string           `json:"name"`
	Role    provision.Role   `json:"role"`
	Changes []changeDocument `json:"changes"`
	Notices []string         `json:"notices,omitempty"`
	Error   string           `json:"error,omitempty"`
}

type changeDocument struct {
	Step       string           `json:"step"`
	Target     string           `json:"target"`
	Action     provision.Action `json:"action"`
	Why        string           `json:"why,omitempty"`
	Disruptive bool             `json:"disruptive"`
	Cost       string           `json:"cost,omitempty"`
	Together   string           `json:"together,omitempty"`
	Diff       string           `json:"diff"`
}

func newPlanDocument(inventory string, p *provision.Plan) planDocument {
	doc := planDocument{Inventory: inventory, Changes: p.Changes, Nodes: []nodeDocument{}}
	for _, n := range p.Nodes {
		d := nodeDocument{Name: n.Name, Role: n.Role, Changes: []changeDocument{}, Notices: n.Notices}
		if n.Err != nil {
			d.Error = n.Err.Error()
		}
		for _, c := range n.Changes {
			d.Changes = append(d.Changes, changeDocument{c.Step, provision.Printable(c.Target), c.Action, c.Why, c.Disruptive, c.Cost, c.Together, c.Diff})
		}
		doc.Nodes = append(doc.Nodes, d)
	}
	return doc
}
