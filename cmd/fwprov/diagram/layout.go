package diagram

import (
	"math"
	"strings"
)

// Measures of the upper part, in pixels.
const (
	margin    = 48
	barHeight = 34
	nodeWidth = 320
	badgeW    = 196
	badgeH    = 44
	badgeGap  = 12
	outsideY  = 214 // of the outside bar
	nodesY    = outsideY + barHeight + 80
	gapLeast  = 452 // between the nodes
)

// canvas is a drawing in the making.
type canvas struct {
	drawing
	t      *Topology
	centre int // of the page
}

// draw lays the topology out from top to bottom: the gateway, the outside network,
// the nodes with the sync link and the VIPs between them, the trunk, and a grid of
// VLANs.
func (t *Topology) draw() *drawing {
	c := &canvas{t: t}
	g := newGrid(t)
	columns := badgeColumns(len(t.Outside.VIPs))
	gap := max(gapLeast, columns*(badgeW+badgeGap)+60)
	c.width = max(2*nodeWidth+gap, g.width()) + 2*margin
	c.centre = c.width / 2

	c.heading()
	c.legend()
	c.gateway()
	c.bar(outsideY, colourOutside, c.t.Outside)
	bottom := c.nodes(gap, columns)
	trunk := c.bar(bottom+76, colourTrunk, c.t.Trunk)
	c.height = g.draw(c, trunk.bottom()) + margin
	c.write(text{x: c.width - margin, y: c.height - 18, room: c.width - 2*margin, size: 11, anchor: end, colour: colourFaint, words: "drawn from the inventory by fwprov graph"})
	return &c.drawing
}

func (c *canvas) heading() {
	room := c.centre - 190 - margin
	c.write(text{x: margin, y: 66, room: room, size: 27, bold: true, words: c.t.Name})
	c.write(text{x: margin, y: 90, room: room, size: 13.5, colour: colourFaint, words: "Redundant firewall, two nodes"})
	for i, f := range c.t.Facts {
		c.write(text{x: margin, y: 120 + 19*i, room: room, size: 12.5, colour: colourFaint, words: f})
	}
}

// legend says what the colours mean, in the corner on the right.
func (c *canvas) legend() {
	x := c.width - margin - 270
	for i, l := range []struct{ fill, stroke, words string }{
		{paleVIP, colourVIP, "VIP: fails over between the nodes"},
		{colourSync, "", "sync network of the two nodes"},
		{colourVLAN, "", "VLAN"},
		{paleVLAN, colourVLAN, "service with its servers"},
	} {
		y := 50 + 25*i
		c.add(box{x: x, y: y, w: 26, h: 16, round: 4, fill: l.fill, stroke: l.stroke})
		c.write(text{x: x + 36, y: y + 13, room: 234, size: 12, colour: colourFaint, words: l.words})
	}
}

func (c *canvas) gateway() {
	cloud := box{x: c.centre - 62, y: 30, w: 124, h: 34, round: 17, fill: white, stroke: colourLine}
	g := box{x: c.centre - 150, y: 92, w: 300, h: 78, round: 8, fill: paleNode, stroke: colourTrunk}
	c.stroke(colourLine, 2, c.centre, cloud.bottom(), c.centre, g.y)
	c.stroke(colourOutside, 3, c.centre, g.bottom(), c.centre, outsideY)
	c.add(cloud)
	c.write(text{x: c.centre, y: 52, room: 100, size: 14, anchor: middle, colour: colourFaint, words: "Internet"})
	c.add(g)
	c.write(text{x: c.centre, y: 114, room: 280, size: 14, anchor: middle, bold: true, words: "Internet gateway"})
	c.write(text{x: c.centre, y: 135, room: 280, size: 14, anchor: middle, mono: true, words: c.t.Gateway})
	c.write(text{x: c.centre, y: 157, room: 280, size: 11.5, anchor: middle, colour: colourFaint, words: "route " + c.t.Route})
}

// bar draws a segment from one side of the page to the other.
func (c *canvas) bar(y int, fill string, s Segment) box {
	b := c.add(box{x: margin, y: y, w: c.width - 2*margin, h: barHeight, round: 6, fill: fill})
	c.write(text{x: b.x + 16, y: y + 22, room: 160, size: 14, bold: true, colour: white, words: s.Name})
	c.write(text{x: b.right() - 16, y: y + 22, room: 220, size: 14, anchor: end, mono: true, colour: white, words: s.Network})
	return b
}

