package hcl

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"fwprov/inventories"
)

// Source is the text that diagnostics point into. Secrets that are written out in
// it are masked, byte for byte.
type Source struct {
	Files     map[string]*hcl2.File
	Variables []Variable // those declared, in the order written

	// secrets are the sensitive values of this reading: the last defence against
	// one that a message of the library quotes.
	secrets inventories.Secrets
}

func newSource() *Source {
	return &Source{Files: map[string]*hcl2.File{}}
}

// add takes a copy of the text, to be masked.
func (s *Source) add(name string, src []byte, file *hcl2.File) {
	f := &hcl2.File{Bytes: append([]byte(nil), src...)}
	if file != nil {
		f.Nav = file.Nav
	}
	s.Files[name] = f
}

// Write prints diagnostics as a person reads them: what, where with the line and a
// caret, and what to do. Colour is for terminals.
func (s *Source) Write(w io.Writer, diags hcl2.Diagnostics, colour bool) error {
	var b strings.Builder
	for i, d := range diags {
		if i > 0 {
			b.WriteByte('\n')
		}
		s.write(&b, d, colour)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Source) write(b *strings.Builder, d *hcl2.Diagnostic, colour bool) {
	word, paint, bold, off := "error", "\x1b[31m", "\x1b[1m", "\x1b[0m"
	if d.Severity == hcl2.DiagWarning {
		word, paint = "warning", "\x1b[33m"
	}
	if !colour {
		paint, bold, off = "", "", ""
	}
	fmt.Fprintf(b, "%s%s%s: %s%s%s\n", paint, word, off, bold, printable(d.Summary), off)
	if d.Subject != nil {
		s.writePlace(b, *d.Subject, paint, off)
	}
	for _, line := range strings.Split(d.Detail, "\n") {
		fmt.Fprintf(b, "  %s\n", printable(line))
	}
}

func (s *Source) writePlace(b *strings.Builder, at hcl2.Range, paint, off string) {
	fmt.Fprintf(b, "  %s:%d:%d", printable(at.Filename), at.Start.Line, at.Start.Column)
	f := s.Files[at.Filename]
	if f == nil {
		b.WriteString("\n\n")
		return
	}
	if at.Empty() && at.Start.Byte == 0 {
		b.WriteString("\n\n") // the file as such
		return
	}
	if nav, ok := f.Nav.(interface{ ContextString(int) string }); ok {
		if in := nav.ContextString(at.Start.Byte); in != "" {
			fmt.Fprintf(b, ", in %s", printable(in))
		}
	}
	b.WriteString("\n\n")
	src := f.Bytes
	if at.Empty() || at.Start.Byte > len(src) {
		return
	}
	start := strings.LastIndexByte(string(src[:at.Start.Byte]), '\n') + 1
	end := len(src)
	if i := strings.IndexByte(string(src[start:]), '\n'); i >= 0 {
		end = start + i
	}
	line := strings.TrimSuffix(string(src[start:end]), "\r")
	before := min(at.Start.Byte-start, len(line))
	marked := max(1, len([]rune(line[before:min(max(at.End.Byte-start, before), len(line))])))
	fmt.Fprintf(b, "%6d | %s\n", at.Start.Line, printable(line))
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, line[:before])
	fmt.Fprintf(b, "       | %s%s%s%s\n\n", pad, paint, strings.Repeat("^", marked), off)
}

// printable keeps an inventory from talking to the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// maskExpr hides every constant in an expression.
func (s *Source) maskExpr(expr hclsyntax.Expression) {
	_ = hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl2.Diagnostics {
		if lit, ok := n.(*hclsyntax.LiteralValueExpr); ok {
			s.maskRange(lit.Range())
		}
		return nil
	})
}

func (s *Source) maskRange(r hcl2.Range) {
	f := s.Files[r.Filename]
	if f == nil {
		return
	}
	for i := max(0, r.Start.Byte); i < r.End.Byte && i < len(f.Bytes); i++ {
		if f.Bytes[i] != '\n' {
			f.Bytes[i] = '*'
		}
	}
}

// maskLiterals hides a password that stands in the inventory itself. Defaults of
// sensitive variables are hidden where they are read.
func (s *Source) maskLiterals(body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		for _, a := range attributesOf(b.Body) {
			if a.Name == "password" {
				s.maskExpr(a.Expr)
				if v, diags := a.Expr.Value(nil); !diags.HasErrors() {
					s.remember(v)
				}
			}
		}
		s.maskLiterals(b.Body)
	}
}

var (
	secretLine = regexp.MustCompile(`(?m)(?:password|default)\s*=([^\n]*)`)
	valueLine  = regexp.MustCompile(`(?m)=([^\n]*)`)
)

// maskBroken hides what may be a secret in an inventory that cannot be parsed.
func (s *Source) maskBroken(name string) { s.maskMatches(name, secretLine) }

// maskValues hides every value of a variable file that cannot be parsed.
func (s *Source) maskValues(name string) { s.maskMatches(name, valueLine) }

func (s *Source) maskMatches(name string, re *regexp.Regexp) {
	f := s.Files[name]
	for _, m := range re.FindAllSubmatchIndex(f.Bytes, -1) {
		for i := m[2]; i < m[3]; i++ {
			if c := f.Bytes[i]; c != ' ' && c != '\t' && c != '\r' {
				f.Bytes[i] = '*'
			}
		}
	}
}

// remember keeps the texts in a sensitive value, to censor them.
func (s *Source) remember(v cty.Value) {
	if v == cty.NilVal {
		return
	}
	v, _ = v.UnmarkDeep()
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
			s.rememberString(v.AsString())
		}
		return true, nil
	})
}

func (s *Source) rememberText(v *variable, text string) {
	if v.Sensitive {
		s.rememberString(text)
	}
}

// rememberString keeps a text that Censor is to find.
func (s *Source) rememberString(text string) { s.secrets = s.secrets.Add(text) }

// Censor masks the sensitive values of this reading in a text that somebody else
// has written, such as a program that was given one.
func (s *Source) Censor(text string) string { return s.secrets.Censor(text) }
