package diagram

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Measures of the grid, in pixels.
const (
	cardW     = 440
	spine     = 30 // left of a card: the line that comes down from the trunk
	columnW   = spine + cardW + 24
	cardGap   = 40
	cellH     = 38 // the ports and the VIP on a VLAN
	serviceX  = 28
	serviceW  = cardW - serviceX
	serviceAt = 14 // above each service
	headH     = 54
	chipH     = 42
	chipGap   = 8
	landscape = 1.5 // width to height
	most      = 6   // services on one card
)

// card is a segment in the grid with services that have servers in it.
type card struct {
	segment Segment
	fill    string
	tapped  bool // carried by the trunk
	parts   []part
}

// part is a service with those of its servers that stand in one segment.
type part struct {
	Service
	of int // servers it has in all
}

// grid puts cards under the trunk.
type grid struct {
	cards   []card
	columns int
}

func newGrid(t *Topology) grid {
	parts := map[Place][]part{}
	for _, s := range t.Services {
		for _, at := range s.places() {
			parts[at] = append(parts[at], s.in(at))
		}
	}
	g := grid{}
	for i, v := range t.VLANs {
		g.cards = append(g.cards, card{v, colourVLAN, true, nil}.divided(parts[Place(i)])...)
	}
	if p := parts[Outside]; p != nil {
		g.cards = append(g.cards, card{t.Outside.continued(), colourOutside, false, nil}.divided(p)...)
	}
	if p := parts[Beyond]; p != nil {
		g.cards = append(g.cards, card{t.Beyond, colourLine, false, nil}.divided(p)...)
	}
	area := 0.0
	for _, c := range g.cards {
		area += columnW * float64(c.height()+cardGap)
	}
	g.columns = min(max(2, int(math.Ceil(math.Sqrt(landscape*area)/columnW))), max(1, len(g.cards)))
	return g
}

// divided puts parts on the card, and on further ones of the same segment.
func (k card) divided(parts []part) []card {
	k.parts = parts[:min(most, len(parts))]
	out := []card{k}
	k.segment = k.segment.continued()
	for p := range slices.Chunk(parts[len(k.parts):], most) {
		k.parts = p
		out = append(out, k)
	}
	return out
}

// continued is the bar of a segment that was drawn before.
func (s Segment) continued() Segment {
	return Segment{Name: strings.TrimSuffix(s.Name, ", continued") + ", continued", Network: s.Network}
}

// cellsHeight is what the ports of a segment take, if it shows any.
func (s Segment) cellsHeight() int {
	if len(s.VIPs) == 0 {
		return 0
	}
	return cellH
}

func (g grid) width() int { return g.columns * columnW }

// draw fills the columns, always the shortest, and returns where the longest ends.
func (g grid) draw(c *canvas, trunk int) (bottom int) {
	left := c.centre - (g.width()-24+spine/2)/2
	ends := make([]int, g.columns) // of the last card of each column
	taps := make([]int, g.columns) // where its line from the trunk ends
	for i := range ends {
		ends[i] = trunk
	}
	for _, k := range g.cards {
		col := 0
		for i := range ends {
			if ends[i] < ends[col] {
				col = i
			}
		}
		x, y := left+col*columnW+spine, ends[col]+cardGap
		if k.tapped {
			taps[col] = y + k.segment.cellsHeight() + barHeight/2
			c.stroke(colourTrunk, 3, x-spine/2, taps[col], x, taps[col])
		}
		k.draw(c, x, y)
		ends[col] = y + k.height()
	}
	for i, y := range taps {
		if y > 0 {
			x := left + i*columnW + spine/2
			c.stroke(colourTrunk, 3, x, trunk, x, y+1)
		}
	}
	bottom = trunk
	for _, y := range ends {
		bottom = max(bottom, y)
	}
	return bottom
}

func (k card) height() int {
	h := k.segment.cellsHeight() + barHeight
	for _, p := range k.parts {
		h += serviceAt + p.height()
	}
	return h
}

