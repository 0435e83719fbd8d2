package diagram

import (
	"fmt"
	"strings"
)

// DOT writes the topology for Graphviz: dot -Tpdf.
func (t *Topology) DOT() string {
	var d dot
	fmt.Fprintf(&d, `graph {
  graph [label=%s labelloc=t rankdir=TB ranksep=0.7 fontname="Helvetica" fontsize=18]
  node [shape=box style="filled,rounded" fillcolor=white fontname="Helvetica" fontsize=11]
  edge [fontname="Helvetica" fontsize=9]
`, dotLabel(t.Name))
	d.node("gateway", "", "Internet gateway", t.Gateway, "route "+t.Route)
	d.bar("outside", colourOutside, t.Outside)
	d.edge("gateway", "outside")
	d.pair(t)
	d.bar("trunk", colourTrunk, t.Trunk)
	for i, n := range t.Nodes {
		d.edge("outside", nodeID(i), n.Outside.Interface, n.Outside.Address)
		d.edge(nodeID(i), "trunk", n.Trunk.Interface)
	}
	for i, v := range t.VLANs {
		d.bar(place(Place(i)), colourVLAN, v)
		d.edge("trunk", place(Place(i)))
	}
	if t.hasBeyond() {
		d.bar(place(Beyond), colourLine, t.Beyond)
		d.edge("gateway", place(Beyond))
	}
	for i, s := range t.Services {
		d.service(i, s)
	}
	d.WriteString("}\n")
	return d.String()
}

// dot is a graph in the making.
type dot struct{ strings.Builder }

func (d *dot) node(id, attributes string, lines ...string) {
	fmt.Fprintf(d, "  %s [label=%s%s]\n", id, dotLabel(lines...), attributes)
}

func (d *dot) bar(id, fill string, s Segment) {
	d.node(id, fmt.Sprintf(" style=filled fillcolor=%q fontcolor=white", fill), segmentLines(s)...)
}

func (d *dot) edge(from, to string, lines ...string) {
	fmt.Fprintf(d, "  %s -- %s", from, to)
	if len(lines) > 0 {
		fmt.Fprintf(d, " [label=%s]", dotLabel(lines...))
	}
	d.WriteByte('\n')
}

// pair draws the nodes beside each other, with the sync network between them.
func (d *dot) pair(t *Topology) {
	d.WriteString("  subgraph cluster_pair {\n  label=\"\" style=dashed\n")
	for i, n := range t.Nodes {
		d.node(nodeID(i), ` fillcolor="#e2e8f0"`, append([]string{n.Name}, n.Notes...)...)
	}
	d.bar("sync", colourSync, t.Sync)
	d.WriteString("  subgraph { rank=same sync")
	for i := range t.Nodes {
		d.WriteString(" " + nodeID(i))
	}
	d.WriteString(" }\n  }\n")
	for i, n := range t.Nodes {
		from, to := nodeID(i), "sync"
		if i > 0 {
			from, to = to, from
		}
		d.edge(from, to, n.Sync.Interface, n.Sync.Address)
	}
}

func (d *dot) service(i int, s Service) {
	fmt.Fprintf(d, "  subgraph cluster_service%d {\n  label=%s labelloc=b fontsize=11\n", i, dotLabel(serviceLines(s)...))
	for j, server := range s.Servers {
		d.node(serverID(i, j), "", server.Name, server.Endpoint)
	}
	d.WriteString("  }\n")
	for j, server := range s.Servers {
		d.edge(place(server.At), serverID(i, j))
	}
}

func nodeID(i int) string { return fmt.Sprintf("node%d", i) }

func serverID(service, i int) string { return fmt.Sprintf("server%d_%d", service, i) }

// dotLabel quotes lines of text. Between quotes only " and \ mean something: the
// latter begins names that Graphviz would replace.
func dotLabel(lines ...string) string {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var out []string
	for _, l := range lines {
		out = append(out, quoted.Replace(l))
	}
	return `"` + strings.Join(out, `\n`) + `"`
}

// place is the name of a segment's node.
func place(at Place) string {
	switch at {
	case Outside:
		return "outside"
	case Beyond:
		return "beyond"
	}
	return fmt.Sprintf("vlan%d", at)
}

// segmentLines tells all of a segment.
func segmentLines(s Segment) []string {
	out := []string{s.Name, s.Network}
	for _, v := range s.VIPs {
		if v.Address == "" {
			out = append(out, v.Carrier)
			continue
		}
		out = append(out, "VIP "+v.Address+" ("+v.Carrier+")")
	}
	for _, p := range s.Ports {
		out = append(out, p.Node+" "+p.Interface+" "+p.Address)
	}
	return out
}

func serviceLines(s Service) []string {
	return []string{s.Name, s.Endpoint, strings.Join(s.Traits, ", ")}
}

// hasBeyond reports whether a server stands in no network of the pair.
func (t *Topology) hasBeyond() bool {
	for _, s := range t.Services {
		for _, server := range s.Servers {
			if server.At == Beyond {
				return true
			}
		}
	}
	return false
}
