package diagram

import "unicode/utf8"

// The colours, dark enough for white text on them and apart from each other in
// grey.
const (
	colourInk     = "#0f172a"
	colourFaint   = "#475569"
	colourLine    = "#64748b"
	colourOutside = "#1d4ed8"
	colourSync    = "#7e22ce"
	colourTrunk   = "#334155"
	colourVLAN    = "#0f766e"
	colourVIP     = "#d97706"
	paleVIP       = "#fef3c7"
	paleNode      = "#f1f5f9"
	paleVLAN      = "#f0fdfa"
	white         = "#ffffff"
)

// drawing is a picture: shapes with coordinates in pixels, the later ones over the
// earlier ones.
type drawing struct {
	width, height int
	shapes        []shape
}

// shape is a box, a line or a text; the other two are nil.
type shape struct {
	box  *box
	line *line
	text *text
}

type box struct {
	x, y, w, h   int
	round        int
	fill, stroke string // "": none
	over         bool   // lies across the border of another box, as a port does
}

func (b box) right() int  { return b.x + b.w }
func (b box) bottom() int { return b.y + b.h }
func (b box) centre() int { return b.x + b.w/2 }

// line goes through points x, y, x, y...
type line struct {
	points []int
	colour string
	width  int
	dashed bool
}

type anchor string

const (
	start  anchor = "start"
	middle anchor = "middle"
	end    anchor = "end"
)

// text stands on y. It is at most as wide as room: first it shrinks, then it is cut.
type text struct {
	x, y   int
	room   int
	size   float64
	anchor anchor // "": start
	bold   bool
	mono   bool
	colour string // "": ink
	words  string
	whole  string // if it was cut
}

func (d *drawing) add(b box) box {
	d.shapes = append(d.shapes, shape{box: &b})
	return b
}

func (d *drawing) stroke(colour string, width int, points ...int) {
	d.shapes = append(d.shapes, shape{line: &line{points: points, colour: colour, width: width}})
}

func (d *drawing) dash(colour string, points ...int) {
	d.shapes = append(d.shapes, shape{line: &line{points: points, colour: colour, width: 2, dashed: true}})
}

// smallest is how far a text shrinks before it is cut.
const smallest = 0.6

func (d *drawing) write(t text) {
	if t.anchor == "" {
		t.anchor = start
	}
	if t.colour == "" {
		t.colour = colourInk
	}
	if w := t.width(); w > float64(t.room) {
		shrunk := float64(t.room) / w
		t.size *= max(smallest, shrunk)
		if shrunk < smallest {
			t.cut()
		}
	}
	d.shapes = append(d.shapes, shape{text: &t})
}

// cut takes away the end of a text until it has room.
func (t *text) cut() {
	t.whole = t.words
	room := float64(t.room) - t.size*glyph('…', t.bold, t.mono)
	width := 0.0
	for i, r := range t.whole {
		if width += t.size * glyph(r, t.bold, t.mono); width > room {
			t.words = t.whole[:i] + "…"
			return
		}
	}
}

// width is about how wide a text is, rather too wide: what fonts there are is not
// known. DejaVu and Verdana are the widest of the usual ones.
func (t *text) width() float64 {
	w := 0.0
	for _, r := range t.words {
		w += glyph(r, t.bold, t.mono)
	}
	return w * t.size
}

// glyph is the width of a character, of a size of 1.
func glyph(r rune, bold, mono bool) float64 {
	w := 0.62
	switch {
	case r >= utf8.RuneSelf && r != '…' && r != '·':
		return 1.1
	case mono:
		return 0.61
	case r == 'm' || r == 'w' || r == 'M' || r == 'W' || r == '@' || r == '%' || r == '…':
		w = 0.98
	case r >= 'A' && r <= 'Z':
		w = 0.73
	case r == 'i' || r == 'j' || r == 'l' || r == '.' || r == ',' || r == ':' || r == ' ' || r == '·':
		w = 0.34
	}
	if bold {
		w *= 1.1
	}
	return w
}

// area is what a text covers.
func (t *text) area() box {
	w := int(t.width()) + 1
	b := box{x: t.x, y: t.y - int(0.78*t.size), w: w, h: int(t.size)}
	switch t.anchor {
	case middle:
		b.x -= w / 2
	case end:
		b.x -= w
	}
	return b
}