func (k card) draw(c *canvas, x, y int) {
	k.cells(c, x, y)
	y += k.segment.cellsHeight()
	c.add(box{x: x, y: y, w: cardW, h: barHeight, round: 6, fill: k.fill})
	c.write(text{x: x + 14, y: y + 22, room: 236, size: 14, bold: true, colour: white, words: k.segment.Name})
	c.write(text{x: x + cardW - 14, y: y + 22, room: 160, size: 13, anchor: end, mono: true, colour: white, words: k.segment.Network})
	y += barHeight
	top := y
	for _, p := range k.parts {
		y += serviceAt
		c.stroke(k.fill, 2, x+12, top, x+12, y+headH/2, x+serviceX, y+headH/2)
		p.draw(c, x+serviceX, y, k.fill)
		y += p.height()
	}
}

// cells stand on the bar of a VLAN as the nodes stand above it: the ports of both,
// and the VIP between them.
func (k card) cells(c *canvas, x, y int) {
	const side, height = 130, cellH - 2
	for i, p := range k.segment.Ports[:min(2, len(k.segment.Ports))] {
		b := c.add(box{x: x + i*(cardW-side), y: y, w: side, h: height, round: 6, fill: paleNode, stroke: colourTrunk})
		c.write(text{x: b.centre(), y: y + 14, room: side - 12, size: 11, anchor: middle, colour: colourFaint, words: p.Node + " " + p.Interface})
		c.write(text{x: b.centre(), y: y + 29, room: side - 12, size: 12.5, anchor: middle, mono: true, words: p.Address})
	}
	for _, v := range k.segment.VIPs {
		c.badge(box{x: x + side + 8, y: y, w: cardW - 2*side - 16, h: height}, v, 13.5)
	}
}

func (p part) height() int {
	rows := (len(p.Servers) + 1) / 2
	return headH + rows*(chipH+chipGap)
}

func (p part) draw(c *canvas, x, y int, colour string) {
	c.add(box{x: x, y: y, w: serviceW, h: p.height(), round: 8, fill: paleVLAN, stroke: colour})
	c.write(text{x: x + 12, y: y + 22, room: 214, size: 14, bold: true, words: p.Name})
	c.write(text{x: x + serviceW - 12, y: y + 22, room: 160, size: 13, anchor: end, mono: true, words: p.Endpoint})
	traits := strings.Join(p.Traits, " · ")
	if len(p.Servers) < p.of {
		traits += fmt.Sprintf(" · %d of %d servers", len(p.Servers), p.of)
	}
	c.write(text{x: x + 12, y: y + 41, room: serviceW - 24, size: 11.5, colour: colourFaint, words: traits})
	const w = (serviceW - 24 - chipGap) / 2
	for i, s := range p.Servers {
		b := c.add(box{x: x + 12 + i%2*(w+chipGap), y: y + headH + i/2*(chipH+chipGap), w: w, h: chipH, round: 6, fill: white, stroke: colourLine})
		c.rack(b.x+9, b.y+10)
		c.write(text{x: b.x + 38, y: b.y + 18, room: w - 44, size: 12, bold: true, words: s.Name})
		c.write(text{x: b.x + 38, y: b.y + 33, room: w - 44, size: 12, mono: true, words: s.Endpoint})
	}
}

// rack is the sign of a server.
func (c *canvas) rack(x, y int) {
	for i := range 3 {
		b := c.add(box{x: x, y: y + 8*i, w: 20, h: 6, round: 1, fill: colourTrunk})
		c.add(box{x: b.right() - 5, y: b.y + 2, w: 2, h: 2, fill: "#86efac"})
	}
}

// places are the segments that servers of the service stand in, each once.
func (s Service) places() []Place {
	var out []Place
	seen := map[Place]bool{}
	for _, server := range s.Servers {
		if !seen[server.At] {
			seen[server.At] = true
			out = append(out, server.At)
		}
	}
	if len(out) == 0 {
		out = []Place{Beyond}
	}
	return out
}

// in is the service with its servers of one segment.
func (s Service) in(at Place) part {
	p := part{Service: s, of: len(s.Servers)}
	p.Servers = nil
	for _, server := range s.Servers {
		if server.At == at {
			p.Servers = append(p.Servers, server)
		}
	}
	return p
}