// nodes draws both firewalls and what lies between them. It returns where they end.
func (c *canvas) nodes(gap, columns int) (bottom int) {
	rows := (len(c.t.Outside.VIPs) + columns - 1) / columns
	badges := nodesY + 24
	link := max(nodesY+126, badges+rows*(badgeH+badgeGap)+46)
	bottom = link + 58
	left := box{x: c.centre - gap/2 - nodeWidth, y: nodesY, w: nodeWidth, h: bottom - nodesY, round: 10, fill: paleNode, stroke: colourTrunk}
	right := left
	right.x = c.centre + gap/2

	c.badges(badges, columns, left.right(), right.x)
	c.sync(link, left.right(), right.x)
	for i, n := range c.t.Nodes[:min(2, len(c.t.Nodes))] {
		b, inner := left, left.right()
		if i == 1 {
			b, inner = right, right.x
		}
		c.node(b, n)
		c.port(b.centre(), b.y, n.Outside.Interface, colourOutside)
		c.port(b.centre(), b.bottom(), n.Trunk.Interface, colourTrunk)
		c.port(inner, link, n.Sync.Interface, colourSync)
		c.write(text{x: b.centre() + 10, y: nodesY - 28, room: 140, size: 13.5, mono: true, words: n.Outside.Address})
	}
	for i, n := range c.t.Nodes[:min(2, len(c.t.Nodes))] {
		t := text{x: left.right() + 46, y: link - 10, room: (gap - 92) / 2, size: 13.5, mono: true, words: n.Sync.Address}
		if i == 1 {
			t.x, t.anchor = right.x-46, end
		}
		c.write(t)
	}
	return bottom
}

func (c *canvas) node(b box, n Node) {
	c.stroke(colourOutside, 3, b.centre(), outsideY+barHeight, b.centre(), b.y)
	c.stroke(colourTrunk, 5, b.centre(), b.bottom(), b.centre(), b.bottom()+76)
	c.add(b)
	c.wall(b.x+22, b.y+34)
	c.write(text{x: b.x + 76, y: b.y + 56, room: nodeWidth - 96, size: 17, bold: true, words: n.Name})
	for i, note := range n.Notes {
		c.write(text{x: b.x + 76, y: b.y + 80 + 19*i, room: nodeWidth - 120, size: 12.5, colour: colourFaint, words: note})
	}
}

// wall is the sign of a firewall: bricks.
func (c *canvas) wall(x, y int) {
	const brick = "#b91c1c"
	for row, widths := range [][]int{{18, 18}, {8, 18, 8}, {18, 18}, {8, 18, 8}} {
		at := x
		for _, w := range widths {
			c.add(box{x: at, y: y + 10*row, w: w, h: 8, round: 1, fill: brick})
			at += w + 2
		}
	}
}

// port is an interface on the border of a node.
func (c *canvas) port(x, y int, name, fill string) {
	b := c.add(box{x: x - 36, y: y - 12, w: 72, h: 24, round: 12, fill: fill, stroke: white, over: true})
	c.write(text{x: x, y: y + 5, room: b.w - 10, size: 13, anchor: middle, bold: true, colour: white, words: name})
}

// sync is the link between the nodes.
func (c *canvas) sync(y, from, to int) {
	c.stroke(colourSync, 4, from, y, to, y)
	words := []string{c.t.Sync.Name + " " + c.t.Sync.Network}
	for _, v := range c.t.Sync.VIPs {
		words = append(words, "VRRP "+v.Carrier)
	}
	for i, w := range words {
		c.write(text{x: c.centre, y: y + 22 + 18*i, room: to - from - 40, size: 13 - float64(i), anchor: middle, bold: i == 0, colour: colourSync, words: w})
	}
}

// badges are the VIPs of the outside network, which float between the nodes.
func (c *canvas) badges(y, columns, from, to int) {
	vips := c.t.Outside.VIPs
	c.dash(colourVIP, from, y+badgeH/2, to, y+badgeH/2)
	c.dash(colourVIP, c.centre, outsideY+barHeight, c.centre, y+badgeH/2)
	for i := 0; i < len(vips); i += columns {
		row := vips[i:min(i+columns, len(vips))]
		x := c.centre - (len(row)*(badgeW+badgeGap)-badgeGap)/2
		for _, v := range row {
			c.badge(box{x: x, y: y, w: badgeW, h: badgeH}, v, 15)
			x += badgeW + badgeGap
		}
		y += badgeH + badgeGap
	}
}

func (c *canvas) badge(b box, v VIP, size float64) {
	b.round, b.fill, b.stroke = b.h/2, paleVIP, colourVIP
	c.add(b)
	c.write(text{x: b.centre(), y: b.y + b.h*42/100 + 1, room: b.w - 24, size: size, anchor: middle, bold: true, mono: true, words: v.Address})
	c.write(text{x: b.centre(), y: b.y + b.h*80/100, room: b.w - 24, size: size - 4, anchor: middle, colour: colourFaint, words: "VIP · " + strings.Replace(v.Carrier, ", ", " · ", 1)})
}

// badgeColumns makes a block of VIPs about as wide as high.
func badgeColumns(vips int) int {
	return max(1, min(vips, 2), int(math.Ceil(math.Sqrt(float64(vips)/2))))
}
