package hcl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// unknownEach is the Extra of the diagnostic that stops a dynamic block whose
// for_each is not known: no mistake of anyone.
type unknownEach struct{}

// addDiags takes what the library reports, without what is no mistake of the
// user's and without the values that it would show.
func (l *loader) addDiags(diags hcl2.Diagnostics) {
	for _, d := range diags {
		if d.Subject == nil {
			l.diags = append(l.diags, l.quiet(d))
			continue
		}
		if l.headers[*d.Subject] {
			continue // checkBody has said it
		}
		if _, ok := d.Extra.(unknownEach); ok || unknown(d) {
			if name, ok := l.each[*d.Subject]; ok {
				l.partial[name] = true
				continue
			}
		}
		l.diags = append(l.diags, l.quiet(d))
	}
}

// unknown reports whether a diagnostic is about a value that is merely not known.
func unknown(d *hcl2.Diagnostic) bool {
	if d.Expression == nil || d.EvalContext == nil || d.Subject == nil {
		return false
	}
	v, diags := d.Expression.Value(d.EvalContext)
	return !diags.HasErrors() && !v.IsKnown()
}

// quiet is a diagnostic without its evaluation context, which writers print, and
// without a detail that may quote a sensitive value.
func (l *loader) quiet(d *hcl2.Diagnostic) *hcl2.Diagnostic {
	q := &hcl2.Diagnostic{Severity: d.Severity, Summary: d.Summary, Detail: d.Detail, Subject: d.Subject}
	if d.Expression == nil || d.EvalContext == nil {
		return q
	}
	for _, t := range d.Expression.Variables() {
		if v, diags := t.TraverseAbs(d.EvalContext); !diags.HasErrors() && v.ContainsMarked() {
			q.Detail = "A sensitive value is involved, so that the reason is not shown."
			if d.Subject != nil && l.each[*d.Subject] != "" {
				q.Detail = "A label would show the sensitive value that it is made from."
			}
			break
		}
	}
	return q
}

// strip is quiet for diagnostics that come before anything is evaluated.
func strip(diags hcl2.Diagnostics) hcl2.Diagnostics {
	out := make(hcl2.Diagnostics, len(diags))
	for i, d := range diags {
		out[i] = &hcl2.Diagnostic{Severity: d.Severity, Summary: d.Summary, Detail: d.Detail, Subject: d.Subject}
	}
	return out
}

// merge drops what was said twice: of a place that several generated blocks
// share, a mistake is told once.
func (l *loader) merge() hcl2.Diagnostics {
	type key struct {
		at              hcl2.Range
		summary, detail string
	}
	var out hcl2.Diagnostics
	first := map[key]*hcl2.Diagnostic{}
	more := map[*hcl2.Diagnostic]int{}
	for _, d := range l.diags {
		d.Summary, d.Detail = l.src.Censor(d.Summary), l.src.Censor(d.Detail)
		k := key{summary: d.Summary, detail: d.Detail}
		if d.Subject != nil {
			k.at = *d.Subject
			if l.generated[k.at] {
				k.detail = ""
			}
		}
		if f := first[k]; f != nil {
			if f.Detail != d.Detail {
				more[f]++
			}
			continue
		}
		first[k] = d
		out = append(out, d)
	}
	for _, d := range out {
		if n := more[d]; n > 0 {
			d.Detail += fmt.Sprintf("\nThe same goes for %d more of the blocks made here.", n)
		}
	}
	return out
}

// sorted orders diagnostics by place: those without one first, then the
// inventory, then other files.
func sorted(diags hcl2.Diagnostics, name string) hcl2.Diagnostics {
	rank := func(d *hcl2.Diagnostic) int {
		switch {
		case d.Subject == nil:
			return 0
		case d.Subject.Filename == name:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(diags, func(a, b *hcl2.Diagnostic) int {
		if c := cmp.Compare(rank(a), rank(b)); c != 0 || a.Subject == nil {
			return c
		}
		return cmp.Or(
			cmp.Compare(a.Subject.Filename, b.Subject.Filename),
			cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte),
		)
	})
	return diags
}

// checkEach is asked about the value of every for_each.
func (l *loader) checkEach(v cty.Value, expr hcl2.Expression, _ *hcl2.EvalContext) hcl2.Diagnostics {
	at := expr.Range()
	fail := func(summary, detail string, extra any) hcl2.Diagnostics {
		return hcl2.Diagnostics{{Severity: hcl2.DiagError, Summary: summary, Detail: detail, Subject: &at, Extra: extra}}
	}
	switch {
	case v.ContainsMarked():
		return fail("Sensitive value in for_each", "It would be shown: blocks are named in plans. Take the names from a value that is not sensitive.", nil)
	case !v.IsKnown():
		return fail("Unknown for_each", "", unknownEach{})
	case !v.IsNull() && v.CanIterateElements() && v.LengthInt() > maxBlocks:
		return fail("Too many blocks", fmt.Sprintf("This makes %d blocks; at most %d are taken.", v.LengthInt(), maxBlocks), nil)
	}
	return nil
}

// maxBlocks that one dynamic block may make; there are 4094 VLANs.
const maxBlocks = 4096

// sentence is an error as the detail of a diagnostic.
func sentence(err error) string {
	s := err.Error()
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:] + "."
}

// quoteList is "a, b or c".
func quoteList(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	if len(q) < 2 {
		return strings.Join(q, "")
	}
	return strings.Join(q[:len(q)-1], ", ") + " or " + q[len(q)-1]
}
