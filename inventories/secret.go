package inventories

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Masked is what stands wherever a secret would be shown.
const Masked = "(sensitive)"

// Secret is a value that is never printed: every way of formatting or
// marshalling it yields Masked. Only Reveal gives it away. The zero Secret is
// no secret at all.
type Secret struct {
	// A pointer, since fmt prints fields that are not exported without asking
	// for their methods: it prints an address then.
	value *string
}

// NewSecret makes a secret of value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Reveal returns the value itself. The caller puts it into a file of mode 0600
// and nowhere else.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal reports whether two secrets have the same value.
func (s Secret) Equal(o Secret) bool { return s.Reveal() == o.Reveal() }

// String returns Masked.
func (s Secret) String() string { return Masked }

// GoString returns Masked.
func (s Secret) GoString() string { return Masked }

// Format writes Masked for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Masked)) }

// MarshalText returns Masked; JSON uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Masked), nil }

// Secrets are values to be found in text that others have written.
type Secrets []Secret

// shortest is the length from which on a value is taken for a secret wherever it
// appears: shorter ones are in every other word.
const shortest = 4

// Add returns s with one more value, unless that is there already or too short to
// be told from other text.
func (s Secrets) Add(value string) Secrets {
	v := NewSecret(value)
	if len(value) < shortest || slices.ContainsFunc(s, v.Equal) {
		return s
	}
	return append(s, v)
}

// Censor puts Masked in the place of every secret in a text, the longest first.
// It is the last defence, for what a program says of a file that it reads: what
// is built from secrets is masked by type.
func (s Secrets) Censor(text string) string {
	sorted := slices.SortedFunc(slices.Values(s), func(a, b Secret) int {
		return cmp.Or(cmp.Compare(len(b.Reveal()), len(a.Reveal())), cmp.Compare(a.Reveal(), b.Reveal()))
	})
	for _, v := range sorted {
		text = strings.ReplaceAll(text, v.Reveal(), Masked)
	}
	return text
}

// Secrets are all that a pair has.
func (p *Pair) Secrets() Secrets {
	var out Secrets
	eachSecret(reflect.ValueOf(p), "", func(_ string, v reflect.Value) {
		out = out.Add(v.Interface().(Secret).Reveal())
	})
	return out
}
