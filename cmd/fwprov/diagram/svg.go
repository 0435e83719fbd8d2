package diagram

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
)

// SVG draws the topology. The picture needs nothing from elsewhere, has a white
// page of its own, and scales to what shows it. Attributes stand with each shape
// instead of in a style sheet, which would reach into a page that the picture is
// put into.
func (t *Topology) SVG() string {
	d := t.draw()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" style="max-width:100%%;height:auto" role="img" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif">`+"\n",
		d.width, d.height, d.width, d.height)
	fmt.Fprintf(&b, "<title>%s</title>\n", escape(t.Name+": topology"))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`+"\n", d.width, d.height, white)
	for _, s := range d.shapes {
		switch {
		case s.box != nil:
			s.box.svg(&b)
		case s.line != nil:
			s.line.svg(&b)
		case s.text != nil:
			s.text.svg(&b)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (x *box) svg(b *strings.Builder) {
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d"`, x.x, x.y, x.w, x.h)
	if x.round > 0 {
		fmt.Fprintf(b, ` rx="%d"`, x.round)
	}
	fill := x.fill
	if fill == "" {
		fill = "none"
	}
	fmt.Fprintf(b, ` fill="%s"`, fill)
	if x.stroke != "" {
		fmt.Fprintf(b, ` stroke="%s" stroke-width="1.5"`, x.stroke)
	}
	b.WriteString("/>\n")
}

func (l *line) svg(b *strings.Builder) {
	b.WriteString(`<polyline points="`)
	for i := 0; i+1 < len(l.points); i += 2 {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(b, "%d,%d", l.points[i], l.points[i+1])
	}
	fmt.Fprintf(b, `" fill="none" stroke="%s" stroke-width="%d" stroke-linejoin="round"`, l.colour, l.width)
	if l.dashed {
		b.WriteString(` stroke-dasharray="5 5"`)
	}
	b.WriteString("/>\n")
}

func (t *text) svg(b *strings.Builder) {
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%s" fill="%s"`, t.x, t.y, strconv.FormatFloat(float64(int(t.size*10))/10, 'f', -1, 64), t.colour)
	if t.anchor != start {
		fmt.Fprintf(b, ` text-anchor="%s"`, t.anchor)
	}
	if t.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if t.mono {
		b.WriteString(` font-family="Menlo, Consolas, 'DejaVu Sans Mono', monospace"`)
	}
	b.WriteByte('>')
	if t.whole != "" {
		fmt.Fprintf(b, "<title>%s</title>", escape(t.whole))
	}
	b.WriteString(escape(t.words) + "</text>\n")
}

// escape makes text safe in an element or attribute. Characters that XML does not
// have become U+FFFD.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
