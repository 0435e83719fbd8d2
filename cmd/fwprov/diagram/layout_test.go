package diagram

import (
	"slices"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
)

func (b box) has(c box) bool {
	return c.x >= b.x && c.y >= b.y && c.right() <= b.right() && c.bottom() <= b.bottom()
}

func (b box) meets(c box) bool {
	return b.x < c.right() && c.x < b.right() && b.y < c.bottom() && c.y < b.bottom()
}

// TestOverlap holds that nothing lies on something else: boxes are apart or within
// one another, but for ports; texts are apart, and do not leave the box they
// begin in.
func TestOverlap(t *testing.T) {
	for name, p := range pairs() {
		t.Run(name, func(t *testing.T) {
			d := Of(p).draw()
			page := box{w: d.width, h: d.height}
			var boxes, areas []box
			var texts []text
			for _, s := range d.shapes {
				switch {
				case s.box != nil:
					boxes = append(boxes, *s.box)
				case s.text != nil:
					texts, areas = append(texts, *s.text), append(areas, s.text.area())
				}
			}
			for i, b := range boxes {
				if !page.has(b) {
					t.Errorf("%+v leaves the page", b)
				}
				for _, c := range boxes[:i] {
					if b.meets(c) && !b.has(c) && !c.has(b) && !b.over && !c.over {
						t.Errorf("%+v lies on %+v", b, c)
					}
				}
			}
			for i, a := range areas {
				if !page.has(a) {
					t.Errorf("%q leaves the page", texts[i].words)
				}
				for j, b := range areas[:i] {
					if a.meets(b) {
						t.Errorf("%q lies on %q", texts[i].words, texts[j].words)
					}
				}
				if slices.ContainsFunc(boxes, func(b box) bool { return b.over && b.has(a) }) {
					continue // on a port, which lies across a border itself
				}
				for _, b := range boxes {
					if a.meets(b) && !b.has(a) {
						t.Errorf("%q goes over the border of %+v", texts[i].words, b)
					}
				}
			}
		})
	}
}

// TestLines holds that no line runs through a text.
func TestLines(t *testing.T) {
	for name, p := range pairs() {
		t.Run(name, func(t *testing.T) {
			d := Of(p).draw()
			areas := map[int]box{} // of the texts
			for i, s := range d.shapes {
				if s.text != nil {
					areas[i] = s.text.area()
				}
			}
			for i, s := range d.shapes {
				if s.line == nil {
					continue
				}
				for j, a := range areas {
					if s.line.crosses(a) && !covered(d.shapes[min(i+1, j):j], a) {
						t.Errorf("a line runs through %q", d.shapes[j].text.words)
					}
				}
			}
		})
	}
}

func (l *line) crosses(b box) bool {
	for i := 0; i+3 < len(l.points); i += 2 {
		x, y, u, v := l.points[i], l.points[i+1], l.points[i+2], l.points[i+3]
		if b.meets(box{x: min(x, u), y: min(y, v), w: max(x, u) - min(x, u) + 1, h: max(y, v) - min(y, v) + 1}) {
			return true
		}
	}
	return false
}

// covered reports whether one of the shapes hides what is below an area.
func covered(shapes []shape, area box) bool {
	return slices.ContainsFunc(shapes, func(s shape) bool { return s.box != nil && s.box.fill != "" && s.box.has(area) })
}

// TestShape holds that a picture grows as its inventory does, and stays about as
// wide as high.
func TestShape(t *testing.T) {
	half := Of(sample.Pair(120, 25, inventories.Single)).draw()
	whole := Of(sample.Pair(240, 50, inventories.Single)).draw()
	if len(whole.shapes) > 2*len(half.shapes)+20 {
		t.Errorf("%d shapes, and %d for twice as much", len(half.shapes), len(whole.shapes))
	}
	for _, d := range []*drawing{half, whole} {
		if ratio := float64(d.width) / float64(d.height); ratio < 1 || ratio > 2 {
			t.Errorf("%d x %d", d.width, d.height)
		}
	}
}

// TestRoom holds how a text gets along with little room.
func TestRoom(t *testing.T) {
	for _, tt := range []struct {
		room  int
		words string
		size  float64
	}{
		{200, "fifteen letters", 10},
		{80, "fifteen letters", 8.7},
		{50, "fifteen lett…", 6},
		{1, "…", 6},
	} {
		var d drawing
		d.write(text{room: tt.room, size: 10, mono: true, words: "fifteen letters"})
		got := d.shapes[0].text
		if got.words != tt.words || got.size < tt.size-0.1 || got.size > tt.size+0.1 {
			t.Errorf("%d: %q of %.1f", tt.room, got.words, got.size)
		}
		if cut := got.words != "fifteen letters"; cut != (got.whole == "fifteen letters") {
			t.Errorf("%d: the whole is %q", tt.room, got.whole)
		}
	}
}
