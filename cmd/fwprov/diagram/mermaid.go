package diagram

import (
	"fmt"
	"strings"
)

// Mermaid writes the topology as a Mermaid flowchart, for Markdown.
func (t *Topology) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart TB\n")
	line := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }

	line("gateway[%s]", mermaidLabel("Internet gateway", t.Gateway, "route "+t.Route))
	line("outside[[%s]]:::outside", mermaidLabel(segmentLines(t.Outside)...))
	line("gateway --- outside")
	line("subgraph pair [%s]", mermaidLabel(t.Name))
	for i, n := range t.Nodes {
		line("  %s[%s]:::firewall", nodeID(i), mermaidLabel(append([]string{n.Name}, n.Notes...)...))
	}
	line("  sync[[%s]]:::sync", mermaidLabel(segmentLines(t.Sync)...))
	line("end")
	line("trunk[[%s]]:::trunk", mermaidLabel(segmentLines(t.Trunk)...))
	for i, n := range t.Nodes {
		line("outside ---|%s| %s", mermaidLabel(n.Outside.Interface, n.Outside.Address), nodeID(i))
		line("%s ---|%s| sync", nodeID(i), mermaidLabel(n.Sync.Interface, n.Sync.Address))
		line("%s ---|%s| trunk", nodeID(i), mermaidLabel(n.Trunk.Interface))
	}
	for i, v := range t.VLANs {
		line("trunk --- %s[[%s]]:::vlan", place(Place(i)), mermaidLabel(segmentLines(v)...))
	}
	if t.hasBeyond() {
		line("gateway --- %s[[%s]]", place(Beyond), mermaidLabel(segmentLines(t.Beyond)...))
	}
	for i, s := range t.Services {
		line("subgraph service%d [%s]", i, mermaidLabel(serviceLines(s)...))
		for j, server := range s.Servers {
			line("  %s[%s]", serverID(i, j), mermaidLabel(server.Name, server.Endpoint))
		}
		line("end")
		for j, server := range s.Servers {
			line("%s --- %s", place(server.At), serverID(i, j))
		}
	}
	line("classDef outside fill:%s,color:#fff,stroke:none", colourOutside)
	line("classDef sync fill:%s,color:#fff,stroke:none", colourSync)
	line("classDef trunk fill:%s,color:#fff,stroke:none", colourTrunk)
	line("classDef vlan fill:%s,color:#fff,stroke:none", colourVLAN)
	line("classDef firewall fill:#e2e8f0,color:#0f172a,stroke:#334155")
	return b.String()
}

// mermaidLabel quotes lines of text. Mermaid takes HTML and Markdown in a label, so
// that only what is harmless in both is written as it is.
func mermaidLabel(lines ...string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, l := range lines {
		if i > 0 {
			b.WriteString("<br/>")
		}
		for _, r := range l {
			if r > 0x7f || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune(" .,:/()-_?", r) {
				b.WriteRune(r)
				continue
			}
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
